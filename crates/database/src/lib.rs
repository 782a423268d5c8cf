//! The shared Postgres, seen from one service: its pool under its own role, its statements by name, its errors
//! by what can be done about them.
//!
//! Every statement that a service may send is a file ([`Statement`]); the folder of them is the service's
//! contract with the owners of the tables ([`Contract`]), and [`contract`] checks such contracts against a
//! schema that is about to change. [`bootstrap`] makes the roles of a cluster, [`migrations`] the schema of a
//! database, [`drift`] says how they differ from that, and [`home`] tells a database from a copy of it. This crate knows
//! neither events nor RabbitMQ.

pub mod bootstrap;
pub mod contract;
pub mod drift;
mod error;
pub mod home;
pub mod lock;
pub mod migrations;
mod pool;
mod pool_metrics;
mod roles;
mod scratch;
mod session;
mod settings;
mod statement;
mod transaction;

pub use contract::Contract;
pub use error::{Cause, CommitOutcome, Error, Fault, TransactionStep};
pub use pool::{CLOCK_SKEW_MAX, ClockSkew, Pool, check_connections_at_start, clock_skew, in_step, within};
pub use pool_metrics::register_pools;
pub use session::Session;
pub use settings::{BOUNDS, Settings};
pub use statement::Statement;
pub use transaction::commit;
