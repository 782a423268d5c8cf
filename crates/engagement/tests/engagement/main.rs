//! How batches become rows, on a real Postgres: each test has a database of its own. No broker and no service runs.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod counting;
mod days;
mod drift;
mod old_days;
mod redrive;
mod redrive_late;
