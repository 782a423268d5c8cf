//! A service's access to the shared Postgres: a pool under the service's own role, statements by file name, and errors
//! classified by how to react to them.
//!
//! Every statement that a service may send is a file ([`Statement`]). The folder of these files is the service's contract
//! with the owners of the tables ([`Contract`]); [`contract`] checks contracts against a pending schema change.
//! [`bootstrap`] creates the roles of a cluster and [`migrations`] the schema of a database. [`drift`] reports how they have
//! changed since, and [`home`] tells a database from its copies. This crate knows neither events nor RabbitMQ.

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
pub use pool::{
    CLOCK_SKEW_MAX, ClockSkew, Pool, check_connections_at_start, clock_skew, in_step, watch, within,
};
pub use pool_metrics::register_pools;
pub use session::Session;
pub use settings::{BOUNDS, Settings};
pub use statement::Statement;
pub use transaction::commit;
