//! `commonplace up`: the whole system in one process, on servers of its own.
//!
//! It starts the servers, makes the schema, starts every service, loads the demo through the public API, and then waits.
//! It shuts down in the opposite order: the API stops accepting and drains, the workers apply the events that have arrived,
//! the servers stop. A failure during startup shuts down the same way. If this process is killed, the guards of
//! `crates/stack` stop the servers.

mod addresses;
mod place;
mod servers;
mod services;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::pin;

use anyhow::{Context, bail};
use runtime::process;
use runtime::service::Address;
use runtime::settings::{Defaults, LogSettings};
use runtime::traces::TraceSettings;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::defaults;
use crate::running::default_directory;
use crate::terminal::{self, Progress};
use crate::{demo, migrate, schema};
use place::{Credentials, Place};
use servers::Servers;
use services::Services;

/// The settings that this command adds: `config/up.toml`.
pub(crate) const DEFAULTS: Defaults =
    Defaults::new(include_str!("../../config/up.toml"), &[engagement::BOUNDS]);

/// The service through whose API the demo is loaded.
const API: &str = "blogs-api";

const LONG: &str = "\
Run the whole system: private PostgreSQL and RabbitMQ, every service, demo data

If PostgreSQL or RabbitMQ is not installed, this command installs it (apt-get, as root or with sudo) or runs it from an \
image. Its servers listen on free ports of 127.0.0.1 and stop with the command; it does not touch other servers. \
Ctrl-C stops everything and keeps the data for the next `up`.

If DATABASE_URL or AMQP_URL is set, the command uses that server instead of a private one. DATABASE_URL must be the \
administrator's: the command makes a role for each service and the role operator there, or gives them new passwords, and \
allows the Blogs API to write engagement itself (the direct path). AMQP_URL must be an administrator's too, and needs \
RABBITMQ_MANAGEMENT_URL: the command makes exchanges, queues and a user for each service that uses RabbitMQ.";

const EXAMPLES: &str = "\
Examples:
  commonplace up
  commonplace up --fresh --port 9000
  DATABASE_URL=postgres://postgres@db.example.org/commonplace commonplace up

Exit codes: 0 stopped by Ctrl-C or SIGTERM, 1 the start or a service failed, 2 wrong usage.";

/// Run the whole system: private PostgreSQL and RabbitMQ, every service, demo data
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Delete the data of earlier runs first, but not that of the servers in `DATABASE_URL` and `AMQP_URL`
    #[arg(long)]
    fresh: bool,
    /// Port of the Blogs API and the pages on 127.0.0.1; the Recommendation API and the console use the ports after it. 0 takes
    /// free ports
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Folder for data, logs and passwords [default: .stack/up in the checkout]
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
    /// Use this PostgreSQL instead of a private one, as its administrator
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Use this RabbitMQ instead of a private one, as its administrator; needs --management-url
    #[arg(long, value_name = "URL", env = "AMQP_URL", hide_env_values = true)]
    amqp_url: Option<String>,
    /// Management API of that RabbitMQ, with its administrator's login
    #[arg(long, value_name = "URL", env = "RABBITMQ_MANAGEMENT_URL", hide_env_values = true)]
    management_url: Option<String>,
}

/// The settings of the command itself; the services load their own.
#[derive(Debug, Deserialize)]
struct Settings {
    log: LogSettings,
    traces: TraceSettings,
    engagement: engagement::Settings,
}

/// What the startup steps share.
struct Ascent {
    arguments: Arguments,
    place: Place,
    progress: Progress,
    shutdown: CancellationToken,
    /// Length of the window in which a visitor's views of a blog count once.
    view_window_s: u32,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings: Settings = defaults::loader(DEFAULTS).load()?;
    process::run("commonplace", &settings.log, &settings.traces, async |shutdown| {
        ascend(arguments, settings.engagement.view_window_s, shutdown).await
    })
    .await
}

async fn ascend(arguments: Arguments, view_window_s: u32, shutdown: CancellationToken) -> anyhow::Result<()> {
    let directory = arguments.directory.clone().unwrap_or_else(default_directory);
    // Checked before `--fresh` deletes data.
    for port in services::ports(arguments.port) {
        check_port(port)?;
    }
    let place = Place::claim(directory, arguments.fresh)?;

    let progress = Progress::new();
    let ascent = Ascent { arguments, place, progress: progress.clone(), shutdown, view_window_s };
    let servers = Box::pin(ascent.servers()).await?;
    let outcome = Box::pin(ascent.with_servers(&servers)).await;
    progress.now("stopping the servers");
    let stopped = servers.stop().await;
    progress.rest();
    outcome.and(stopped)?;
    progress.done("stopped; the data is kept");
    Ok(())
}

impl Ascent {
    /// A server that is starting cannot be interrupted, so Ctrl-C waits until it has started.
    async fn servers(&self) -> anyhow::Result<Servers> {
        let mut starting = pin!(Servers::start(&self.arguments, &self.place, &self.progress));
        tokio::select! {
            biased;
            started = &mut starting => return started,
            () = self.shutdown.cancelled() => {}
        }
        self.progress.done(
            "interrupted: waiting for the servers to start, then stopping them (Ctrl-C again exits at once)",
        );
        starting.await.context("interrupted while the servers were starting")
    }

    async fn with_servers(&self, servers: &Servers) -> anyhow::Result<()> {
        if self.shutdown.is_cancelled() {
            return Ok(());
        }
        self.progress.now("making roles and schema");
        let credentials = self.place.credentials()?;
        let administrator = schema::administrator(&servers.administrator_url)?;
        let vhost = broker::vhost_of(&servers.amqp_url)
            .context("AMQP_URL is not an address such as amqp://user:password@host:5672/vhost")?;
        let (roles, rabbitmq) = credentials.administration(
            &servers.management_url,
            &vhost,
            self.arguments.database_url.is_none(),
        )?;
        let prepared = schema::prepare(&administrator, &roles).await.context(
            "making roles and schema (if another build made the data, `up --fresh` starts with empty data)",
        )?;
        self.progress.done(match prepared.migrations_applied.len() {
            0 => "the schema is up to date".to_owned(),
            applied => format!("roles and schema made ({applied} migrations)"),
        });
        self.progress.now("making RabbitMQ's queues and users");
        let administered = migrate::administer(rabbitmq).await?;
        if !administered.differences.is_empty() {
            migrate::report(&administered)?;
        }
        let urls = addresses::Urls::new(&administrator, &credentials, servers);

        self.progress.now("starting the services");
        let mut services = Services::start(self.arguments.port, &urls, &credentials).await?;
        let outcome = Box::pin(self.with_services(&mut services, &urls, &credentials)).await;
        self.progress.now("draining the services (Ctrl-C again exits at once)");
        let drained = services.drain().await;
        self.progress.done("services drained");
        outcome.and(drained)
    }

    async fn with_services(
        &self,
        services: &mut Services,
        urls: &addresses::Urls<'_>,
        credentials: &Credentials,
    ) -> anyhow::Result<()> {
        let addresses = services.addresses();
        let api = addresses.iter().find(|service| service.name == API).map(Address::url);
        let api = api.context("the Blogs API is not in the list of services")?;
        // The file exists until the services drain.
        let mut _mark = None;
        let introduction = async {
            services::until_ready(&addresses).await?;
            self.progress.done("services ready");
            let running = urls.running(api.clone(), self.view_window_s);
            _mark = Some(running.mark(self.place.directory())?);
            self.progress.now("loading the demo");
            let demo = demo::load(&api, &credentials.demo_password, &self.place.demo_mark()).await?;
            self.progress.done(&demo);
            self.progress.rest();
            terminal::line(urls.table(&addresses, &api, &demo));
            anyhow::Ok(())
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Ok(()),
            ended = services.first_end() => return ended,
            introduced = introduction => introduced?,
        }
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Ok(()),
            ended = services.first_end() => ended,
        }
    }
}

/// Reports a port that is in use before the servers start.
fn check_port(port: u16) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(address) {
        Ok(_free) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "port {port} is in use: stop the process that listens there, or choose another port with --port"
            )
        }
        Err(error) => Err(error).with_context(|| format!("listening on {address}; choose another --port")),
    }
}
