//! Integration tests of services: real Postgres, real RabbitMQ, one private server of each for the whole run, and for each
//! test a database and a vhost of its own ([`tests::World`]). Tests wait for what they expect, up to a deadline.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its output is its report"
)]

mod api;
mod away;
mod browser;
mod console_bounds;
mod digest;
mod fan_out;
mod fan_out_events;
mod fan_out_found;
mod forged_events;
mod frozen;
mod lock_table;
mod message_path;
mod metrics;
mod operations_listener;
mod operations_reconcile;
mod partitions;
mod poison;
mod popularity;
mod recommendations;
mod replica_tokens;
mod role_limits;
mod slow_clients;
mod takeover;
mod write_paths;
