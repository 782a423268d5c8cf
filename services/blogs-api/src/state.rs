//! What every handler can reach. A request clones it once for each layer that it passes, so all of it is behind one pointer.

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
    /// Every setting, as it was checked at start.
    pub settings: Settings,
    /// Issues the tokens of sessions.
    pub issuer: Issuer,
    /// Verifies bearer tokens.
    pub tokens: Arc<Tokens>,
    /// Hashes and verifies passwords.
    pub passwords: Passwords,
    /// Limits guessing at one account's password.
    pub tries: Tries,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Rate limits.
    pub limits: Limits,
    /// The write paths of engagement.
    pub engagement: Acceptance,
    /// Which blogs are live, as far as has been seen.
    pub live_blogs: LiveBlogs,
    /// Events of blogs, in the transaction that makes them true.
    pub outbox: Outbox,
    /// The clock that stamps events, and how it compares with the database's.
    pub clock: ClockCheck,
    /// Work that goes on behind an answer; the end of the service waits for it.
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
