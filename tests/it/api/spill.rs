//! RabbitMQ is down, blocked, slow or silent: events accepted meanwhile go to the outbox and count exactly once.
//!
//! The tests use shares, because each one counts, and no natural key hides a duplicate.

use std::time::{Duration, Instant};

use broker::Queue;
use reqwest::{Method, RequestBuilder, Url};
use runtime::settings::Loader;
use serde_json::json;
use tests::{Running, World, wait_until};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Answer;
use super::outbox::{WAITING, manage, take};
use crate::message_path::broker_settings;
use proxy::{Mode, Proxy};

/// An address without a listener.
const NOWHERE: &str = "amqp://guest:hidden@127.0.0.1:1/%2f";
/// Longer than any successful request, and shorter than the timeouts that must not be reached.
const SOON: Duration = Duration::from_secs(20);
/// Views, likes and shares of the one blog.
pub(super) const TOTALS: &str =
    "select array[total_views, total_likes, total_shares] from blogs.blog_counter";
const SHARES: &str = "select sum(total_shares)::bigint from blogs.blog_counter";
const LEDGER: &str = "select coalesce(sum(n), 0)::bigint from analytics.envelope_ledger";

/// The test's vhost through a proxy.
async fn proxied(world: &World) -> (Proxy, String) {
    let mut url: Url = world.amqp_url_of("blogs_api").await.parse().unwrap();
    let proxy = Proxy::start(url.socket_addrs(|| None).unwrap()[0], Mode::Open).await.unwrap();
    url.set_port(Some(proxy.address().port())).unwrap();
    (proxy, url.to_string())
}

/// An API behind a proxy, connected.
async fn api_behind(world: &World, url: &str, change: impl FnOnce(Loader) -> Loader) -> Running {
    let api = world.api_with(|loader| change(loader.set("broker.url", url))).await;
    api.connected().await;
    api
}

/// A request's timeout is short enough for the test to reach, and half of it is enough for an insert on a busy machine. The
/// connection outlives it even if RabbitMQ is silent, so unconfirmed publishes stay unconfirmed and are not sent again.
fn spilling(loader: Loader) -> Loader {
    let loader = loader.set("engagement.accept_timeout_ms", 20_000);
    loader.set("broker.confirm_timeout_ms", 60_000).set("broker.heartbeat_s", 60)
}

fn share(api: &Running, blog: i64) -> RequestBuilder {
    api.request(Method::POST, &format!("/v1/blogs/{blog}/shares")).json(&json!({"channel": "link"}))
}

fn many(count: usize, request: impl Fn(usize) -> RequestBuilder) -> JoinSet<Answer> {
    (0..count).map(|n| Answer::to(request(n))).collect()
}

async fn depth(world: &World) -> u32 {
    broker::queue_depth(&broker_settings(world).await, Queue::Engagement).await.unwrap()
}

/// Blocks every write to the outbox until the returned statement is run.
async fn hold_outbox(world: &World) -> &'static str {
    world.run("begin; lock table blogs.outbox in share mode").await;
    "commit"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_accepted_while_rabbitmq_is_down_count_once_after_its_return() {
    let world = World::new().await;
    let (proxy, url) = proxied(&world).await;
    let api = api_behind(&world, &url, |loader| loader).await;
    let worker = world.worker().await;
    let blog = world.blogs(1).await[0];
    let (_, token) = api.account("ada").await;
    Answer::to(share(&api, blog)).await.is(202);
    world.until(SHARES, 1_i64).await;

    proxy.set(Mode::Refuse);
    proxy.cut();
    api.degraded("broker", "").await;
    let views = |n: usize| {
        let view = |m: usize| json!({"type": "blog.viewed", "blog_id": blog, "visitor": format!("{n} {m}")});
        let views: Vec<_> = (0..300).map(view).collect();
        api.request(Method::POST, "/v1/engagement").json(&views)
    };
    let mut requests = many(200, |_| share(&api, blog));
    (0..2).for_each(|n| drop(requests.spawn(Answer::to(views(n)))));
    for answer in requests.join_all().await {
        answer.is(202);
    }
    for method in [Method::PUT, Method::DELETE, Method::PUT] {
        Answer::to(api.call(method, &format!("/v1/blogs/{blog}/like"), Some(&token))).await.is(202);
    }
    api.get("/readyz", None).await.is(200);
    let spilled = api.metric("engagement_spilled_events_total").await;
    assert_eq!(spilled, 803.0);
    assert_eq!(api.metric("engagement_accepted_total").await, 804.0);
    let kept = world.client().query_one("select count(*), sum(events)::bigint from blogs.outbox", &[]).await;
    let kept = kept.unwrap();
    assert_eq!(kept.get::<_, i64>(1), 803);
    let envelopes = kept.get::<_, i64>(0);
    assert_eq!(world.value::<i64>(LEDGER, &[]).await, 1);

    proxy.set(Mode::Open);
    let back = Instant::now();
    api.connected().await;
    let took = back.elapsed();
    println!("connected {took:?} after RabbitMQ listened again");
    assert!(took < SOON, "{took:?}");
    // New events do not wait for the outbox.
    Answer::to(share(&api, blog)).await.is(202);
    assert_eq!(api.metric("engagement_spilled_events_total").await, spilled);
    world.until(WAITING, 0_i64).await;
    world.until(LEDGER, 805_i64).await;
    assert_eq!(world.value::<Vec<i64>>(TOTALS, &[]).await, [600, 1, 202]);
    let envelopes = f64::from(i32::try_from(envelopes).unwrap());
    let relayed = wait_until(async || api.metric("outbox_relayed_total").await == envelopes);
    assert!(relayed.await, "each envelope is relayed once");
    worker.stop().await;
    api.stop().await;
    assert_eq!(depth(&world).await, 0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn events_are_spilled_while_rabbitmq_is_blocked_by_its_memory_alarm() {
    let world = World::new().await;
    let (proxy, url) = proxied(&world).await;
    let api = api_behind(&world, &url, |loader| loader).await;
    let worker = world.worker().await;
    let blog = world.blogs(1).await[0];
    proxy.block();
    api.degraded("broker", "blocked: memory").await;
    let began = Instant::now();
    for _ in 0..3 {
        Answer::to(share(&api, blog)).await.is(202);
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(world.value::<i64>("select sum(events)::bigint from blogs.outbox", &[]).await, 3);
    let attempts = "select sum(attempts)::bigint from blogs.outbox";
    assert_eq!(world.value::<i64>(attempts, &[]).await, 0, "no claim is wasted");
    proxy.unblock();
    world.until(WAITING, 0_i64).await;
    world.until(SHARES, 3_i64).await;
    worker.stop().await;
    api.stop().await;
    world.assert_consistent().await;
}

#[tokio::test]
async fn events_that_a_full_queue_rejects_are_spilled() {
    let world = World::new().await;
    let api = world.api_with(spilling).await;
    api.connected().await;
    let blog = world.blogs(1).await[0];
    // A full queue rejects messages and tells the publisher.
    let full = json!({"pattern": "^analytics", "apply-to": "queues", "definition": {"max-length": 1}});
    manage(&world, Method::PUT, "/api/policies/{vhost}/full", full).await.is(201);
    let refused = wait_until(async || {
        Answer::to(share(&api, blog)).await.is(202);
        api.metric("broker_envelopes_nacked_total").await >= 1.0
    });
    assert!(refused.await, "the queue takes everything");
    assert!(api.metric("engagement_spilled_events_total").await >= 1.0);
    let accepted = api.metric("engagement_accepted_total").await;
    manage(&world, Method::DELETE, "/api/policies/{vhost}/full", json!({})).await.is(204);
    let worker = world.worker().await;
    world.until(WAITING, 0_i64).await;
    assert!(wait_until(async || depth(&world).await == 0).await, "the worker takes all of them");
    worker.stop().await;
    api.stop().await;
    let shares = f64::from(i32::try_from(world.value::<i64>(SHARES, &[]).await).unwrap());
    assert_eq!(shares, accepted, "each counts once");
    world.assert_consistent().await;
}

#[tokio::test]
async fn envelope_sent_by_queue_and_outbox_counts_once() {
    let world = World::new().await;
    let (proxy, url) = proxied(&world).await;
    let api = api_behind(&world, &url, spilling).await;
    let blog = world.blogs(1).await[0];
    // RabbitMQ takes the envelope, but its confirm is lost.
    proxy.set(Mode::Swallow);
    let began = Instant::now();
    Answer::to(share(&api, blog)).await.is(202);
    assert!(began.elapsed() >= Duration::from_secs(10), "half of the time is RabbitMQ's");
    assert!(wait_until(async || depth(&world).await >= 1).await);
    assert_eq!(world.value::<i64>("select count(*) from blogs.outbox", &[]).await, 1);
    let id: Uuid = world.value("select id from blogs.outbox", &[]).await;

    proxy.set(Mode::Open);
    proxy.cut();
    world.until(WAITING, 0_i64).await;
    let copies = depth(&world).await;
    assert!(copies >= 2, "{copies} copies");
    let worker = world.worker().await;
    assert!(wait_until(async || depth(&world).await == 0).await, "the worker takes all of them");
    worker.stop().await;
    api.stop().await;
    assert_eq!(depth(&world).await, 0);
    assert_eq!(world.value::<Uuid>("select id from analytics.envelope_ledger", &[]).await, id);
    assert_eq!(world.value::<i64>(SHARES, &[]).await, 1);
    world.assert_consistent().await;
}

#[tokio::test]
async fn late_confirm_has_no_effect() {
    let world = World::new().await;
    let (proxy, url) = proxied(&world).await;
    let api = api_behind(&world, &url, spilling).await;
    let worker = world.worker().await;
    let blog = world.blogs(1).await[0];
    proxy.set(Mode::Silent);
    for answer in many(10, |_| share(&api, blog)).join_all().await {
        answer.is(202);
    }
    assert_eq!(api.metric("engagement_spilled_events_total").await, 10.0);
    proxy.set(Mode::Open);
    world.until(WAITING, 0_i64).await;
    world.until(SHARES, 10_i64).await;
    assert!(wait_until(async || depth(&world).await == 0).await, "the second copies are taken, too");
    worker.stop().await;
    api.stop().await;
    assert_eq!(world.value::<i64>(SHARES, &[]).await, 10);
    world.assert_consistent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rabbitmq_and_postgres_nothing_is_accepted_and_nothing_counts_twice() {
    let world = World::new().await;
    let (proxy, url) = proxied(&world).await;
    // Requests that must be accepted have enough time; requests that must fail give up soon.
    let patient = api_behind(&world, &url, |loader| loader).await;
    let short = |loader: Loader| loader.set("engagement.accept_timeout_ms", 2000);
    let api = api_behind(&world, &url, short).await;
    let blog = world.blogs(1).await[0];
    Answer::to(share(&patient, blog)).await.is(202);
    // The confirms of the first requests are lost, so that their events may or may not count.
    proxy.set(Mode::Swallow);
    world.close_database().await;
    let mut requests = many(10, |_| share(&api, blog));
    assert!(wait_until(async || depth(&world).await >= 2).await, "RabbitMQ has taken some of them");
    proxy.set(Mode::Refuse);
    proxy.cut();
    (0..10).for_each(|_| drop(requests.spawn(Answer::to(share(&api, blog)))));
    let began = Instant::now();
    for answer in requests.join_all().await {
        let answer = answer.refused(503);
        assert!(answer.detail().contains("nothing was promised"), "{answer:?}");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    api.degraded("database", "").await;
    api.get("/readyz", None).await.is(503);

    world.open_database().await;
    proxy.set(Mode::Open);
    tokio::join!(api.connected(), patient.connected());
    Answer::to(share(&patient, blog)).await.is(202);
    let worker = world.worker().await;
    world.until(WAITING, 0_i64).await;
    assert!(wait_until(async || depth(&world).await == 0).await, "the worker takes all of them");
    worker.stop().await;
    tokio::join!(api.stop(), patient.stop());
    assert_eq!(depth(&world).await, 0);
    let shares = world.value::<i64>(SHARES, &[]).await;
    // The two accepted events count once each, and so does every event of the other twenty that RabbitMQ has received.
    assert!((3..=22).contains(&shares), "{shares} shares");
    world.assert_consistent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_share_an_insert() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("broker.url", NOWHERE)).await;
    let blog = world.blogs(1).await[0];
    let release = hold_outbox(&world).await;
    let requests = many(300, |_| share(&api, blog));
    let all = wait_until(async || api.metric("broker_publishes_waiting").await == 300.0);
    assert!(all.await, "{} wait", api.metric("broker_publishes_waiting").await);
    world.run(release).await;
    for answer in requests.join_all().await {
        answer.is(202);
    }
    let inserts = api.metric("engagement_spill_insert_seconds_count").await;
    assert!((1.0..=6.0).contains(&inserts), "{inserts} inserts for 300 requests");
    assert_eq!(api.metric("engagement_spilled_events_total").await, 300.0);
    let kept = "select sum(events)::bigint from blogs.outbox";
    assert_eq!(world.value::<i64>(kept, &[]).await, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_answers_and_spills_waiting_events() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("broker.url", NOWHERE)).await;
    let blog = world.blogs(1).await[0];
    let release = hold_outbox(&world).await;
    let requests = many(50, |_| share(&api, blog));
    let all = wait_until(async || api.metric("broker_publishes_waiting").await == 50.0);
    assert!(all.await, "{} wait", api.metric("broker_publishes_waiting").await);
    let address = api.address;
    let release = async {
        let ending = wait_until(async || TcpStream::connect(address).await.is_err());
        assert!(ending.await, "it takes no connections any more");
        world.run(release).await;
        requests.join_all().await
    };
    let ((), answers) = tokio::join!(api.stop(), release);
    for answer in answers {
        answer.is(202);
    }
    let kept = "select sum(events)::bigint from blogs.outbox";
    assert_eq!(world.value::<i64>(kept, &[]).await, 50);

    let (next, worker) = (world.api().await, world.worker().await);
    world.until(SHARES, 50_i64).await;
    world.until(WAITING, 0_i64).await;
    worker.stop().await;
    next.stop().await;
    world.assert_consistent().await;
}

#[tokio::test]
async fn envelope_without_a_queue_stays_in_the_outbox() {
    let world = World::new().await;
    let api = world.api().await;
    api.connected().await;
    // The relay publishes to an exchange without a queue.
    let path = format!(
        "/api/bindings/{{vhost}}/e/commonplace.events/q/{}/{}",
        Queue::Engagement.name(),
        events::ENGAGEMENT
    );
    manage(&world, Method::DELETE, &path, json!({})).await.is(204);
    let id = Uuid::now_v7();
    let put = "insert into blogs.outbox (id, routing_key, events, body)
               values ($1, 'engagement', 1, convert_to('[{}]', 'utf8'))";
    world.client().execute(put, &[&id]).await.unwrap();
    let comes_back = async || api.metric("broker_envelopes_returned_total").await >= 1.0;
    assert!(wait_until(comes_back).await, "it comes back");
    assert_eq!(world.value::<i64>(WAITING, &[]).await, 1);
    // The row leaves only after the administrator repairs the topology.
    world.administer().await;
    world.until(WAITING, 0_i64).await;
    let messages = take(&world, Queue::Engagement.name()).await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0]["properties"]["message_id"], id.to_string());
    api.stop().await;
}

#[tokio::test]
async fn readiness_reports_an_outbox_that_accepts_nothing() {
    let world = World::new().await;
    let short = |loader: Loader| loader.set("broker.url", NOWHERE).set("engagement.accept_timeout_ms", 1000);
    let api = world.api_with(short).await;
    let blog = world.blogs(1).await[0];
    api.ready().await;
    world.run("revoke insert on blogs.outbox from blogs_api").await;
    let mut last = None;
    let not_ready = wait_until(async || {
        Answer::to(share(&api, blog)).await.refused(503);
        let answer = api.get("/readyz", None).await;
        let (status, degraded) = (answer.status, answer.body["degraded"].clone());
        last = Some(answer);
        (status, degraded) == (503, json!(["broker", "database"]))
    });
    assert!(not_ready.await, "{last:?}");
    let reason = last.unwrap().body["parts"]["database"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("outbox"), "{reason}");

    world.run("grant insert on blogs.outbox to blogs_api").await;
    let kept = wait_until(async || Answer::to(share(&api, blog)).await.status == 202);
    assert!(kept.await, "it is kept again");
    api.ready().await;
    api.stop().await;
}

#[tokio::test]
async fn full_outbox_accepts_no_more() {
    let world = World::new().await;
    let full = |loader: Loader| {
        loader
            .set("broker.url", NOWHERE)
            .set("engagement.accept_timeout_ms", 1000)
            .set("engagement.spill.outbox_envelopes_max", 2)
    };
    let api = world.api_with(full).await;
    let blog = world.blogs(1).await[0];
    let fill = "insert into blogs.outbox (id, routing_key, events, body)
                select gen_random_uuid(), 'engagement', 1, '[]' from generate_series(1, 3)";
    world.run(fill).await;
    let counted = wait_until(async || api.metric("outbox_envelopes").await == 2.0);
    assert!(counted.await, "counted as far as it may be filled");
    Answer::to(share(&api, blog)).await.refused(503);
    assert_eq!(world.value::<i64>(WAITING, &[]).await, 3);
    api.stop().await;
}
