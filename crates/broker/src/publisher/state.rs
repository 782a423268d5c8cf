//! What the publisher's connection is doing, as its owner and the log are told.

use tokio::sync::watch;
use tracing::{info, warn};

/// What the publisher's connection is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Envelopes can go out.
    Connected,
    /// The broker has stopped reading what is published, for this reason: it is short of memory or disk.
    Blocked(String),
    /// There is no connection, for this reason; the next attempt follows by itself.
    Disconnected(String),
}

/// Publishes the state and logs it, both only when it is another one.
pub(super) fn announce(state: &watch::Sender<State>, new: State) {
    let changed = state.send_if_modified(|current| {
        let changed = *current != new;
        current.clone_from(&new);
        changed
    });
    if !changed {
        return;
    }
    match new {
        State::Connected => info!("publishing: connected"),
        State::Blocked(reason) => warn!(reason, "publishing: blocked by the broker"),
        State::Disconnected(reason) => warn!(reason, "publishing: not connected"),
    }
}
