//! The settings of the console and the bounds between them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use runtime::settings::{Bound, at_least, bound};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;
use web::settings::{HttpSettings, RequestSettings};

/// Memory besides requests and connections: the process itself and minutes of samples (48 MiB).
const BASE_BYTES: usize = 48 << 20;

/// Fewest characters of a token: 128 bits in hexadecimal.
const TOKEN_LENGTH_MIN: usize = 32;

/// The numbers that this service's keys take.
pub(crate) const BOUNDS: &[Bound] = &[
    bound("database.pool_max", 2..=500).because("one connection is for expensive statistics"),
    bound("scrape.every_ms", 100..=60_000),
    bound("scrape.timeout_ms", 10..=60_000),
    at_least("load.blog_id", 0),
    bound("load.seconds_max", 1..=600),
    bound("load.senders_max", 1..=1024),
];

/// Everything the console can be told; the defaults and their reasons stand in `config/console.toml`. What all services
/// share and this one has no use for may stand beside it.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// Where it listens.
    pub http: HttpSettings,
    /// What is logged, and how.
    pub log: runtime::settings::LogSettings,
    /// Where traces go.
    pub traces: runtime::traces::TraceSettings,
    /// The shared database, under the role `console`.
    pub database: database::Settings,
    /// RabbitMQ, to ask how deep the queues are.
    pub broker: broker::Settings,
    /// What a request may cost.
    pub requests: RequestSettings,
    /// Who may look.
    pub access: AccessSettings,
    /// What is looked at.
    pub scrape: ScrapeSettings,
    /// The load that can be started.
    pub load: LoadSettings,
}

/// The `[access]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSettings {
    /// Who knows it may look. Empty: browsers of this machine alone.
    pub token: SecretString,
    /// Whether the cookie travels over TLS alone.
    pub secure_cookies: bool,
}

/// The `[scrape]` section. Every key but the first two is the role of a service.
#[derive(Debug, Clone, Deserialize)]
pub struct ScrapeSettings {
    /// How often to look, in milliseconds.
    pub every_ms: u64,
    /// How long a process may take to answer, in milliseconds.
    pub timeout_ms: u64,
    /// The base addresses of each service's processes, by the service's role.
    #[serde(flatten)]
    pub services: BTreeMap<String, Vec<String>>,
}

/// The `[load]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSettings {
    /// Whether a load can be started.
    pub enabled: bool,
    /// The Blogs API that it goes to.
    pub api: String,
    /// The blog that is viewed; 0 is the newest.
    pub blog_id: i64,
    /// Most seconds of a path.
    pub seconds_max: u32,
    /// Most requests at a time.
    pub senders_max: u32,
}

impl Settings {
    /// Checks the rules between several settings, and addresses; bounds are checked when settings are loaded.
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
    /// The token, where one is asked for.
    pub(crate) fn token(&self) -> Option<&str> {
        Some(self.token.expose_secret()).filter(|token| !token.is_empty())
    }

    fn validate(&self, is_loopback: bool) -> Result<()> {
        match self.token() {
            Some(token) => ensure!(
                token.len() >= TOKEN_LENGTH_MIN && token.bytes().all(|byte| byte.is_ascii_graphic()),
                "access.token must have {TOKEN_LENGTH_MIN} visible ASCII characters or more (openssl rand -hex 32)"
            ),
            None => ensure!(
                is_loopback,
                "http.address is not of this machine alone, so access.token must be set (openssl rand -hex 32), or \
                 http.address be 127.0.0.1"
            ),
        }
        Ok(())
    }
}

impl ScrapeSettings {
    /// How often to look.
    pub(crate) fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms)
    }

    /// How long a process may take to answer.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    fn validate(&self) -> Result<()> {
        for (key, targets) in &self.services {
            ensure!(targets.len() <= 32, "scrape.{key} must be at most 32 addresses");
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

/// An address of a process, without a path. A refusal does not repeat it: it may hold a login.
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
    fn the_defaults_hold() {
        with("access.token", "").unwrap();
    }

    #[test]
    fn another_address_than_this_machines_needs_a_token() {
        let refused = with("http.address", "0.0.0.0:8082").unwrap_err().to_string();
        assert!(refused.contains("access.token must be set"), "{refused}");
        assert!(with("access.token", "short").is_err());
        let settings = Loader::new(crate::DEFAULTS)
            .environment([])
            .set("http.address", "0.0.0.0:8082")
            .set("access.token", "0123456789abcdef0123456789abcdef");
        settings.load::<Settings>().unwrap().validate().unwrap();
    }

    #[test]
    fn what_is_no_address_is_refused_by_its_key() {
        for bad in ["", "example.org", "https://example.org", "http://example.org/path", "file:///etc/passwd"]
        {
            let refused = with("load.api", bad).unwrap_err().to_string();
            assert!(refused.contains("load.api"), "{refused}");
        }
    }
}
