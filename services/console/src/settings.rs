//! The settings of the console and the bounds between them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use runtime::settings::{Bound, at_least, bound};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;
use web::settings::{HttpSettings, RequestSettings};

/// Memory in addition to requests and connections: the process itself and minutes of samples (48 MiB).
const BASE_BYTES: usize = 48 << 20;

/// Minimum length of the token, in characters: 128 bits in hexadecimal.
const TOKEN_LENGTH_MIN: usize = 32;

/// The bounds of this service's settings.
pub(crate) const BOUNDS: &[Bound] = &[
    bound("database.pool_max", 2..=500).because("the expensive statistics need a connection of their own"),
    bound("scrape.every_ms", 100..=60_000),
    bound("scrape.timeout_ms", 10..=60_000),
    at_least("load.blog_id", 0),
    bound("load.seconds_max", 1..=600),
    bound("load.senders_max", 1..=1024),
];

/// The settings. `config/console.toml` has the defaults and their reasons. Sections that services share may also be
/// present if this service does not use them.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// The listeners.
    pub http: HttpSettings,
    /// Logging.
    pub log: runtime::settings::LogSettings,
    /// Where traces are sent.
    pub traces: runtime::traces::TraceSettings,
    /// The shared database, under the role `console`.
    pub database: database::Settings,
    /// RabbitMQ, for the depths of the queues.
    pub broker: broker::Settings,
    /// Limits of a request.
    pub requests: RequestSettings,
    /// Access to the console.
    pub access: AccessSettings,
    /// The processes to scrape.
    pub scrape: ScrapeSettings,
    /// The load that operators can start.
    pub load: LoadSettings,
}

/// The `[access]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSettings {
    /// The token that grants access. Empty: the console is reachable from this machine only.
    pub token: SecretString,
    /// Whether the cookie is sent over TLS only.
    pub secure_cookies: bool,
}

/// The `[scrape]` section. Apart from the first two keys, each key is the role of a service.
#[derive(Debug, Clone, Deserialize)]
pub struct ScrapeSettings {
    /// Interval between samples, in milliseconds.
    pub every_ms: u64,
    /// Timeout of a scrape, in milliseconds.
    pub timeout_ms: u64,
    /// The base URLs of each service's processes, by the service's role.
    #[serde(flatten)]
    pub services: BTreeMap<String, Vec<String>>,
}

/// The `[load]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSettings {
    /// Whether console users can start a load.
    pub enabled: bool,
    /// The base URL of the Blogs API that receives the load.
    pub api: String,
    /// The blog to view; 0 is the newest.
    pub blog_id: i64,
    /// Maximum duration per path, in seconds.
    pub seconds_max: u32,
    /// Maximum number of concurrent requests.
    pub senders_max: u32,
}

impl Settings {
    /// Checks the rules between settings, and addresses; bounds are checked when settings are loaded.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> Result<()> {
        self.broker.validate()?;
        self.requests.validate(BASE_BYTES).map_err(anyhow::Error::msg)?;
        self.access.validate(self.http.address.ip().is_loopback())?;
        self.scrape.validate()?;
        self.load.validate()
    }
}

impl AccessSettings {
    /// The token, if one is configured.
    pub(crate) fn token(&self) -> Option<&str> {
        Some(self.token.expose_secret()).filter(|token| !token.is_empty())
    }

    fn validate(&self, is_loopback: bool) -> Result<()> {
        match self.token() {
            Some(token) => ensure!(
                token.len() >= TOKEN_LENGTH_MIN && token.bytes().all(|byte| byte.is_ascii_graphic()),
                "access.token must have at least {TOKEN_LENGTH_MIN} visible ASCII characters (openssl rand -hex 32)"
            ),
            None => ensure!(
                is_loopback,
                "http.address is not a loopback address: set access.token (openssl rand -hex 32), or set http.address to \
                 127.0.0.1"
            ),
        }
        Ok(())
    }
}

impl ScrapeSettings {
    /// The interval between samples.
    pub(crate) fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms)
    }

    /// The timeout of a scrape.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    fn validate(&self) -> Result<()> {
        for (key, targets) in &self.services {
            ensure!(targets.len() <= 32, "scrape.{key} must have at most 32 addresses");
            for target in targets {
                base(&format!("scrape.{key}"), target)?;
            }
        }
        Ok(())
    }
}

impl LoadSettings {
    fn validate(&self) -> Result<()> {
        base("load.api", &self.api)
    }
}

/// Parses the address of a process, without a path. The error does not repeat it, because it may contain a password.
fn base(key: &str, text: &str) -> Result<()> {
    let sentence = || format!("{key} must be http://host:port");
    let url = Url::parse(text).with_context(sentence)?;
    ensure!(url.scheme() == "http" && url.host().is_some() && url.path() == "/", sentence());
    Ok(())
}

#[cfg(test)]
mod tests {
    use runtime::settings::Loader;

    use super::*;

    fn with(key: &'static str, value: &str) -> Result<()> {
        let loader = Loader::new(crate::DEFAULTS).environment([]).set(key, value);
        loader.load::<Settings>().unwrap().validate()
    }

    #[test]
    fn default_settings_are_valid() {
        with("access.token", "").unwrap();
    }

    #[test]
    fn non_loopback_address_requires_a_token() {
        let refused = with("http.address", "0.0.0.0:8082").unwrap_err().to_string();
        assert!(refused.contains("set access.token"), "{refused}");
        assert!(with("access.token", "short").is_err());
        let settings = Loader::new(crate::DEFAULTS)
            .environment([])
            .set("http.address", "0.0.0.0:8082")
            .set("access.token", "0123456789abcdef0123456789abcdef");
        settings.load::<Settings>().unwrap().validate().unwrap();
    }

    #[test]
    fn invalid_address_error_names_its_key() {
        for bad in ["", "example.org", "https://example.org", "http://example.org/path", "file:///etc/passwd"]
        {
            let refused = with("load.api", bad).unwrap_err().to_string();
            assert!(refused.contains("load.api"), "{refused}");
        }
    }
}
