//! Services in the test's process, each on a port of its own, under its own role, on the test's database and vhost.

use std::net::SocketAddr;

use ::services::Entry;
use events::Clock;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use runtime::service::{Address, Service as _, UpContext};
use runtime::settings::Loader;
use serde_json::{Value, json};
use test_servers::{DEADLINE, wait_until};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::tokens;
use crate::world::World;

/// A service that runs until it is stopped, or until the test ends.
pub struct Running {
    /// The address at which it serves.
    pub address: SocketAddr,
    /// The address of metrics and readiness: the same one, unless the test sets another.
    pub operations_address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinSet<anyhow::Result<()>>,
    client: Client,
}

impl World {
    /// A Blogs API with direct paths, without rate limits, and with cheap password hashes; `change` can override every
    /// setting.
    pub async fn api_with(&self, change: impl FnOnce(Loader) -> Loader) -> Running {
        self.api_with_clock(Clock::system(), change).await
    }

    /// [`World::api_with`] and this clock.
    pub async fn api_with_clock(&self, clock: Clock, change: impl FnOnce(Loader) -> Loader) -> Running {
        let loader = Loader::new(blogs_api::DEFAULTS)
            .environment([])
            .set("http.address", "127.0.0.1:0")
            .set("http.operations_address", "")
            .set("docs.enabled", true)
            .set("database.url", self.url("blogs_api"))
            .set("broker.url", self.amqp_url_of("blogs_api").await)
            .set("engagement.direct_path", true)
            .set("engagement.allow_write_path_header", true)
            // Two cores run all tests at once, so an answer may take longer than a reader would wait.
            .set("engagement.accept_timeout_ms", 30_000)
            // A slow server must not count as down.
            .set("engagement.live_blogs.lookup_timeout_ms", 30_000)
            .set("tokens.epoch_wait_max_ms", 30_000)
            .set("database.connect_timeout_ms", 30_000)
            .set("database.wait_timeout_ms", 30_000)
            .set("requests.timeout_ms", 60_000)
            .set("requests.drain_timeout_ms", 60_000)
            // All of a test's clients have the same address.
            .set("requests.connections_max", 8192)
            .set("requests.connections_per_address_max", 512)
            .set("requests.concurrent_max", 2048)
            .set("engagement.visitor_secret", "for tests on this machine only, and long enough")
            .set("tokens.signing_keys", tokens::session_keys().signing)
            .set("tokens.import_verifying_keys", tokens::import_keys().verifying)
            .set("pages.secure_cookies", false)
            .set("passwords.memory_kib", 1024)
            .set("passwords.passes", 1)
            .set("rate_limits.enabled", false);
        let settings: blogs_api::Settings = change(loader).load().unwrap();
        let service = blogs_api::Service::start_with_clock(settings, clock).await.unwrap();
        let addresses = [service.address(), service.operations_address()];
        Running::new(addresses, |shutdown| service.run(shutdown))
    }

    /// [`World::api_with`] without changes.
    pub async fn api(&self) -> Running {
        self.api_with(|loader| loader).await
    }

    /// An Analytics worker; `change` can override every setting.
    pub async fn worker_with(&self, change: impl FnOnce(Loader) -> Loader) -> Running {
        let loader = Loader::new(analytics_worker::DEFAULTS)
            .environment([])
            .set("http.address", "127.0.0.1:0")
            .set("database.url", self.url("analytics_worker"))
            .set("broker.url", self.amqp_url_of("analytics_worker").await);
        let settings: analytics_worker::Settings = change(loader).load().unwrap();
        let service = analytics_worker::Service::start(settings).await.unwrap();
        Running::new([service.address(); 2], |shutdown| service.run(shutdown))
    }

    /// A Notification worker; `change` can override every setting.
    pub async fn notifier_with(&self, change: impl FnOnce(Loader) -> Loader) -> Running {
        let loader = Loader::new(notification_worker::DEFAULTS)
            .environment([])
            .set("http.address", "127.0.0.1:0")
            .set("database.url", self.url("notification_worker"))
            .set("broker.url", self.amqp_url_of("notification_worker").await);
        let settings: notification_worker::Settings = change(loader).load().unwrap();
        let service = notification_worker::Service::start(settings).await.unwrap();
        Running::new([service.address(); 2], |shutdown| service.run(shutdown))
    }

    /// A Recommendation API that learns quickly and without pauses; `change` can override every setting.
    pub async fn recommender_with(&self, change: impl FnOnce(Loader) -> Loader) -> Running {
        let loader = Loader::new(recommendation_api::DEFAULTS)
            .environment([])
            .set("http.address", "127.0.0.1:0")
            .set("http.operations_address", "")
            .set("docs.enabled", true)
            .set("database.url", self.url("recommendation_api"))
            .set("database.wait_timeout_ms", 30_000)
            .set("database.connect_timeout_ms", 30_000)
            .set("tokens.epoch_wait_max_ms", 30_000)
            .set("requests.timeout_ms", 60_000)
            .set("requests.drain_timeout_ms", 60_000)
            // All of a test's clients have the same address.
            .set("requests.connections_max", 8192)
            .set("requests.connections_per_address_max", 512)
            .set("tokens.verifying_keys", tokens::session_keys().verifying)
            .set("rate_limits.enabled", false)
            .set("learning.poll_ms", 20)
            .set("learning.rest_percent", 0);
        let settings: recommendation_api::Settings = change(loader).load().unwrap();
        let service = recommendation_api::Service::start(settings).await.unwrap();
        let addresses = [service.address(), service.operations_address()];
        Running::new(addresses, |shutdown| service.run(shutdown))
    }

    /// [`World::notifier_with`] without changes.
    pub async fn notifier(&self) -> Running {
        self.notifier_with(|loader| loader).await
    }

    /// [`World::worker_with`] without changes.
    pub async fn worker(&self) -> Running {
        self.worker_with(|loader| loader).await
    }
}

impl World {
    /// Any service of the list, with the settings that it has under `up`.
    pub async fn listed(&self, service: &Entry, started: &[Address]) -> Running {
        let (session, import) = (tokens::session_keys(), tokens::import_keys());
        let up = UpContext {
            session_signing_keys: &session.signing,
            session_verifying_keys: &session.verifying,
            import_verifying_keys: &import.verifying,
            visitor_secret: "for tests on this machine only, and long enough",
            started,
        };
        let mut loader = Loader::new(service.defaults)
            .environment([])
            .set("http.address", "127.0.0.1:0")
            .set("database.url", self.url(service.role));
        if service.uses_rabbitmq {
            loader = loader.set("broker.url", self.amqp_url_of(service.role).await);
        }
        let service = service.start(service.settings_in_up(loader, &up)).await.unwrap();
        let addresses = [service.address.public, service.address.operations];
        Running::new(addresses, |shutdown| service.run(shutdown))
    }

    /// A console that polls these two four times a second, with loads enabled; `change` can override every setting. The worker
    /// plays every service except the API.
    pub async fn console_with(
        &self,
        api: SocketAddr,
        worker: SocketAddr,
        change: impl FnOnce(Loader) -> Loader,
    ) -> Running {
        let loader = Loader::new(console::DEFAULTS)
            .environment([])
            .set("http.address", "127.0.0.1:0")
            .set("http.operations_address", "")
            .set("database.url", self.url("console"))
            .set("broker.url", self.amqp_url_of("console").await)
            .set("access.secure_cookies", false)
            .set("scrape.every_ms", 250)
            .set("scrape.timeout_ms", 5_000)
            .set("load.enabled", true)
            .set("load.api", format!("http://{api}"));
        let of = |service: &Entry| if service.name == "blogs-api" { api } else { worker };
        let scraped = ::services::SERVICES.iter().filter(|service| service.name != "console");
        let loader = scraped.fold(loader, |loader, service| {
            loader.set(format!("scrape.{}", service.role), vec![format!("http://{}", of(service))])
        });
        let settings: console::Settings = change(loader).load().unwrap();
        let service = console::Service::start(settings).await.unwrap();
        let addresses = [service.address(), service.operations_address()];
        Running::new(addresses, |shutdown| service.run(shutdown))
    }
}

impl Running {
    fn new<F>(
        [address, operations_address]: [SocketAddr; 2],
        run: impl FnOnce(CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(run(shutdown.clone()));
        let client =
            Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { address, operations_address, shutdown, task, client }
    }

    /// Stops it gracefully, and asserts that it ended in time and without an error.
    pub async fn stop(self) {
        self.begin_to_stop().await;
    }

    /// Asks it to end. The future is that of [`Running::stop`].
    pub fn begin_to_stop(self) -> impl Future<Output = ()> {
        self.shutdown.cancel();
        self.ended()
    }

    async fn ended(mut self) {
        // Longer than any service may drain, so that a service that never ends fails its test instead of blocking it.
        timeout(2 * DEADLINE, self.task.join_next())
            .await
            .expect("the service ends in time once it is told to")
            .expect("the service is running")
            .expect("it does not panic")
            .expect("it ends without an error");
    }

    /// A request, to be completed and sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// A request to the operations listener.
    pub fn operations(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("http://{}{path}", self.operations_address))
    }

    /// Sends JSON, and returns the status and the body as JSON (null when it is empty).
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Value,
    ) -> (StatusCode, Value) {
        let mut request = self.request(method, path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        answer(request).await
    }

    /// Signs up and in: the account's id and a token.
    pub async fn account(&self, handle: &str) -> (i64, String) {
        let email = format!("{handle}@example.org");
        let sign_up = json!({"handle": handle, "email": email, "password": "correct horse battery"});
        let (status, account) = self.send(Method::POST, "/v1/accounts", None, sign_up).await;
        assert_eq!(status, StatusCode::CREATED, "{account}");
        let sign_in = json!({"handle": handle, "password": "correct horse battery"});
        let (status, session) = self.send(Method::POST, "/v1/sessions", None, sign_in).await;
        assert_eq!(status, StatusCode::CREATED, "{session}");
        (account["id"].as_i64().unwrap(), session["token"].as_str().unwrap().to_owned())
    }

    /// A published blog's id.
    pub async fn blog(&self, token: &str, title: &str) -> i64 {
        let blog = json!({"title": title, "body": "Some *text*.", "tags": ["testing"], "publish": true});
        let (status, blog) = self.send(Method::POST, "/v1/blogs", Some(token), blog).await;
        assert_eq!(status, StatusCode::CREATED, "{blog}");
        blog["id"].as_i64().unwrap()
    }

    /// Waits until it reports that it is ready.
    pub async fn ready(&self) {
        let ready =
            wait_until(async || answer(self.request(Method::GET, "/readyz")).await.0 == StatusCode::OK);
        assert!(ready.await, "{:?}", answer(self.request(Method::GET, "/readyz")).await);
    }

    /// Waits until it is connected to RabbitMQ: events that it accepts before that go to the outbox and arrive later.
    pub async fn connected(&self) {
        let works =
            async || answer(self.request(Method::GET, "/readyz")).await.1["parts"]["broker"]["works"] == true;
        assert!(wait_until(works).await, "the API is connected to RabbitMQ");
    }

    /// Waits until a part of its readiness gives a reason that contains these words.
    pub async fn degraded(&self, part: &str, words: &str) {
        let mut last = Value::Null;
        let degraded = wait_until(async || {
            last = answer(self.request(Method::GET, "/readyz")).await.1;
            last["parts"][part]["reason"].as_str().is_some_and(|reason| reason.contains(words))
        });
        assert!(degraded.await, "{part} should say {words:?}: {last}");
    }

    /// The sum of a counter over its labels, from `/metrics`.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        text.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// The status and the body as JSON.
pub async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    (status, body)
}
