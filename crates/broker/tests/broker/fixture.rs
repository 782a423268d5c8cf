//! A broker for this process, a vhost for each test, and distinguishable events.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use broker::{
    Administered, Administration, Consumer, Delivery, EncodedEvents, HandOver, Overdue, Publisher, Queue,
    Settings, State,
};
use events::Clock;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;
use stack::{Options, RabbitMq};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Longer than any successful step takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The broker of this process. It ends with the process.
pub(crate) fn rabbitmq() -> &'static RabbitMq {
    static RABBITMQ: OnceLock<RabbitMq> = OnceLock::new();
    RABBITMQ.get_or_init(|| start("broker"))
}

/// Starts a separate broker in a directory of this name.
pub(crate) fn start(name: &str) -> RabbitMq {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let options = Options { durable: false, fresh: true, ..Options::new(directory) };
    RabbitMq::start(&options, &mut |_line| ()).unwrap()
}

/// The password of every service's user.
pub(crate) const PASSWORD: &str = "for-tests-on-this-machine-only";

/// The administrator's settings for a new vhost with the topology and the services' users.
pub(crate) async fn settings() -> Settings {
    let (settings, vhost) = bare_settings().await;
    administer(&vhost).await;
    settings
}

/// The administrator's settings for a new, empty vhost, and the vhost's name.
pub(crate) async fn bare_settings() -> (Settings, String) {
    let made = tokio::task::spawn_blocking(|| {
        let name = Uuid::now_v7().simple().to_string();
        (settings_for(&rabbitmq().create_vhost(&name).unwrap()), name)
    });
    made.await.unwrap()
}

/// The administrator's step on a vhost.
pub(crate) async fn administer(vhost: &str) -> Administered {
    let vhost = vhost.to_owned();
    tokio::task::spawn_blocking(move || administer_on(rabbitmq(), &vhost)).await.unwrap()
}

/// Runs the administrator's step on a vhost of this broker; it blocks.
pub(crate) fn administer_on(rabbitmq: &RabbitMq, vhost: &str) -> Administered {
    let administration = Administration {
        management_url: rabbitmq.management_url().into(),
        vhost: vhost.to_owned(),
        passwords: broker::users().map(|user| (user.to_owned(), PASSWORD.into())).collect(),
        connections_max: 1000,
    };
    broker::administer(&administration).unwrap()
}

/// The vhost of these settings.
pub(crate) fn vhost(settings: &Settings) -> String {
    settings.url.expose_secret().rsplit_once('/').unwrap().1.to_owned()
}

/// These settings with the login of a service's user.
pub(crate) fn as_user(settings: &Settings, user: &str) -> Settings {
    let url = broker::url_of(settings.url.expose_secret(), user, &PASSWORD.into()).unwrap();
    Settings { url: url.into(), ..settings.clone() }
}

/// Settings with short pauses, for a URL.
pub(crate) fn settings_for(url: &str) -> Settings {
    Settings {
        url: url.into(),
        connect_timeout_ms: 20_000,
        answer_timeout_ms: 20_000,
        heartbeat_s: 30,
        backoff_min_ms: 10,
        backoff_max_ms: 100,
        waiting_max: 8192,
        waiting_bytes_max: 16 << 20,
        unconfirmed_max: 4,
        confirm_timeout_ms: 30_000,
    }
}

/// The address of the broker in these settings.
pub(crate) fn upstream(settings: &Settings) -> SocketAddr {
    let (_, rest) = settings.url.expose_secret().split_once('@').unwrap();
    rest.split_once('/').unwrap().0.parse().unwrap()
}

/// The same settings, through another address.
pub(crate) fn through(settings: &Settings, address: SocketAddr) -> Settings {
    let (before, rest) = settings.url.expose_secret().split_once('@').unwrap();
    let (_, vhost) = rest.split_once('/').unwrap();
    Settings { url: format!("{before}@{address}/{vhost}").into(), ..settings.clone() }
}

/// A publisher with its metrics, its tasks and the token that shuts it down.
pub(crate) struct Publishing {
    pub(crate) publisher: Publisher,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    registry: Registry,
}

impl Publishing {
    pub(crate) fn start(settings: &Settings) -> Self {
        let (mut registry, tasks, shutdown) =
            (Registry::default(), TaskTracker::new(), CancellationToken::new());
        let publisher = Publisher::start(settings, "test", &mut registry, &tasks, shutdown.clone()).unwrap();
        Self { publisher, shutdown, tasks, registry }
    }

    /// A publisher that hands over overdue envelopes, with room for this many.
    pub(crate) fn handing_over(
        settings: &Settings,
        away_after: Duration,
        room: usize,
    ) -> (Self, mpsc::Receiver<Overdue>) {
        let (mut registry, tasks, shutdown) =
            (Registry::default(), TaskTracker::new(), CancellationToken::new());
        let (to, overdue) = mpsc::channel(room);
        let (hand_over, ends, clock) = (HandOver { to, away_after }, shutdown.clone(), Clock::system());
        let publisher =
            Publisher::start_handing_over(settings, "test", hand_over, clock, &mut registry, &tasks, ends)
                .unwrap();
        (Self { publisher, shutdown, tasks, registry }, overdue)
    }

    /// Waits until the publisher is connected.
    pub(crate) async fn connected(&self) {
        self.reached(|state| *state == State::Connected).await;
    }

    /// Waits for a state.
    pub(crate) async fn reached(&self, wanted: impl FnMut(&State) -> bool) -> State {
        let mut state = self.publisher.state();
        timeout(PATIENCE, state.wait_for(wanted)).await.expect("the state is reached").unwrap().clone()
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.expect("the metric is there").parse().unwrap()
    }

    /// Shuts down and waits for the end of the task.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        timeout(PATIENCE, self.tasks.wait()).await.expect("the task ends");
    }
}

/// An encoded event that contains only a number.
pub(crate) fn event(number: usize) -> EncodedEvents {
    EncodedEvents::one(number.to_string().into_bytes()).unwrap()
}

/// A deadline that is never reached.
pub(crate) fn late() -> Instant {
    Instant::now() + PATIENCE
}

/// The numbers in a body.
pub(crate) fn numbers(body: &[u8]) -> Vec<usize> {
    serde_json::from_slice(body).unwrap()
}

pub(crate) async fn consume(settings: &Settings, queue: Queue, prefetch: u16) -> Consumer {
    Consumer::open(settings, queue, prefetch, "test").await.unwrap()
}

/// The next delivery, which must arrive.
pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(PATIENCE, consumer.next()).await.expect("a delivery").expect("a delivery, not the end").unwrap()
}

/// All messages of the queue by envelope id: the bodies of each, in order of arrival.
pub(crate) async fn drain(settings: &Settings) -> BTreeMap<Uuid, Vec<Vec<u8>>> {
    let mut bodies: BTreeMap<Uuid, Vec<Vec<u8>>> = BTreeMap::new();
    let mut consumer = consume(settings, Queue::Engagement, 500).await;
    while consumer.queue_depth(Queue::Engagement).await.unwrap() > 0 {
        // Acking earlier deliveries lets the next ones arrive.
        let mut last = next(&mut consumer).await;
        loop {
            bodies.entry(last.message_id.unwrap()).or_default().push(std::mem::take(&mut last.body));
            match consumer.try_next() {
                Some(delivery) => last = delivery,
                None => break,
            }
        }
        last.ack_through().await.unwrap();
    }
    // No further message is ready for this consumer: cancel, and take the deliveries that have arrived.
    consumer.cancel().await.unwrap();
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery.unwrap();
        bodies.entry(delivery.message_id.unwrap()).or_default().push(delivery.body.clone());
        delivery.ack_through().await.unwrap();
    }
    consumer.close().await.unwrap();
    bodies
}

/// A channel of the client library, for operations that the crate does not offer.
pub(crate) struct RawChannel {
    pub(crate) channel: lapin::Channel,
    _connection: lapin::Connection,
}

impl RawChannel {
    pub(crate) async fn open(settings: &Settings) -> Self {
        let url = settings.url.expose_secret();
        let connection = lapin::Connection::connect(url, Default::default()).await.unwrap();
        Self { channel: connection.create_channel().await.unwrap(), _connection: connection }
    }
}
