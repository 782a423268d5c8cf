//! Servers for the database tests of every crate: private servers that all tests of a process share, and a database for each
//! test. It depends on no service and on no crate above `database`, so that a crate's tests compile only what the crate
//! uses.
//!
//! A server starts when the first test needs it, so tests without a broker start no RabbitMQ. A guard stops the servers when
//! the process ends, however it ends. With `COMMONPLACE_TEST_STACK=keep` they are kept for the next run, and
//! `tests/stack stop` stops them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and its output is its report"
)]

pub mod days;
mod fresh;
mod names;
mod servers;
mod template;
mod time;

pub use fresh::Database;
pub use servers::{postgres_log, rabbitmq};
pub use template::{PASSWORD, lift_connection_limits, roles};
pub use time::{DEADLINE, away_from_midnight, wait_until};
