//! The environment of the services' integration tests: a database and a vhost for each test, and services in the test's
//! process. Tests of a single crate need only its database: they use `test-servers` and live in that crate.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod answer;
mod likes;
mod services;
mod steps;
pub mod tokens;
mod world;

pub use self::services::{Running, answer};
pub use answer::{Answer, PASSWORD, totals};
pub use test_servers::{DEADLINE, away_from_midnight, wait_until};
pub use world::World;
