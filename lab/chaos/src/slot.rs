//! The place of one service: a process that is killed, stopped, restarted, always on the same address and behind the
//! same proxies.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::Service;
use load::Connection;
use nix::sys::signal::Signal;
use proxy::Proxy;

/// The fail point that a process dies at, in the environment of a build that has them.
pub(crate) const FAIL_POINT: &str = "COMMONPLACE_FAIL_POINT";
/// How long a process may take until it answers at all.
const UP_MAX: Duration = Duration::from_secs(60);
/// How long it may take until it is ready, with everything else up.
const READY_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);

/// Where one service runs.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) service_name: &'static str,
    pub(crate) executable: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) directory: PathBuf,
    /// Between it and RabbitMQ.
    pub(crate) to_rabbitmq: Proxy,
    /// Between it and Postgres.
    pub(crate) to_postgres: Proxy,
    pub(crate) service: Option<Service>,
}

impl Slot {
    /// Starts the process, to die at a fail point if one is named, and waits until it answers.
    pub(crate) async fn start(&mut self, fail_point: Option<&str>) -> anyhow::Result<()> {
        self.spawn(fail_point)?;
        self.up().await
    }

    /// Starts the process. There has to be none: a second one would find its address taken, by the first.
    pub(crate) fn spawn(&mut self, fail_point: Option<&str>) -> anyhow::Result<()> {
        if self.runs() {
            bail!("{} runs already", self.name);
        }
        // The next one takes over its files.
        self.service = None;
        let mut settings = self.settings.clone();
        settings.extend(fail_point.map(|name| (FAIL_POINT, name.to_owned())));
        let (executable, name, directory) = (&self.executable, self.service_name, &self.directory);
        self.service = Some(Service::start_on(self.address, executable, name, &settings, directory)?);
        Ok(())
    }

    /// Whether there is a process, as far as is known.
    pub(crate) fn runs(&mut self) -> bool {
        self.service.as_mut().is_some_and(|service| service.check().is_ok())
    }

    /// Waits until it answers anything.
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

    /// Kills it as a crash would.
    pub(crate) async fn kill_9(&mut self) -> anyhow::Result<()> {
        if let Some(service) = self.service.take() {
            service.kill_9().await.with_context(|| format!("killing {}", self.name))?;
        }
        Ok(())
    }

    /// Ends it by SIGTERM; it has to end well.
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

/// The status of an operations page, if there is an answer.
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
