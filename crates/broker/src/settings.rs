//! The address of RabbitMQ and the limits of publishing. The defaults are in `config/`, each with its reason.

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
    /// Maximum time to connect and open the channel, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Maximum wait for the answer to any operation other than a publish, such as writing an ack or a close, in
    /// milliseconds.
    pub answer_timeout_ms: u64,
    /// Heartbeat interval, in seconds. A peer that is silent for two intervals is considered dead.
    pub heartbeat_s: u16,
    /// Minimum pause before the next attempt to connect, in milliseconds.
    pub backoff_min_ms: u64,
    /// Maximum pause before the next attempt to connect, in milliseconds.
    pub backoff_max_ms: u64,
    /// Maximum number of items waiting for an envelope. Further items are refused at once.
    pub waiting_max: usize,
    /// Maximum total bytes of all unanswered items, in envelopes or not. An item that would exceed it is refused at once.
    pub waiting_bytes_max: usize,
    /// Maximum number of published envelopes that are not confirmed yet.
    pub unconfirmed_max: usize,
    /// Maximum wait for a confirm while the connection is not blocked, in milliseconds. After it the connection is closed.
    pub confirm_timeout_ms: u64,
}

/// A setting is invalid. The message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub(crate) String);

impl Settings {
    /// Checks the address and the pauses. [`crate::Publisher::start`] and [`crate::Consumer::open`] check them too, but a
    /// service calls this first, so that an invalid setting stops its start.
    ///
    /// # Errors
    /// A message that says what to change.
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

    /// The address with the configured heartbeat. Errors never quote its text, which contains the password.
    pub(crate) fn uri(&self) -> Result<AMQPUri, SettingsError> {
        let mut uri: AMQPUri = self.url.expose_secret().parse().map_err(|_| {
            SettingsError(
                "broker.url is not an address such as amqp://user:password@host:5672/vhost".to_owned(),
            )
        })?;
        if uri.scheme == AMQPScheme::AMQPS {
            return Err(SettingsError(
                "broker.url asks for TLS, which is not supported: use amqp:// and a TLS proxy in front of it"
                    .to_owned(),
            ));
        }
        if self.url.expose_secret().contains('[') {
            // The client library would connect to localhost instead.
            return Err(SettingsError(
                "broker.url contains an IPv6 address: use a host name instead".to_owned(),
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
            (|s| s.url = "amqp://guest:hidden@[::1]:5672".into(), "broker.url contains an IPv6 address"),
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
