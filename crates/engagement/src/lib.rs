//! Events to rows: the one home of how engagement is counted.
//!
//! The Analytics workers apply batches that came through RabbitMQ; the Blogs API's direct paths apply theirs at
//! once. Both call [`Engagement::apply`], so that the same input leaves the same rows by every path. A batch is
//! one transaction: the ledger decides which envelopes are new, natural keys decide which of their events count,
//! pure functions (the `fold` module) turn what was learnt into deltas, and each table is written by one
//! statement, rows in key order, tables in one order: ledger, `event_key`, `blog_view`, `blog_like`, `blog_share`,
//! `blog_hour`, `blog_counter`, parked, intake, outcome. That order is what makes deadlocks impossible.
//!
//! An event that the database will not take never fails its neighbours: it is found by trying parts of the batch
//! in transactions that are rolled back, and set aside; the rest commits. What was set aside can be counted after all
//! ([`Engagement::redrive`]), by the same fold and the same statements.

mod apply;
mod batch;
mod error;
mod fold;
mod redrive;
mod rows;
mod settings;
mod transaction;
mod window;

pub use apply::Engagement;
pub use batch::{Applied, Incoming, OnBadEvent, Outcome, ParkedBody, Totals};
pub use error::Error;
pub use redrive::{InDoubt, Redriven};
pub use settings::{BOUNDS, Settings, SettingsError};

/// The statements of this crate, which run under the role of whichever service applies engagement.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
