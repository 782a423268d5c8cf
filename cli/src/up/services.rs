//! The services of an `up`, each as its own binary would run it, all in this process.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use runtime::service::Service as _;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::addresses::{ServiceAddress, Urls};
use super::place::Credentials;
use crate::defaults;

/// How long the services may take to reach servers that are up.
const READY_WITHIN: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(50);
/// Connections to the Blogs API of one address, which is that of all clients here.
const CONNECTIONS: i64 = 128;
/// Connections to the console, likewise: a browser has some six, and one for each open page.
const CONSOLE_CONNECTIONS: i64 = 64;

/// The running services.
pub(super) struct Services {
    api: Task,
    workers: [Task; 3],
    console: Task,
    view_window_s: u32,
}

/// One running service.
struct Task {
    name: &'static str,
    address: SocketAddr,
    operations: SocketAddr,
    shutdown: CancellationToken,
    handle: JoinHandle<anyhow::Result<()>>,
    /// What the service ended with has been taken.
    ended: bool,
}

impl Services {
    /// Starts them: first who counts and tells, then who accepts.
    ///
    /// # Errors
    /// A setting that makes no sense, or a port that is taken.
    pub(super) async fn start(port: u16, urls: &Urls, credentials: &Credentials) -> anyhow::Result<Self> {
        let worker = defaults::loader(analytics_worker::DEFAULTS)
            .set("database.url", urls.analytics_worker.as_str())
            .set("broker.url", urls.amqp.analytics_worker.as_str())
            .set("http.address", "127.0.0.1:0")
            // Whoever tries it out does not wait for an hour.
            .set("popularity.interval_s", 10);
        let worker: analytics_worker::Settings = worker.load()?;
        let worker =
            analytics_worker::Service::start(worker).await.context("starting the analytics-worker")?;
        let notifier = defaults::loader(notification_worker::DEFAULTS)
            .set("database.url", urls.notification_worker.as_str())
            .set("broker.url", urls.amqp.notification_worker.as_str())
            .set("http.address", "127.0.0.1:0");
        let notifier: notification_worker::Settings = notifier.load()?;
        let notifier = notification_worker::Service::start(notifier)
            .await
            .context("starting the notification-worker")?;
        let recommendation = start_recommendation(port, urls, credentials).await?;
        let api = defaults::loader(blogs_api::DEFAULTS)
            .set("database.url", urls.blogs_api.as_str())
            .set("broker.url", urls.amqp.blogs_api.as_str())
            .set("http.address", format!("127.0.0.1:{port}"))
            .set("http.operations_address", "127.0.0.1:0")
            .set("docs.enabled", true)
            .set("requests.connections_max", 16 * CONNECTIONS)
            .set("requests.connections_per_address_max", CONNECTIONS)
            .set("engagement.direct_path", true)
            .set("engagement.allow_write_path_header", true)
            .set("engagement.visitor_secret", credentials.visitor_secret.as_str())
            .set("tokens.signing_keys", credentials.session_keys().signing)
            .set("tokens.import_verifying_keys", credentials.import_keys().verifying)
            .set("pages.secure_cookies", false)
            .set("rate_limits.enabled", false);
        let api: blogs_api::Settings = api.load()?;
        let view_window_s = api.engagement.view_window_s;
        let api = blogs_api::Service::start(api).await.context("starting the blogs-api")?;
        let scraped = [
            api.operations_address(),
            worker.address(),
            notifier.address(),
            recommendation.operations_address(),
        ];
        let console = start_console(port, urls, api.address(), scraped).await?;
        Ok(Self {
            workers: [
                Task::new("analytics-worker", [worker.address(); 2], |shutdown| worker.run(shutdown)),
                Task::new("notification-worker", [notifier.address(); 2], |shutdown| notifier.run(shutdown)),
                Task::new(
                    "recommendation-api",
                    [recommendation.address(), recommendation.operations_address()],
                    |shutdown| recommendation.run(shutdown),
                ),
            ],
            console: Task::new("console", [console.address(), console.operations_address()], |shutdown| {
                console.run(shutdown)
            }),
            api: Task::new("blogs-api", [api.address(), api.operations_address()], |shutdown| {
                api.run(shutdown)
            }),
            view_window_s,
        })
    }

    /// How long a visitor's views of a blog count once.
    pub(super) fn view_window_s(&self) -> u32 {
        self.view_window_s
    }

    /// The Blogs API.
    pub(super) fn api(&self) -> ServiceAddress {
        self.api.place()
    }

    /// The console.
    pub(super) fn console(&self) -> ServiceAddress {
        self.console.place()
    }

    /// The other services.
    pub(super) fn workers(&self) -> Vec<ServiceAddress> {
        self.workers.iter().map(Task::place).collect()
    }

    /// Waits until one of them ends, which none should before it is asked to.
    pub(super) async fn first_end(&mut self) -> anyhow::Result<()> {
        let [analytics, notification, recommendation] = &mut self.workers;
        let name = tokio::select! {
            ended = self.api.end() => { ended?; self.api.name }
            ended = analytics.end() => { ended?; analytics.name }
            ended = notification.end() => { ended?; notification.name }
            ended = recommendation.end() => { ended?; recommendation.name }
            ended = self.console.end() => { ended?; self.console.name }
        };
        bail!("{name} ended by itself")
    }

    /// Ends them: first who looks and accepts, then who counts and tells, so that what was accepted is also applied. All are
    /// ended even if one fails.
    pub(super) async fn drain(mut self) -> anyhow::Result<()> {
        let mut drained = self.console.drain().await.and(self.api.drain().await);
        for worker in &mut self.workers {
            drained = drained.and(worker.drain().await);
        }
        drained
    }
}

impl Task {
    fn new<F>(
        name: &'static str,
        [address, operations]: [SocketAddr; 2],
        run: impl FnOnce(CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let handle = TaskTracker::new().spawn(run(shutdown.clone()));
        Self { name, address, operations, shutdown, handle, ended: false }
    }

    fn place(&self) -> ServiceAddress {
        let url = |address| format!("http://{address}");
        ServiceAddress { name: self.name, url: url(self.address), operations: url(self.operations) }
    }

    async fn drain(&mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        if self.ended { Ok(()) } else { self.end().await }
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        let ended: Result<anyhow::Result<()>, JoinError> = (&mut self.handle).await;
        self.ended = true;
        ended
            .with_context(|| format!("{} panicked", self.name))?
            .with_context(|| format!("{} failed", self.name))
    }
}

/// Where the Recommendation API and the console listen: after the Blogs API's port, as their defaults are.
pub(super) fn ports_after(port: u16) -> [u16; 2] {
    [1, 2].map(|n| if port == 0 { 0 } else { port.saturating_add(n) })
}

async fn start_recommendation(
    port: u16,
    urls: &Urls,
    credentials: &Credentials,
) -> anyhow::Result<recommendation_api::Service> {
    let [recommendation_port, _console] = ports_after(port);
    let recommendation = defaults::loader(recommendation_api::DEFAULTS)
        .set("database.url", urls.recommendation_api.as_str())
        .set("http.address", format!("127.0.0.1:{recommendation_port}"))
        .set("http.operations_address", "127.0.0.1:0")
        .set("docs.enabled", true)
        .set("tokens.verifying_keys", credentials.session_keys().verifying)
        .set("rate_limits.enabled", false);
    let recommendation: recommendation_api::Settings = recommendation.load()?;
    recommendation_api::Service::start(recommendation).await.context("starting the recommendation-api")
}

async fn start_console(
    port: u16,
    urls: &Urls,
    load: SocketAddr,
    [api, worker, notifier, recommendation]: [SocketAddr; 4],
) -> anyhow::Result<console::Service> {
    let url = |address: SocketAddr| format!("http://{address}");
    let [_recommendation, console_port] = ports_after(port);
    let console = defaults::loader(console::DEFAULTS)
        .set("database.url", urls.console.as_str())
        .set("broker.url", urls.amqp.console.as_str())
        .set("http.address", format!("127.0.0.1:{console_port}"))
        .set("http.operations_address", "127.0.0.1:0")
        .set("requests.connections_max", 16 * CONSOLE_CONNECTIONS)
        .set("requests.connections_per_address_max", CONSOLE_CONNECTIONS)
        .set("access.secure_cookies", false)
        .set("scrape.blogs_api", vec![url(api)])
        .set("scrape.analytics_worker", vec![url(worker)])
        .set("scrape.notification_worker", vec![url(notifier)])
        .set("scrape.recommendation_api", vec![url(recommendation)])
        .set("load.enabled", true)
        .set("load.api", url(load));
    let console: console::Settings = console.load()?;
    console::Service::start(console).await.context("starting the console")
}

/// Waits until all of them say that they are ready.
///
/// # Errors
/// After 30 s, with what is not.
pub(super) async fn until_ready(services: impl Iterator<Item = &ServiceAddress>) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(READY_WITHIN).build()?;
    let deadline = Instant::now() + READY_WITHIN;
    for ServiceAddress { name, operations, .. } in services {
        loop {
            let response = client.get(format!("{operations}/readyz")).send().await?;
            if response.status().is_success() {
                break;
            }
            if Instant::now() > deadline {
                bail!("{name} is not ready: {}", response.text().await?);
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
    Ok(())
}
