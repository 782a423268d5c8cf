//! What the database tests of every crate use: private servers that all tests of a process share, and for each test a
//! database of its own. It knows no service and no crate above `database`, so that a crate's tests compile nothing that
//! the crate does not use.
//!
//! A server starts when the first test asks for it: tests that use no broker start no RabbitMQ. Servers end with the
//! process (a guard sees to it, whatever ends the process), unless `COMMONPLACE_TEST_STACK=keep` is set: then they are kept
//! for the next run, and `tests/stack stop` ends them.

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
