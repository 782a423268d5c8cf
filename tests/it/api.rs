//! The HTTP API from a client's view: status and fields of each answer, and the state afterwards.

mod accounts;
mod away;
mod batches;
mod blogs;
mod clocks;
mod deletion;
mod document;
mod engagement;
mod erasing;
mod exports;
mod follows;
mod frame;
mod idempotency;
mod imports;
mod keys;
mod limits;
mod lists;
mod nasty;
mod notifications;
mod operations;
mod operators;
mod outbox;
mod pages;
mod schema;
mod sessions;
mod slugs;
mod source_paths;
mod spill;
mod stats;
mod token_keys;
mod tokens;
mod visitors;

use tests::{Answer, PASSWORD, totals};
