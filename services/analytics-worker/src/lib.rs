//! The Analytics worker: takes envelopes of engagement events from RabbitMQ and adds them to the shared counters.
//!
//! Any number of workers compete for one queue; nothing is partitioned by hand, because the ledger makes it
//! harmless that two hold the same envelope. A worker takes what has arrived (`gather`), applies it in one
//! transaction ([`engagement::Engagement::apply`]), and acks it after the commit with one multi-ack (`consume`).
//! While the database applies one batch, the next is read out of the prefetch window.
//!
//! Beside that a worker keeps the days of the ledger and of the views (`partitions`), sees to it that no message and no
//! bad release ends everything (`poison`, `rehearsal`), watches the database's clock (`watch`), compares counters with what
//! they count (`reconcile`), and makes the lists of what is popular (`popularity`).

mod consume;
mod gather;
mod metrics;
mod partitions;
mod poison;
mod popularity;
mod reconcile;
mod rehearsal;
mod service;
mod settings;
mod watch;

use runtime::settings::Defaults;

pub use service::Service;
pub use settings::{PartitionSettings, PoisonSettings, ReconcileSettings, Settings, WorkerSettings};

/// The defaults of this service, `config/analytics-worker.toml`.
pub const DEFAULTS: Defaults = Defaults::new(
    include_str!("../../../config/analytics-worker.toml"),
    &[runtime::traces::BOUNDS, database::BOUNDS, broker::BOUNDS, engagement::BOUNDS, settings::BOUNDS],
);

/// The statements of this service alone. It also sends those of [`engagement::SQL`].
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
