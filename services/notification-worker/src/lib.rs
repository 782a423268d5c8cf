//! The Notification worker: tells those who follow an author of each new blog.
//!
//! It asks nobody for the followers: they stand in a table that it may read, so that a million people are told by
//! statements that insert straight from it. What authors do arrives as events (`consume`) and only says at which blog to
//! look: whether there is something to tell is decided by the state of the shared tables (`settle`), so events may come
//! late, twice, or in any order. An event that is lost, or that came while readers did not see the blog, is made up for by a
//! walk through the blogs (`find`). A fan-out is a row. It is worked off in chunks (`chunk`), each of which is one transaction
//! that inserts notifications and moves the row's cursor behind them, so whatever is killed goes on at the chunk. All
//! workers take chunks from the fan-out that has waited longest (`work`), as large and as fast as the database's own
//! commits allow (`pace`). Beside that a worker keeps the days of notifications (`partitions`) and says how much there is
//! to do (`watch`).

mod chunk;
mod consume;
mod find;
mod metrics;
mod pace;
mod partitions;
mod service;
mod settings;
mod settle;
mod watch;
mod work;

use runtime::settings::Defaults;

pub use service::Service;
pub use settings::{EventSettings, FanOutSettings, PartitionSettings, Settings};

/// The defaults of this service, `config/notification-worker.toml`.
pub const DEFAULTS: Defaults = Defaults::new(
    include_str!("../../../config/notification-worker.toml"),
    &[runtime::traces::BOUNDS, database::BOUNDS, broker::BOUNDS, settings::BOUNDS],
);

/// The statements of this service.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
