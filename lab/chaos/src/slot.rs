//! The slot of one service, whose process is killed, stopped and restarted, always at the same address and behind the
//! same proxies.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::Service;
use load::Connection;
use nix::sys::signal::Signal;
use proxy::Proxy;

/// The environment variable with the fail point at which a process crashes, in a build with fail points.
pub(crate) const FAIL_POINT: &str = "COMMONPLACE_FAIL_POINT";
/// How long a process may take until it answers any request.
const UP_MAX: Duration = Duration::from_secs(60);
/// How long it may take until it is ready, with all other processes up.
const READY_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);

/// The slot of one service.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) service_name: &'static str,
    pub(crate) executable: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) directory: PathBuf,
    /// The proxy between it and RabbitMQ.
    pub(crate) to_rabbitmq: Proxy,
    /// The proxy between it and Postgres.
    pub(crate) to_postgres: Proxy,
    pub(crate) service: Option<Service>,
}

impl Slot {
    /// Starts the process, optionally with a fail point at which it crashes, and waits until it answers.
    pub(crate) async fn start(&mut self, fail_point: Option<&str>) -> anyhow::Result<()> {
        self.spawn(fail_point)?;
        self.up().await
    }

    /// Starts the process. None may be running, because a second one would find its address in use.
    pub(crate) fn spawn(&mut self, fail_point: Option<&str>) -> anyhow::Result<()> {
        if self.runs() {
            bail!("{} runs already", self.name);
        }
        // The next process reuses its files.
        self.service = None;
        let mut settings = self.settings.clone();
        settings.extend(fail_point.map(|name| (FAIL_POINT, name.to_owned())));
        let (executable, name, directory) = (&self.executable, self.service_name, &self.directory);
        self.service = Some(Service::start_on(self.address, executable, name, &settings, directory)?);
        Ok(())
    }

    /// True if there is a process, as far as is known.
    pub(crate) fn runs(&mut self) -> bool {
        self.service.as_mut().is_some_and(|service| service.check().is_ok())
    }

    /// Waits until it answers any request.
    async fn up(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + UP_MAX;
        while ask(self.address, "/healthz").await != Some(200) {
            self.service.as_mut().context("it was not started")?.check()?;
            if Instant::now() > deadline {
                bail!("{} does not answer", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        while ask(self.address, "/readyz").await != Some(200) {
            self.service.as_mut().context("it was not started")?.check()?;
            if Instant::now() > deadline {
                bail!("{} is not ready", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Kills it, like a crash.
    pub(crate) async fn kill_9(&mut self) -> anyhow::Result<()> {
        if let Some(service) = self.service.take() {
            service.kill_9().await.with_context(|| format!("killing {}", self.name))?;
        }
        Ok(())
    }

    /// Sends SIGTERM; it must end without an error.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        match self.service.take() {
            Some(service) => Ok(service.stop().await?),
            None => Ok(()),
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.service.as_ref().is_some_and(|service| service.signal(signal))
    }
}

/// The status of an operations page, if it answers.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> Option<u16> {
    Some(fetch(address, path).await?.0)
}

/// An operations page.
pub(crate) async fn fetch(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let asked = async {
        let mut connection = Connection::open(address).await.ok()?;
        let answer = connection.exchange(request.as_bytes()).await.ok()?;
        Some((answer.status, String::from_utf8_lossy(connection.body()).into_owned()))
    };
    tokio::time::timeout(Duration::from_secs(2), asked).await.ok().flatten()
}
