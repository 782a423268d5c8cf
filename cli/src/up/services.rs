//! The services of an `up`, each as its own binary would run it, all in this process.

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::select_all;
use runtime::service::{Address, UpContext};
use services::{Entry, SERVICES, Started};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::Urls;
use super::place::Credentials;
use crate::defaults;

/// How long the services may take to become ready, once the servers are up.
const READY_WITHIN: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(50);

/// The running services, in the order of the list.
pub(super) struct Services(Vec<Task>);

/// One running service.
struct Task {
    address: Address,
    shutdown: CancellationToken,
    handle: JoinHandle<anyhow::Result<()>>,
    /// True if the service's result has been taken.
    ended: bool,
}

impl Services {
    /// Starts them in the order of the list.
    ///
    /// # Errors
    /// If a setting is invalid, or a port is in use.
    pub(super) async fn start(port: u16, urls: &Urls<'_>, credentials: &Credentials) -> anyhow::Result<Self> {
        let (session, import) = (credentials.session_keys(), credentials.import_keys());
        let mut started: Vec<Started> = Vec::new();
        for service in &SERVICES {
            let addresses: Vec<_> = started.iter().map(|started| started.address).collect();
            let mut loader = defaults::loader(service.defaults)
                .set("database.url", urls.database(service.role))
                .set("http.address", format!("127.0.0.1:{}", port_of(service, port)));
            if service.uses_rabbitmq {
                loader = loader.set("broker.url", urls.amqp(service.role)?);
            }
            let up = UpContext {
                session_signing_keys: &session.signing,
                session_verifying_keys: &session.verifying,
                import_verifying_keys: &import.verifying,
                visitor_secret: &credentials.visitor_secret,
                started: &addresses,
            };
            started.push(service.start(service.settings_in_up(loader, &up)).await?);
        }
        Ok(Self(started.into_iter().map(Task::new).collect()))
    }

    /// Their addresses.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.0.iter().map(|task| task.address).collect()
    }

    /// Waits until a service ends. None should end before [`Services::drain`].
    pub(super) async fn first_end(&mut self) -> anyhow::Result<()> {
        let ends = self.0.iter_mut().map(|task| {
            Box::pin(async {
                task.end().await?;
                anyhow::Ok(task.address.name)
            })
        });
        let (ended, ..) = select_all(ends).await;
        bail!("{} stopped unexpectedly", ended?)
    }

    /// Ends the services in reverse order, so that the workers apply the events that the API has accepted. Ends all of them even
    /// if one fails.
    pub(super) async fn drain(mut self) -> anyhow::Result<()> {
        let mut drained = Ok(());
        for task in self.0.iter_mut().rev() {
            drained = drained.and(task.drain().await);
        }
        drained
    }
}

impl Task {
    fn new(service: Started) -> Self {
        let (address, shutdown) = (service.address, CancellationToken::new());
        let handle = TaskTracker::new().spawn(service.run(shutdown.clone()));
        Self { address, shutdown, handle, ended: false }
    }

    async fn drain(&mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        if self.ended { Ok(()) } else { self.end().await }
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        let ended: Result<anyhow::Result<()>, JoinError> = (&mut self.handle).await;
        self.ended = true;
        let name = self.address.name;
        ended.with_context(|| format!("{name} panicked"))?.with_context(|| format!("{name} failed"))
    }
}

/// The public ports, if the Blogs API has this one.
pub(super) fn ports(port: u16) -> impl Iterator<Item = u16> {
    SERVICES.iter().filter(|service| service.port.is_some()).map(move |service| port_of(service, port))
}

/// The port of a service; 0 takes a free port.
fn port_of(service: &Entry, port: u16) -> u16 {
    match service.port {
        Some(after) if port != 0 => port.saturating_add(after),
        _ => 0,
    }
}

/// Waits until all services report that they are ready.
///
/// # Errors
/// After 30 s, with the service that is not ready.
pub(super) async fn until_ready(services: &[Address]) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(READY_WITHIN).build()?;
    let deadline = Instant::now() + READY_WITHIN;
    for service in services {
        loop {
            let response = client.get(format!("{}/readyz", service.operations_url())).send().await?;
            if response.status().is_success() {
                break;
            }
            if Instant::now() > deadline {
                bail!("{} is not ready: {}", service.name, response.text().await?);
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
    Ok(())
}
