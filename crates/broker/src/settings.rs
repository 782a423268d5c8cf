//! Where RabbitMQ is and how much of anything may be under way. There are no defaults here: each stands with
//! its reason in `config/`.

use std::time::Duration;

use configuration::{Bound, bound};
use events::ENVELOPE_BYTES_MAX;
use lapin::uri::{AMQPScheme, AMQPUri};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::backoff::Backoff;

/// Bounds of the `[broker]` section.
pub const BOUNDS: &[Bound] = &[
    bound("broker.connect_timeout_ms", 1..=600_000),
    bound("broker.answer_timeout_ms", 1..=600_000),
    bound("broker.confirm_timeout_ms", 1..=600_000),
    bound("broker.backoff_min_ms", 1..=600_000),
    bound("broker.backoff_max_ms", 1..=600_000),
    bound("broker.heartbeat_s", 1..=600),
    bound("broker.waiting_max", 1..=1_000_000),
    bound("broker.waiting_bytes_max", ENVELOPE_BYTES_MAX as u64..=1 << 30),
    bound("broker.unconfirmed_max", 1..=64),
];

/// The `[broker]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `amqp://user:password@host:port/vhost`; `%2f` is the vhost `/`.
    pub url: SecretString,
    /// Longest time to make a connection and open its channel, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest wait for the answer to anything else but a publish (an ack written, a close), in milliseconds.
    pub answer_timeout_ms: u64,
    /// Heartbeat, in seconds. A peer that is silent for two of these is gone.
    pub heartbeat_s: u16,
    /// Shortest pause before the next attempt to connect, in milliseconds.
    pub backoff_min_ms: u64,
    /// Longest pause before the next attempt to connect, in milliseconds.
    pub backoff_max_ms: u64,
    /// Most items that wait to be put into an envelope; one more is refused at once.
    pub waiting_max: usize,
    /// Most bytes of all items that are not answered yet, in envelopes or not; what would be more is refused at
    /// once.
    pub waiting_bytes_max: usize,
    /// Most envelopes that are published and not yet confirmed.
    pub unconfirmed_max: usize,
    /// A publish that is not confirmed for so long, on a connection that is not blocked, ends the connection, in
    /// milliseconds.
    pub confirm_timeout_ms: u64,
}

/// A setting that makes no sense; the sentence says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub(crate) String);

impl Settings {
    /// Checks the address and the pauses. [`crate::Publisher::start`] and [`crate::Consumer::open`] do it too; a service
    /// calls it first, so that a wrong setting stops the start.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.uri()?;
        if self.backoff_min_ms > self.backoff_max_ms {
            return Err(SettingsError(format!(
                "broker.backoff_min_ms is {} and broker.backoff_max_ms is {}: lower the first or raise the second",
                self.backoff_min_ms, self.backoff_max_ms
            )));
        }
        Ok(())
    }

    /// The address, with the heartbeat of these settings. Its text never becomes part of an error: it holds the
    /// password.
    pub(crate) fn uri(&self) -> Result<AMQPUri, SettingsError> {
        let mut uri: AMQPUri = self.url.expose_secret().parse().map_err(|_| {
            SettingsError(
                "broker.url is not an address such as amqp://user:password@host:5672/vhost".to_owned(),
            )
        })?;
        if uri.scheme == AMQPScheme::AMQPS {
            return Err(SettingsError(
                "broker.url asks for TLS, which is not built in: write amqp:// and put TLS in front of it"
                    .to_owned(),
            ));
        }
        if self.url.expose_secret().contains('[') {
            // The client library would take it for localhost.
            return Err(SettingsError(
                "broker.url holds an IPv6 address: write a host name instead".to_owned(),
            ));
        }
        uri.query.heartbeat = Some(self.heartbeat_s);
        Ok(uri)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.answer_timeout_ms)
    }

    pub(crate) fn backoff(&self) -> Backoff {
        let [min, max] = [self.backoff_min_ms, self.backoff_max_ms].map(Duration::from_millis);
        Backoff::new(min, max)
    }

    pub(crate) fn confirm_timeout(&self) -> Duration {
        Duration::from_millis(self.confirm_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            url: "amqp://guest:hidden@127.0.0.1:5672/%2f".into(),
            connect_timeout_ms: 5000,
            answer_timeout_ms: 5000,
            heartbeat_s: 10,
            backoff_min_ms: 50,
            backoff_max_ms: 2000,
            waiting_max: 8192,
            waiting_bytes_max: 16 << 20,
            unconfirmed_max: 4,
            confirm_timeout_ms: 30_000,
        }
    }

    #[test]
    fn wrong_settings_are_refused_by_name() {
        settings().validate().unwrap();
        type Change = fn(&mut Settings);
        let changes: [(Change, &str); 4] = [
            (|s| s.backoff_min_ms = 3000, "lower the first or raise the second"),
            (|s| s.url = "127.0.0.1:hidden".into(), "broker.url is not an address"),
            (|s| s.url = "amqp://guest:hidden@[::1]:5672".into(), "broker.url holds an IPv6 address"),
            (|s| s.url = "amqps://guest:hidden@localhost".into(), "broker.url asks for TLS"),
        ];
        for (change, expected) in changes {
            let mut changed = settings();
            change(&mut changed);
            let sentence = changed.validate().unwrap_err().to_string();
            assert!(sentence.contains(expected), "{sentence}");
            assert!(!sentence.contains("hidden"), "the password is in {sentence:?}");
        }
    }
}
