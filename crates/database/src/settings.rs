//! How a service reaches the database, with the bounds that keep it within its share.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::Error;

/// The `[database]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `postgres://role:password@host:port/database`, with the role of this service.
    pub url: SecretString,
    /// Most connections of this process.
    pub pool_max: usize,
    /// How many processes of this service may run at once. `pool_max` times this must fit into the role's
    /// connection limit.
    pub instances_max: usize,
    /// Longest wait for a new connection, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest wait for a free connection of the pool, in milliseconds.
    pub wait_timeout_ms: u64,
}

impl Settings {
    /// Checks the bounds.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |sentence: &str| Err(Error::Settings(sentence.to_owned()));
        if !(1..=500).contains(&self.pool_max) {
            return refuse("database.pool_max must be between 1 and 500");
        }
        if !(1..=1000).contains(&self.instances_max) {
            return refuse("database.instances_max must be between 1 and 1000");
        }
        if !(1..=300_000).contains(&self.connect_timeout_ms) {
            return refuse("database.connect_timeout_ms must be between 1 and 300000");
        }
        if !(1..=300_000).contains(&self.wait_timeout_ms) {
            return refuse("database.wait_timeout_ms must be between 1 and 300000");
        }
        Ok(())
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn wait_timeout(&self) -> Duration {
        Duration::from_millis(self.wait_timeout_ms)
    }
}
