//! The Notification worker: notifies an author's followers of each new blog.
//!
//! It requests no list of followers: they are in a shared table that it may read, so a million people are notified by
//! statements that insert directly from that table. Events of authors' changes (`consume`) only name the blog to check.
//! The current state of the shared tables decides whether followers are notified (`settle`), so events may arrive late,
//! twice or in any order. A walk through the blogs (`find`) makes up for events that were lost or arrived while the
//! blog was hidden. A fan-out is a row. It is processed in chunks (`chunk`); each chunk is one transaction that inserts
//! notifications and moves the row's cursor past them, so after a kill the work continues at the cursor. All workers
//! take chunks from the fan-out that has waited longest (`work`), with a size and a rate that follow the database's
//! commit times (`pace`). In addition, a worker maintains the daily partitions of notifications (`partitions`) and
//! reports the remaining work (`watch`).

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

/// The defaults of this service, from `config/notification-worker.toml`.
pub const DEFAULTS: Defaults = Defaults::new(
    include_str!("../../../config/notification-worker.toml"),
    &[runtime::traces::BOUNDS, database::BOUNDS, broker::BOUNDS, settings::BOUNDS],
);

/// The statements of this service.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
