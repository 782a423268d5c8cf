//! What a service is to the processes that run it: its own binary, `commonplace serve`, `commonplace up`, the lab and the
//! tests.
//!
//! A service implements [`Service`] in its own crate, and `crates/services` has it in its list. All that others need to know
//! of a service comes from here, so that a new one changes no Rust file outside its own crate and the list.

use std::net::SocketAddr;

use include_dir::Dir;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::settings::{Defaults, Loader, LogSettings};
use crate::traces::TraceSettings;

/// A service: what it is called, what it can be told, and how it runs.
pub trait Service: Sized + Send + 'static {
    /// Everything that it can be told.
    type Settings: DeserializeOwned + Clone + Send + 'static;

    /// The name of its binary, of its container and of its traces.
    const NAME: &'static str;
    /// What it does, in a line.
    const ABOUT: &'static str;
    /// Its role in Postgres, and its user on RabbitMQ.
    const ROLE: &'static str;
    /// Whether it uses RabbitMQ, and so has a user there.
    const USES_RABBITMQ: bool;
    /// Its file in `config/`.
    const DEFAULTS: Defaults;
    /// The statements that it may send.
    const STATEMENTS: &'static [Statements];
    /// Its port in `commonplace up`, counted from that of the Blogs API, if people reach it. None: any free one.
    const PORT: Option<u16> = None;

    /// The settings that the process itself needs.
    fn process(settings: &Self::Settings) -> Process<'_>;

    /// Checks the rules between several settings; bounds are checked when settings are loaded.
    ///
    /// # Errors
    /// A sentence that says what to change.
    fn validate(settings: &Self::Settings) -> anyhow::Result<()>;

    /// Checks the settings and takes its ports. No server needs to be there yet.
    ///
    /// # Errors
    /// A sentence that says what to change.
    fn start(settings: Self::Settings) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Where it listens; the port that was given, if 0 was asked for.
    fn address(&self) -> SocketAddr;

    /// Where `/metrics` and `/readyz` are served.
    fn operations_address(&self) -> SocketAddr {
        self.address()
    }

    /// Works until `shutdown`, then drains and returns.
    ///
    /// # Errors
    /// That a task of it was lost; whatever else fails while running is retried or answered.
    fn run(self, shutdown: CancellationToken) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// What `commonplace up` sets besides the addresses of the servers and `http.address`.
    fn settings_in_up(loader: Loader, up: &UpContext<'_>) -> Loader;

    /// What `commonplace up` shows of it where it listens at this base URL: what it is for, and where.
    fn links(_url: &str) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// The settings of a service's process.
#[derive(Debug, Clone, Copy)]
pub struct Process<'a> {
    /// What is logged, and how.
    pub log: &'a LogSettings,
    /// Where traces go.
    pub traces: &'a TraceSettings,
    /// Where `/readyz` is served.
    pub readiness: SocketAddr,
}

/// A folder of statements that a service sends under its role.
#[derive(Debug, Clone, Copy)]
pub struct Statements {
    /// The files.
    pub sql: &'static Dir<'static>,
    /// The group whose members alone send them, with what the check calls them.
    pub where_member_of: Option<(&'static str, &'static str)>,
}

impl Statements {
    /// Statements that are always sent.
    #[must_use]
    pub const fn of(sql: &'static Dir<'static>) -> Self {
        Self { sql, where_member_of: None }
    }

    /// Statements that are sent only where the role is a member of `group`. Reports list them under `called`.
    #[must_use]
    pub const fn of_members(group: &'static str, called: &'static str, sql: &'static Dir<'static>) -> Self {
        Self { sql, where_member_of: Some((group, called)) }
    }
}

/// What `commonplace up` knows when it starts a service.
#[derive(Debug, Clone, Copy)]
pub struct UpContext<'a> {
    /// The private keys of sessions.
    pub session_signing_keys: &'a str,
    /// The public keys of sessions.
    pub session_verifying_keys: &'a str,
    /// The public keys of imports.
    pub import_verifying_keys: &'a str,
    /// What visitors are hashed with.
    pub visitor_secret: &'a str,
    /// The services that were started before this one.
    pub started: &'a [Address],
}

/// Where a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// [`Service::NAME`].
    pub name: &'static str,
    /// [`Service::ROLE`].
    pub role: &'static str,
    /// Where it listens.
    pub public: SocketAddr,
    /// Where `/metrics` and `/readyz` are served.
    pub operations: SocketAddr,
}

impl Address {
    /// The base URL at which it listens.
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
