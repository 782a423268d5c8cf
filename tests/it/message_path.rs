//! From the queue to the tables with real workers: exactly once through lost connections and competing workers, and no
//! unreadable message stops the others.

use broker::{EncodedEvents, Publisher, Queue};
use engagement::Incoming;
use events::{Action, EngagementEvent, Envelope, EnvelopeId, Visitor, codec};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use reqwest::{Method, StatusCode};
use runtime::settings::Loader;
use serde_json::json;
use tests::{DEADLINE, World, answer, wait_until};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// A publisher like the API's, without the API.
pub(crate) async fn publisher(world: &World) -> Publisher {
    let settings = broker_settings(world).await;
    let tasks = TaskTracker::new();
    Publisher::start(&settings, "it", &mut Registry::default(), &tasks, CancellationToken::new()).unwrap()
}

pub(crate) async fn broker_settings(world: &World) -> broker::Settings {
    #[derive(serde::Deserialize)]
    struct Settings {
        broker: broker::Settings,
    }
    let loader = Loader::new("").environment([]).set("broker.url", world.amqp_url().await);
    loader.load::<Settings>().unwrap().broker
}

pub(crate) fn view(blog_id: i64, visitor: u64) -> EngagementEvent {
    let action = Action::Viewed(Visitor(visitor));
    EngagementEvent {
        id: Uuid::now_v7(),
        blog_id,
        time: Timestamp::now(),
        action,
        key: None,
        imported: false,
    }
}

pub(crate) async fn publish(publisher: &Publisher, events: &[EngagementEvent]) -> EnvelopeId {
    publish_traced(publisher, events, None).await
}

pub(crate) async fn publish_traced(
    publisher: &Publisher,
    events: &[EngagementEvent],
    traceparent: Option<&str>,
) -> EnvelopeId {
    let mut encoded = events.iter().map(codec::encode_engagement);
    let mut item = EncodedEvents::one(encoded.next().unwrap()).unwrap();
    assert!(encoded.all(|event| item.try_push(&event)), "the events fit into one envelope");
    let item = item.with_traceparent(traceparent.map(str::to_owned));
    publisher.publish(item, Instant::now() + DEADLINE).await.unwrap()
}

/// Publishes an envelope unchanged, under its own id.
pub(crate) async fn publish_incoming(publisher: &Publisher, incoming: &Incoming) {
    let events: Vec<Vec<u8>> =
        incoming.events.iter().map(|event| codec::encode_engagement(event.as_ref().unwrap())).collect();
    let envelope = Envelope {
        id: incoming.id,
        routing_key: events::ENGAGEMENT,
        events: events.len(),
        body: codec::join(events.iter().map(Vec::as_slice)),
        traceparent: None,
    };
    publisher.publish_envelope(envelope, Instant::now() + DEADLINE).await.unwrap();
}

/// Publishes a raw message through the management API, as no publisher of the project would send it.
pub(crate) async fn publish_raw(world: &World, properties: serde_json::Value, payload: &str) {
    let (url, vhost) = world.management().await;
    let address = format!("{url}/api/exchanges/{vhost}/commonplace.events/publish");
    let message = json!({
        "properties": properties, "routing_key": "engagement", "payload": payload, "payload_encoding": "string"
    });
    let sent = tokio::task::spawn_blocking(move || ureq::post(&address).send_json(message).unwrap().status());
    assert_eq!(sent.await.unwrap(), 200);
}

/// Cuts every connection of the test's vhost, as an operator or a network would.
async fn cut_connections(world: &World) -> usize {
    let (url, vhost) = world.management().await;
    let cut = tokio::task::spawn_blocking(move || {
        let listed =
            ureq::get(format!("{url}/api/vhosts/{vhost}/connections")).call().unwrap().body_mut().read_json();
        let connections: Vec<serde_json::Value> = listed.unwrap();
        let name = |connection: &serde_json::Value| {
            connection["name"].as_str().unwrap().replace(' ', "%20").replace('>', "%3E")
        };
        connections
            .iter()
            .map(name)
            .filter(|name| ureq::delete(format!("{url}/api/connections/{name}")).call().is_ok())
            .count()
    });
    cut.await.unwrap()
}

#[tokio::test]
async fn accepted_events_are_counted() {
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Counted").await;
    let view = api.request(Method::POST, &format!("/v1/blogs/{blog}/views")).json(&json!({"visitor": "one"}));
    let (status, accepted) = answer(view).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
    assert!(accepted["event_id"].as_str().is_some_and(|id| Uuid::try_parse(id).is_ok()), "{accepted}");
    let like = api.request(Method::PUT, &format!("/v1/blogs/{blog}/like")).bearer_auth(&token);
    assert_eq!(answer(like).await.0, StatusCode::ACCEPTED);
    world.until("select total_views + total_likes from blogs.blog_counter", 2_i64).await;
    world.assert_consistent().await;
    worker.stop().await;
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn competing_workers_with_cut_connections_count_exactly_once() {
    let world = World::new().await;
    let blogs = world.blogs(5).await;
    let publisher = publisher(&world).await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        // Small batches, so that many are in flight when a connection is cut.
        let small = |loader: Loader| loader.set("worker.batch_envelopes_max", 4).set("worker.prefetch", 8);
        workers.push(world.worker_with(|loader| small(loader).set("engagement.view_window_s", 0)).await);
    }
    // Publish until enough connections have been cut, those of publishers and those of consumers.
    let enough = CancellationToken::new();
    let mut publishing = JoinSet::new();
    for task in 0..8_u64 {
        let (publisher, blogs, enough) = (publisher.clone(), blogs.clone(), enough.clone());
        publishing.spawn(async move {
            let mut accepted = 0_i64;
            for blog in blogs.iter().cycle() {
                publish(&publisher, &[view(*blog, task), view(blogs[0], task)]).await;
                accepted += 2;
                if enough.is_cancelled() {
                    break;
                }
            }
            accepted
        });
    }
    let mut cut = 0;
    assert!(
        wait_until(async || {
            cut += cut_connections(&world).await;
            cut >= 12
        })
        .await,
        "{cut} connections were cut"
    );
    enough.cancel();
    let accepted: i64 = publishing.join_all().await.into_iter().sum();
    let counted = "select coalesce(sum(total_views), 0)::bigint from blogs.blog_counter";
    world.until(counted, accepted).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(world.value::<i64>(counted, &[]).await, accepted);
    assert_eq!(world.value::<i64>("select count(*) from analytics.parked", &[]).await, 0);
    assert_eq!(broker::queue_depth(&broker_settings(&world).await, Queue::Engagement).await.unwrap(), 0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn worker_waits_for_batch_interval_before_next_batch() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let publisher = publisher(&world).await;
    let slow = |loader: Loader| {
        let loader = loader.set("worker.batch_envelopes_max", 3).set("worker.prefetch", 6);
        loader.set("worker.batch_interval_ms", 60_000)
    };
    let worker = world.worker_with(slow).await;
    let counted = "select coalesce(sum(total_views), 0)::bigint from blogs.blog_counter";
    // The first event after a quiet time is applied at once.
    publish(&publisher, &[view(blog, 1)]).await;
    world.until(counted, 1_i64).await;
    // Later events wait for the interval, for a full batch of three, or for the end of the worker.
    for visitor in 2..=4 {
        publish(&publisher, &[view(blog, visitor)]).await;
    }
    world.until(counted, 4_i64).await;
    assert_eq!(worker.metric("commonplace_worker_batch_envelopes_count").await, 2.0);
    for visitor in 5..=6 {
        publish(&publisher, &[view(blog, visitor)]).await;
    }
    let settings = broker_settings(&world).await;
    let taken = async || broker::queue_depth(&settings, Queue::Engagement).await.unwrap() == 0;
    assert!(wait_until(taken).await);
    assert_eq!(world.value::<i64>(counted, &[]).await, 4);
    // The next batch is due a minute after the previous one, which was just now.
    let stopping = Instant::now();
    worker.stop().await;
    assert!(stopping.elapsed() < DEADLINE / 2, "a batch waited for its turn: {:?}", stopping.elapsed());
    assert_eq!(world.value::<i64>(counted, &[]).await, 6);
    world.assert_consistent().await;
}

#[tokio::test]
async fn unreadable_messages_are_parked_and_their_neighbours_count() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let publisher = publisher(&world).await;
    publish(&publisher, &[view(blog, 1)]).await;
    let id = Uuid::now_v7().to_string();
    publish_raw(&world, json!({"message_id": id}), "not JSON at all").await;
    publish_raw(&world, json!({"message_id": Uuid::now_v7().to_string()}), r#"[{"type":"blog.viewed"},7]"#)
        .await;
    publish_raw(&world, json!({}), "[]").await;
    publish_raw(&world, json!({"message_id": "5f0c6a52-9d3c-4b8e-8b1a-0d3b1f2c4e5d"}), "[]").await;
    publish(&publisher, &[view(blog, 2)]).await;
    let worker = world.worker().await;
    world.until("select total_views from blogs.blog_counter", 2_i64).await;
    world.until("select count(*) from analytics.parked", 5_i64).await;
    let sql = "select index, reason, encode(body, 'escape') from analytics.parked where envelope_id = $1::text::uuid";
    let row = world.client().query_one(sql, &[&id]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), -1);
    assert!(row.get::<_, &str>(1).contains("not a JSON array"), "{row:?}");
    assert_eq!(row.get::<_, &str>(2), "not JSON at all");
    worker.stop().await;
    assert_eq!(broker::queue_depth(&broker_settings(&world).await, Queue::Engagement).await.unwrap(), 0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn newer_wire_format_stops_the_worker_without_loss() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let publisher = publisher(&world).await;
    publish(&publisher, &[view(blog, 1)]).await;
    let headers = json!({"message_id": Uuid::now_v7().to_string(), "headers": {"wire-version": 2}});
    publish_raw(&world, headers, "[]").await;
    publish(&publisher, &[view(blog, 2)]).await;
    let worker = world.worker().await;
    worker.degraded("wire", "upgrade the workers first").await;
    world.until("select total_views from blogs.blog_counter", 1_i64).await;
    worker.stop().await;
    let settings = broker_settings(&world).await;
    let back = wait_until(async || broker::queue_depth(&settings, Queue::Engagement).await.unwrap() == 2);
    assert!(back.await, "the newer message and the one behind it are back in the queue");
}

#[tokio::test]
async fn outage_of_postgres_delays_events_without_loss() {
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Through the outage").await;
    let send = async |visitor: &str| {
        let view =
            api.request(Method::POST, &format!("/v1/blogs/{blog}/views")).json(&json!({"visitor": visitor}));
        answer(view).await.0
    };
    assert_eq!(send("before").await, StatusCode::ACCEPTED);
    world.until("select total_views from blogs.blog_counter", 1_i64).await;
    // The database admits only its administrator, and its other sessions are ended.
    world.close_database().await;
    for n in 0..20 {
        assert_eq!(send(&format!("during {n}")).await, StatusCode::ACCEPTED);
    }
    worker.degraded("batches", "cannot be applied").await;
    let (status, ready) = answer(api.request(Method::GET, "/readyz")).await;
    assert_eq!(status, StatusCode::OK, "RabbitMQ still takes promises: {ready}");
    world.open_database().await;
    world.until("select total_views from blogs.blog_counter", 21_i64).await;
    worker.ready().await;
    worker.stop().await;
    api.stop().await;
    world.assert_consistent().await;
}

#[tokio::test]
async fn messages_that_the_broker_dead_letters_are_parked() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let publisher = publisher(&world).await;
    let id = publish(&publisher, &[view(blog, 1)]).await;
    // Reject without requeue: what the broker does by itself when a limit is reached.
    let (url, vhost) = world.management().await;
    let address = format!("{url}/api/queues/{vhost}/analytics.engagement.v1/get");
    let get = json!({"count": 1, "ackmode": "reject_requeue_false", "encoding": "auto"});
    let got = tokio::task::spawn_blocking(move || ureq::post(&address).send_json(get).unwrap().status());
    assert_eq!(got.await.unwrap(), 200);
    let worker = world.worker().await;
    world.until("select count(*) from analytics.parked", 1_i64).await;
    let row =
        world.client().query_one("select envelope_id, reason from analytics.parked", &[]).await.unwrap();
    assert_eq!(row.get::<_, Uuid>(0), id.as_uuid());
    assert!(row.get::<_, &str>(1).contains("rejected"), "{row:?}");
    worker.stop().await;
}

/// The worker must apply every delivery that it has fetched, including those that it has not read yet.
#[tokio::test]
async fn shutdown_applies_delivered_events() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let publisher = publisher(&world).await;
    // Many batches, and room for all of them at the worker.
    let small = |loader: Loader| loader.set("worker.batch_envelopes_max", 4).set("worker.prefetch", 100);
    let worker = world.worker_with(|loader| small(loader).set("engagement.view_window_s", 0)).await;
    worker.ready().await;
    // The first batch waits for this row, and the others wait for it.
    world.run("begin; select from blogs.blog_counter for update").await;
    for _ in 0..50 {
        publish(&publisher, &vec![view(blog, 1); 20]).await;
    }
    let settings = broker_settings(&world).await;
    let waiting = async || broker::queue_depth(&settings, Queue::Engagement).await.unwrap();
    assert!(wait_until(async || waiting().await == 0).await, "all of it arrives");
    // The worker is told to end before it can apply anything.
    let ((), ()) = tokio::join!(biased; worker.stop(), world.run("commit"));
    assert_eq!(world.value::<i64>("select total_views from blogs.blog_counter", &[]).await, 1000);
    assert_eq!(waiting().await, 0, "nothing goes back");
    world.assert_consistent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_under_load_neither_loses_nor_double_counts_events() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let publisher = publisher(&world).await;
    let worker = world.worker_with(|loader| loader.set("engagement.view_window_s", 0)).await;
    let counted = async || world.value::<i64>("select total_views from blogs.blog_counter", &[]).await;
    let publish_some = async || {
        for _ in 0..50 {
            publish(&publisher, &vec![view(blog, 1); 20]).await;
        }
    };
    publish_some().await;
    assert!(wait_until(async || counted().await > 0).await, "it is at work");
    tokio::join!(publish_some(), worker.stop());
    // The worker has applied every event that it acknowledged; the others are still in the queue.
    let settings = broker_settings(&world).await;
    let total = async || {
        let waiting = broker::queue_depth(&settings, Queue::Engagement).await.unwrap();
        counted().await + i64::from(waiting) * 20
    };
    assert!(wait_until(async || total().await == 2000).await, "{} of 2000", total().await);
    world.assert_consistent().await;
    // The next worker applies those.
    let next = world.worker_with(|loader| loader.set("engagement.view_window_s", 0)).await;
    assert!(wait_until(async || counted().await == 2000).await, "{} of 2000", counted().await);
    next.stop().await;
    assert_eq!(counted().await, 2000);
    world.assert_consistent().await;
}
