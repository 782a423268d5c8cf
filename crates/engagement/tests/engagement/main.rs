//! Tests of applying batches with a real Postgres. Each test has its own database; no broker or service runs.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod counting;
mod days;
mod drift;
mod old_days;
mod redrive;
mod redrive_late;
