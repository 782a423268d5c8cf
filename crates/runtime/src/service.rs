//! Describes a service to the programs that run it: its own binary, `commonplace serve`, `commonplace up`, the lab and the
//! tests.
//!
//! A service implements [`Service`] in its own crate, and `crates/services` lists it. Everything that other code needs to
//! know about a service comes from this trait, so a new service changes no other Rust file.

use std::net::SocketAddr;

use include_dir::Dir;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::settings::{Defaults, Loader, LogSettings};
use crate::traces::TraceSettings;

/// A service: its name, its settings, and how it runs.
pub trait Service: Sized + Send + 'static {
    /// Its settings.
    type Settings: DeserializeOwned + Clone + Send + 'static;

    /// The name of its binary, its container and its traces.
    const NAME: &'static str;
    /// What it does, in one line.
    const ABOUT: &'static str;
    /// Its role in Postgres, and its user on RabbitMQ.
    const ROLE: &'static str;
    /// Whether it uses RabbitMQ and needs a user there.
    const USES_RABBITMQ: bool;
    /// Its file in `config/`.
    const DEFAULTS: Defaults;
    /// The statements it may send.
    const STATEMENTS: &'static [Statements];
    /// The offset of its port under `commonplace up` from the Blogs API's port. `None`: any free port, because no person opens it.
    const PORT: Option<u16> = None;

    /// The settings that the process itself needs.
    fn process(settings: &Self::Settings) -> Process<'_>;

    /// Checks the rules between several settings. Bounds are checked when settings are loaded.
    ///
    /// # Errors
    /// A message that says what to change.
    fn validate(settings: &Self::Settings) -> anyhow::Result<()>;

    /// Checks the settings and binds its ports. The servers need not be running yet.
    ///
    /// # Errors
    /// A message that says what to change.
    fn start(settings: Self::Settings) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// The address it listens on, with the actual port if 0 was requested.
    fn address(&self) -> SocketAddr;

    /// The address of `/metrics` and `/readyz`.
    fn operations_address(&self) -> SocketAddr {
        self.address()
    }

    /// Runs until `shutdown`, then drains and returns.
    ///
    /// # Errors
    /// One of its tasks ended early. Other failures are retried or reported to the client.
    fn run(self, shutdown: CancellationToken) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// The settings that `commonplace up` adds to the addresses of the servers and `http.address`.
    fn settings_in_up(loader: Loader, up: &UpContext<'_>) -> Loader;

    /// The links that `commonplace up` prints for it at this base URL, each with a description.
    fn links(_url: &str) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// The settings of a service's process.
#[derive(Debug, Clone, Copy)]
pub struct Process<'a> {
    /// The settings of the log.
    pub log: &'a LogSettings,
    /// The settings of traces.
    pub traces: &'a TraceSettings,
    /// The address of `/readyz`.
    pub readiness: SocketAddr,
}

/// A folder of statements that a service sends under its role.
#[derive(Debug, Clone, Copy)]
pub struct Statements {
    /// The files.
    pub sql: &'static Dir<'static>,
    /// If only members of a group send them: the group, and the name in reports.
    pub where_member_of: Option<(&'static str, &'static str)>,
}

impl Statements {
    /// Statements that the service always sends.
    #[must_use]
    pub const fn of(sql: &'static Dir<'static>) -> Self {
        Self { sql, where_member_of: None }
    }

    /// Statements that the service sends only if its role is a member of `group`. Reports list them under `called`.
    #[must_use]
    pub const fn of_members(group: &'static str, called: &'static str, sql: &'static Dir<'static>) -> Self {
        Self { sql, where_member_of: Some((group, called)) }
    }
}

/// The values that `commonplace up` has when it starts a service.
#[derive(Debug, Clone, Copy)]
pub struct UpContext<'a> {
    /// The private keys of sessions.
    pub session_signing_keys: &'a str,
    /// The public keys of sessions.
    pub session_verifying_keys: &'a str,
    /// The public keys of imports.
    pub import_verifying_keys: &'a str,
    /// The secret for hashing visitors.
    pub visitor_secret: &'a str,
    /// The services started before this one.
    pub started: &'a [Address],
}

/// The addresses of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// [`Service::NAME`].
    pub name: &'static str,
    /// [`Service::ROLE`].
    pub role: &'static str,
    /// The public address.
    pub public: SocketAddr,
    /// The address of `/metrics` and `/readyz`.
    pub operations: SocketAddr,
}

impl Address {
    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.public)
    }

    /// The base URL of `/metrics` and `/readyz`.
    #[must_use]
    pub fn operations_url(&self) -> String {
        format!("http://{}", self.operations)
    }
}
