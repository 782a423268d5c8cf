//! What every handler can reach. Cheap to clone: everything inside is shared.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::auth::{Passwords, Tokens};
use crate::client_address::TrustedProxies;
use crate::engagement::EngagementState;
use crate::limits::Limits;
use crate::live_blogs::LiveBlogs;
use crate::outbox::Outbox;
use crate::settings::Settings;
use tokio_util::task::TaskTracker;

/// The state of the API.
#[derive(Clone, FromRef)]
pub struct AppState {
    /// Connections under the role `blogs_api`.
    pub pool: database::Pool,
    /// Every setting, as it was checked at start.
    pub settings: Arc<Settings>,
    /// Issues and verifies bearer tokens.
    pub tokens: Arc<Tokens>,
    /// Hashes and verifies passwords.
    pub passwords: Passwords,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Rate limits.
    pub limits: Limits,
    /// The write paths of engagement.
    pub engagement: Arc<EngagementState>,
    /// Which blogs are live, as far as has been seen.
    pub live_blogs: LiveBlogs,
    /// Events of blogs, in the transaction that makes them true.
    pub outbox: Outbox,
    /// Work that goes on behind an answer; the end of the service waits for it.
    pub tasks: TaskTracker,
}
