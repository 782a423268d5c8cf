//! What every measurement asks of the private servers.

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::Config;

/// The private servers are driven by code that blocks.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// How this process publishes, consumes and asks for the depth of a queue.
pub(crate) fn broker_settings(amqp_url: &str) -> broker::Settings {
    broker::Settings {
        url: amqp_url.into(),
        connect_timeout_ms: 10_000,
        answer_timeout_ms: 10_000,
        heartbeat_s: 10,
        backoff_min_ms: 100,
        backoff_max_ms: 1000,
        waiting_max: 256,
        waiting_bytes_max: 256 * events::ENVELOPE_BYTES_MAX,
        unconfirmed_max: 64,
        confirm_timeout_ms: 10_000,
    }
}

/// The address of this database for a role. The password must be of letters and digits.
pub(crate) fn url(database: &Config, role: &str, password: &SecretString) -> String {
    let port = database.get_ports().first().copied().unwrap_or(5432);
    let name = database.get_dbname().unwrap_or_default();
    format!("postgres://{role}:{}@127.0.0.1:{port}/{name}", password.expose_secret())
}
