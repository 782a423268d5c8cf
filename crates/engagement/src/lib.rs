//! Counts engagement: turns events into rows. Every path that counts uses this crate.
//!
//! The Analytics workers apply batches that arrive through RabbitMQ; the Blogs API's direct paths apply their events at
//! once. Both call [`Engagement::apply`], so the same input produces the same rows on every path. A batch is one
//! transaction. The ledger decides which envelopes are new, and natural keys decide which of their events count. Pure
//! functions (the `fold` module) turn those answers into deltas. One statement writes each table, with rows in key order
//! and tables in a fixed order: ledger, `event_key`, `blog_view`, `blog_like`, `blog_share`, `blog_hour`, `blog_counter`,
//! parked, intake, outcome. That order makes deadlocks impossible.
//!
//! An event that the database rejects never fails its neighbours. The crate finds it by trying parts of the batch in
//! transactions that are rolled back, parks it, and commits the rest. [`Engagement::redrive`] counts a parked event later
//! with the same fold and the same statements.

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

/// The statements of this crate. They run under the role of the service that applies engagement.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
