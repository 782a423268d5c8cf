//! The settings of a service's database connections, and the bounds that keep it within its share.

use std::time::Duration;

use configuration::{Bound, bound};
use secrecy::SecretString;
use serde::Deserialize;

/// Bounds of the `[database]` section.
pub const BOUNDS: &[Bound] = &[
    bound("database.pool_max", 1..=500),
    bound("database.instances_max", 1..=1000),
    bound("database.connect_timeout_ms", 1..=300_000),
    bound("database.wait_timeout_ms", 1..=300_000),
];

/// The `[database]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `postgres://role:password@host:port/database`, with the role of this service.
    pub url: SecretString,
    /// Maximum connections of this process.
    pub pool_max: usize,
    /// How many processes of this service may run at once. `pool_max` times this must fit into the role's
    /// connection limit.
    pub instances_max: usize,
    /// Maximum wait for a new connection, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Maximum wait for a free connection from the pool, in milliseconds.
    pub wait_timeout_ms: u64,
}

impl Settings {
    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn wait_timeout(&self) -> Duration {
        Duration::from_millis(self.wait_timeout_ms)
    }
}
