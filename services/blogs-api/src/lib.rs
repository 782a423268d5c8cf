//! The Blogs API: accounts, blogs, and the door through which engagement comes in.
//!
//! Handlers are thin: an extractor checks the form of a request, a plain function checks its meaning, and a
//! typed function beside a statement in `sql/` does the work. What goes wrong is a [`web::problem::Problem`], which
//! is what the client reads; the cause is logged and never sent. Engagement ([`engagement`]) is accepted here
//! and counted elsewhere; what authors do is written here, and told to others through the [`outbox`].

pub mod accounts;
mod acting;
pub mod auth;
pub mod blogs;
pub mod engagement;
pub mod follows;
mod frame;
pub mod idempotency;
pub mod live_blogs;
pub mod notifications;
pub mod openapi;
pub mod outbox;
pub mod pages;
mod readiness;
pub mod relay;
pub mod service;
pub mod sessions;
pub mod settings;
pub mod state;

pub use service::Service;
pub use settings::{DEFAULTS, Settings};
pub(crate) use web::{client_address, extract, limits, page, problem};

/// The statements of this service alone. It also sends those of the `web` crate and, where the direct paths are enabled,
/// those of the `engagement` crate.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
