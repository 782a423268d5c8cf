//! The state of the publisher's connection, reported to its owner and the log.

use tokio::sync::watch;
use tracing::{info, warn};

/// The state of the publisher's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Envelopes can be published.
    Connected,
    /// The broker has stopped reading from publishers, for this reason: it is low on memory or disk.
    Blocked(String),
    /// There is no connection, for this reason. The publisher retries automatically.
    Disconnected(String),
}

/// Publishes and logs the state if it has changed.
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
        State::Connected => info!("the publisher is connected to RabbitMQ"),
        State::Blocked(reason) => warn!(reason, "RabbitMQ has blocked the publisher"),
        State::Disconnected(reason) => warn!(reason, "the publisher is not connected to RabbitMQ; retrying"),
    }
}
