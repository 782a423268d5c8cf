//! The Blogs API: accounts, blogs, and the acceptance of engagement.
//!
//! Handlers are thin: an extractor validates the form of a request, a plain function validates its meaning, and a typed
//! function runs the statement in `sql/`. Failures are [`web::problem::Problem`]s, which the client reads; their cause
//! is logged and never sent. Engagement is accepted here (`acceptance`) and counted elsewhere. Authors' changes are
//! written here and published through the `outbox`.

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

/// The statements of this service. It also sends those of the `web` crate and, if the direct paths are enabled, those
/// of the `engagement` crate.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
