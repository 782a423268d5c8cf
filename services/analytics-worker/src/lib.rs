//! The Analytics worker: consumes envelopes of engagement events from RabbitMQ and adds them to the shared counters.
//!
//! Any number of workers compete for one queue. They need no partitioning, because the ledger makes it harmless that
//! two workers hold the same envelope. A worker gathers what has arrived (`gather`), applies it in one transaction
//! ([`engagement::Engagement::apply`]), and after the commit acks it with one multi-ack (`consume`). While the database
//! applies one batch, the worker reads the next one from the prefetched deliveries.
//!
//! In addition, a worker maintains the daily partitions of the ledger and of the views (`partitions`), isolates
//! messages that kill workers and stops when a bad release parks everything (`poison`, `rehearsal`), checks the
//! database's clock (`watch`), compares counters with what they count (`reconcile`), and rebuilds the lists of popular
//! blogs (`popularity`).

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

/// The defaults of this service, from `config/analytics-worker.toml`.
pub const DEFAULTS: Defaults = Defaults::new(
    include_str!("../../../config/analytics-worker.toml"),
    &[runtime::traces::BOUNDS, database::BOUNDS, broker::BOUNDS, engagement::BOUNDS, settings::BOUNDS],
);

/// The statements of this service; those of [`engagement::SQL`] come in addition.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
