//! The Blogs API: accounts, blogs, and the door through which engagement comes in.
//!
//! Handlers are thin: an extractor checks the form of a request, a plain function checks its meaning, and a
//! typed function beside a statement in `sql/` does the work. What goes wrong is a [`web::problem::Problem`], which
//! is what the client reads; the cause is logged and never sent. Engagement is accepted here (`acceptance`)
//! and counted elsewhere; what authors do is written here, and told to others through the `outbox`.

mod acceptance;
mod account;
mod api;
mod auth;
mod clock_check;
mod live_blogs;
mod outbox;
mod pages;
mod readiness;
mod routes;
mod service;
mod settings;
mod state;

pub use service::Service;
pub use settings::{DEFAULTS, Settings};
pub(crate) use web::{client_address, extract, limits, page, problem};

/// The statements of this service alone. It also sends those of the `web` crate and, where the direct paths are enabled,
/// those of the `engagement` crate.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
