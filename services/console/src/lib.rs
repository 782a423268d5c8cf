//! The console: a live view for operators.
//!
//! It only reads: the `/metrics` of every process (`scrape`, `openmetrics`), the depths of the queues, and Postgres
//! statistics with the few columns that its role may read (`statistics`). A `sample` holds the values of one moment.
//! From the samples of the last two minutes it derives a `picture`: rates, percentiles, and when each
//! server that is down went down. A picture is rendered as a page with SVG plots (`page`, `plot`). Each browser receives
//! the parts that have changed (`routes`); without script, the page reloads itself. If the settings allow it, the console can also
//! start a bounded load of ordinary requests to the Blogs API (`load`).

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

/// The defaults of this service, from `config/console.toml`.
pub const DEFAULTS: Defaults = Defaults::new(
    include_str!("../../../config/console.toml"),
    &[runtime::traces::BOUNDS, database::BOUNDS, broker::BOUNDS, web::settings::BOUNDS, settings::BOUNDS],
);

/// The statements of this service.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
