//! Tests of the schema, roles and errors with a real Postgres. Each test has its own database; no broker or service runs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its output is its report"
)]

mod attacks;
mod errors;
mod roles;
mod schema_page;
