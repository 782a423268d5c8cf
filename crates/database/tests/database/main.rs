//! The schema, the roles and the errors of a real Postgres: each test has a database of its own. No broker and no service
//! runs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its output is its report"
)]

mod attacks;
mod errors;
mod roles;
mod schema_page;
