//! The console: what operators look at, live.
//!
//! It looks and touches nothing: it reads the `/metrics` of every process (`scrape`, `openmetrics`), the depth of the
//! queues, and Postgres's statistics with the few columns that its role may see (`statistics`). Each look is a `sample`;
//! the last two minutes of them are the history from which a `picture` is made: rates, percentiles, and what is away
//! since when. A picture is drawn as a page, with plots in SVG (`page`, `plot`), and sent to every browser that looks, part
//! by part as they change (`routes`). Without script the same page reloads itself. The one thing that it can start is a
//! bounded load of ordinary requests to the Blogs API (`load`), where the settings allow that.

mod access;
mod collect;
mod findings;
mod load;
mod number;
mod openmetrics;
mod page;
mod picture;
mod plot;
mod rates;
mod routes;
mod sample;
mod scrape;
mod service;
mod settings;
mod statistics;

use runtime::settings::Defaults;

pub use service::Service;
pub use settings::{AccessSettings, LoadSettings, ScrapeSettings, Settings};

/// The defaults of this service, `config/console.toml`.
pub const DEFAULTS: Defaults = Defaults::new(
    include_str!("../../../config/console.toml"),
    &[runtime::traces::BOUNDS, database::BOUNDS, broker::BOUNDS, web::settings::BOUNDS, settings::BOUNDS],
);

/// The statements of this service.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
