//! Under all kinds of faults every confirmed envelope arrives, and two copies of an envelope have the same id and bytes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use broker::{PublishError, Publisher, Queue, Settings, State};
use secrecy::ExposeSecret;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::fixture::*;
use proxy::{Mode, Proxy};

/// Tasks that each publish one event after another.
pub(crate) struct Load {
    tasks: JoinSet<Vec<usize>>,
    confirmed: watch::Sender<usize>,
    stop: watch::Sender<bool>,
}

impl Load {
    pub(crate) fn start(publisher: &Publisher, tasks: usize) -> Self {
        let (confirmed, stop) = (watch::Sender::new(0), watch::Sender::new(false));
        let numbers = Arc::new(AtomicUsize::new(0));
        let mut set = JoinSet::new();
        for _ in 0..tasks {
            let (publisher, numbers) = (publisher.clone(), Arc::clone(&numbers));
            let (confirmed, stop) = (confirmed.clone(), stop.subscribe());
            set.spawn(async move {
                let mut accepted = Vec::new();
                while !*stop.borrow() {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    publisher.publish(event(number), late()).await.expect("confirmed before the deadline");
                    accepted.push(number);
                    confirmed.send_modify(|count| *count += 1);
                }
                accepted
            });
        }
        Self { tasks: set, confirmed, stop }
    }

    /// Waits for this many further confirms.
    pub(crate) async fn progress(&self, count: usize) {
        let mut confirmed = self.confirmed.subscribe();
        let target = *confirmed.borrow() + count;
        timeout(PATIENCE, confirmed.wait_for(|now| *now >= target))
            .await
            .expect("publishing goes on")
            .unwrap();
    }

    pub(crate) async fn stop(self) -> BTreeSet<usize> {
        self.stop.send_replace(true);
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

/// All envelopes that arrived, after checking that copies are equal.
pub(crate) async fn arrived(settings: &Settings) -> BTreeSet<usize> {
    let mut seen = BTreeSet::new();
    for (id, bodies) in drain(settings).await {
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{id} came with different bytes");
        for number in numbers(&bodies[0]) {
            assert!(seen.insert(number), "{number} is in two envelopes");
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_events_arrive_although_the_connection_is_cut_repeatedly() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let publishing = Publishing::start(&through(&settings, proxy.address()));
    let load = Load::start(&publishing.publisher, 16);
    for _ in 0..25 {
        load.progress(40).await;
        proxy.cut();
    }
    load.progress(40).await;
    let accepted = load.stop().await;
    // The first connection and one after each cut.
    let epochs = publishing.metric("broker_publisher_epochs_total");
    assert!(epochs > 25, "{epochs} epochs");
    assert!(publishing.metric("broker_envelopes_resent_total") > 0);
    publishing.stop().await;
    assert_eq!(arrived(&settings).await, accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_events_arrive_although_the_binding_is_deleted_repeatedly() {
    let settings = settings().await;
    let publishing = Publishing::start(&settings);
    publishing.connected().await;
    let raw = RawChannel::open(&settings).await;
    let load = Load::start(&publishing.publisher, 16);
    for _ in 0..10 {
        load.progress(40).await;
        let returned = publishing.metric("broker_envelopes_returned_total");
        let (queue, exchange) = (Queue::Engagement.name().into(), "commonplace.events".into());
        raw.channel.queue_unbind(queue, exchange, "engagement".into(), Default::default()).await.unwrap();
        let comes_back = async {
            while publishing.metric("broker_envelopes_returned_total") == returned {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, comes_back).await.expect("an envelope comes back");
        assert_eq!(administer(&vhost(&settings)).await.made.len(), 1, "the binding is created again");
    }
    load.progress(40).await;
    let accepted = load.stop().await;
    publishing.stop().await;
    assert_eq!(arrived(&settings).await, accepted);
}

#[tokio::test]
async fn an_envelope_that_no_queue_receives_is_never_confirmed_and_causes_no_busy_loop() {
    let settings = Settings { backoff_min_ms: 100, backoff_max_ms: 100, ..settings().await };
    let publishing = Publishing::start(&settings);
    publishing.connected().await;
    let raw = RawChannel::open(&settings).await;
    let (queue, exchange) = (Queue::Engagement.name().into(), "commonplace.events".into());
    raw.channel.queue_unbind(queue, exchange, "engagement".into(), Default::default()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(2);
    let outcome = publishing.publisher.publish(event(0), deadline).await;
    assert_eq!(outcome, Err(PublishError::TimedOut));
    let epochs = publishing.metric("broker_publisher_epochs_total");
    assert!(publishing.metric("broker_envelopes_returned_total") > 0);
    assert!(epochs <= 2000 / 50 + 1, "{epochs} epochs in two seconds");
    publishing.stop().await;
    assert!(arrived(&settings).await.is_empty());
}

#[tokio::test]
async fn a_lost_confirm_sends_the_same_bytes_under_the_same_id() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let publishing = Publishing::start(&through(&settings, proxy.address()));
    publishing.connected().await;
    let mut consumer = consume(&settings, Queue::Engagement, 10).await;
    proxy.set(Mode::Swallow);
    let publish = publishing.publisher.publish(event(7), late());
    let lose = async {
        let first = next(&mut consumer).await;
        proxy.set(Mode::Open);
        proxy.cut();
        first
    };
    let (id, first) = tokio::join!(publish, lose);
    let second = next(&mut consumer).await;
    assert_eq!(first.message_id, Some(id.unwrap().as_uuid()));
    assert_eq!(second.message_id, first.message_id);
    assert_eq!(second.body, first.body);
    assert_eq!(second.delivery_count, 0, "it is a second message, not a redelivery");
    assert_eq!(publishing.metric("broker_envelopes_resent_total"), 1);
    publishing.stop().await;
}

#[tokio::test]
async fn a_publish_that_has_given_up_is_not_sent_again() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let publishing = Publishing::start(&through(&settings, proxy.address()));
    publishing.connected().await;
    proxy.set(Mode::Silent);
    let deadline = Instant::now() + Duration::from_millis(300);
    let given_up = publishing.publisher.publish(event(1), deadline).await;
    assert_eq!(given_up, Err(PublishError::TimedOut));
    proxy.set(Mode::Refuse);
    proxy.cut();
    publishing.reached(|state| matches!(state, State::Disconnected(_))).await;
    proxy.set(Mode::Open);
    publishing.publisher.publish(event(2), late()).await.unwrap();
    assert_eq!(publishing.metric("broker_envelopes_resent_total"), 0);
    publishing.stop().await;
    // The silent proxy may have forwarded the first copy before it was cut, but there must be no second one.
    assert!(drain(&settings).await.values().all(|bodies| bodies.len() == 1));
}

#[tokio::test]
async fn a_broker_that_goes_silent_is_given_up_after_the_confirm_timeout() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let through = Settings { confirm_timeout_ms: 300, ..through(&settings, proxy.address()) };
    let publishing = Publishing::start(&through);
    publishing.connected().await;
    proxy.set(Mode::Silent);
    let open = async {
        let reason = publishing.reached(|state| matches!(state, State::Disconnected(_))).await;
        assert_eq!(reason, State::Disconnected("no confirm within 300ms".to_owned()));
        proxy.set(Mode::Open);
    };
    let (sent, ()) = tokio::join!(publishing.publisher.publish(event(1), late()), open);
    sent.unwrap();
    publishing.stop().await;
}

#[tokio::test]
async fn a_blocked_connection_lets_publishes_time_out_and_goes_on_afterwards() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let publishing = Publishing::start(&through(&settings, proxy.address()));
    publishing.connected().await;
    proxy.block();
    let blocked = publishing.reached(|state| matches!(state, State::Blocked(_))).await;
    assert_eq!(blocked, State::Blocked("memory".to_owned()));

    let deadline = Instant::now() + Duration::from_millis(300);
    assert_eq!(publishing.publisher.publish(event(1), deadline).await, Err(PublishError::TimedOut));
    assert!(Instant::now() - deadline < Duration::from_secs(10));
    assert_eq!(publishing.metric("broker_envelopes_published_total"), 0, "nothing piles up in the client");

    let waiting = publishing.publisher.publish(event(2), late());
    let unblock = async { proxy.unblock() };
    tokio::join!(waiting, unblock).0.unwrap();
    publishing.connected().await;
    publishing.stop().await;
    assert_eq!(arrived(&settings).await, BTreeSet::from([2]));
}

#[tokio::test]
async fn a_connection_that_the_operator_closes_is_replaced() {
    let settings = settings().await;
    let publishing = Publishing::start(&settings);
    publishing.publisher.publish(event(1), late()).await.unwrap();
    let vhost = settings.url.expose_secret().rsplit_once('/').unwrap().1.to_owned();
    // Watch from before the cut, because the publisher reconnects within moments.
    let closing = tokio::task::spawn_blocking(move || close_connections(&vhost));
    let disconnected = publishing.reached(|state| matches!(state, State::Disconnected(_)));
    let (closed, reason) = tokio::join!(closing, disconnected);
    closed.unwrap();
    assert!(
        matches!(&reason, State::Disconnected(reason) if reason.contains("CONNECTION-FORCED")),
        "{reason:?}"
    );
    publishing.publisher.publish(event(2), late()).await.unwrap();
    publishing.stop().await;
    assert_eq!(arrived(&settings).await, BTreeSet::from([1, 2]));
}

/// Closes all connections to a vhost through the management API, which lists them a moment after they are opened.
fn close_connections(vhost: &str) {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let api = format!("{}/api", rabbitmq().management_url());
    let give_up = std::time::Instant::now() + PATIENCE;
    loop {
        let listed = agent.get(format!("{api}/vhosts/{vhost}/connections")).call();
        let listed: serde_json::Value = listed.unwrap().body_mut().read_json().unwrap();
        let names: Vec<_> =
            listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        for name in &names {
            let name = name.replace(' ', "%20").replace('>', "%3E");
            agent.delete(format!("{api}/connections/{name}")).call().unwrap();
        }
        if !names.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < give_up, "the connection is never listed");
        std::thread::yield_now();
    }
}
