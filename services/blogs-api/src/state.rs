//! The state that all handlers share. A request clones it once per layer, so all of it is behind one pointer.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;

use crate::acceptance::Acceptance;
use crate::auth::{Issuer, Passwords, Tokens, Tries};
use crate::client_address::TrustedProxies;
use crate::clock_check::ClockCheck;
use crate::limits::Limits;
use crate::live_blogs::LiveBlogs;
use crate::outbox::Outbox;
use crate::settings::Settings;
use tokio_util::task::TaskTracker;

/// The state of the API.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

/// The parts of the state.
pub struct Parts {
    /// Connections under the role `blogs_api`.
    pub pool: database::Pool,
    /// The settings, validated at the start.
    pub settings: Settings,
    /// Issues the tokens of sessions.
    pub issuer: Issuer,
    /// Verifies bearer tokens.
    pub tokens: Arc<Tokens>,
    /// Hashes and verifies passwords.
    pub passwords: Passwords,
    /// Limits guessing at one account's password.
    pub tries: Tries,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: TrustedProxies,
    /// Rate limits.
    pub limits: Limits,
    /// The write paths of engagement.
    pub engagement: Acceptance,
    /// The cache of live blogs.
    pub live_blogs: LiveBlogs,
    /// Writes events into the transactions that cause them.
    pub outbox: Outbox,
    /// The clock for timestamps, and its comparison with the database's.
    pub clock: ClockCheck,
    /// Tasks that outlive their response; shutdown waits for them.
    pub tasks: TaskTracker,
}

impl AppState {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<AppState> for Arc<Tokens> {
    fn from_ref(state: &AppState) -> Self {
        Self::clone(&state.tokens)
    }
}

impl FromRef<AppState> for TrustedProxies {
    fn from_ref(state: &AppState) -> Self {
        state.trusted_proxies.clone()
    }
}

impl FromRef<AppState> for Limits {
    fn from_ref(state: &AppState) -> Self {
        state.limits.clone()
    }
}
