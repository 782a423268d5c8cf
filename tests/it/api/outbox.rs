//! Authors' changes are published as events exactly once, even if RabbitMQ is down.

use reqwest::{Method, Url};
use serde_json::{Value, json};
use tests::{Running, World, wait_until};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Answer;

/// The queue of a consumer of blog events.
const QUEUE: &str = "it.blogs";
pub(super) const WAITING: &str = "select count(*) from blogs.outbox";

/// A request to the management API of the test's vhost; `{vhost}` stands for its name.
pub(super) async fn manage(world: &World, method: Method, path: &str, body: Value) -> Answer {
    let (url, vhost) = world.management().await;
    let mut url: Url = format!("{url}{}", path.replace("{vhost}", &vhost)).parse().unwrap();
    let (user, password) = (url.username().to_owned(), url.password().map(str::to_owned));
    url.set_username("").unwrap();
    url.set_password(None).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Answer::to(client.request(method, url).basic_auth(user, password).json(&body)).await
}

/// Takes every message out of a queue.
pub(super) async fn take(world: &World, queue: &str) -> Vec<Value> {
    let get = json!({"count": 1000, "ackmode": "ack_requeue_false", "encoding": "auto"});
    let path = format!("/api/queues/{{vhost}}/{queue}/get");
    manage(world, Method::POST, &path, get).await.is(200).body.as_array().unwrap().clone()
}

/// An API, and a queue that takes everything about blogs from its exchange.
async fn followed_api(world: &World) -> Running {
    let api = world.api().await;
    follow(world, &api).await;
    api
}

async fn follow(world: &World, api: &Running) {
    api.connected().await;
    let queue = format!("/api/queues/{{vhost}}/{QUEUE}");
    manage(world, Method::PUT, &queue, json!({"durable": true})).await.is(201);
    let binding = format!("/api/bindings/{{vhost}}/e/commonplace.events/q/{QUEUE}");
    manage(world, Method::POST, &binding, json!({"routing_key": "blog.*"})).await.is(201);
}

/// All published events, once the outbox is empty. A row leaves the outbox only after its message was confirmed, so no
/// message is in flight then.
async fn told(world: &World) -> Vec<Value> {
    world.until(WAITING, 0_i64).await;
    take(world, QUEUE).await
}

/// The single event of a message.
fn event(message: &Value) -> Value {
    let events: Value = serde_json::from_str(message["payload"].as_str().unwrap()).unwrap();
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
    events[0].clone()
}

fn kinds(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| event(message)["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_blog_event_is_published_once() {
    let world = World::new().await;
    let api = followed_api(&world).await;
    let (ada, token) = api.account("ada").await;
    let blog = api.draft(&token, "Told").await;
    for action in ["publish", "publish", "unpublish", "unpublish", "publish"] {
        api.post(&format!("/v1/blogs/{blog}/{action}"), Some(&token)).await.is(200);
    }
    api.patch(&format!("/v1/blogs/{blog}"), Some(&token), json!({"title": "Retold"})).await.is(200);
    api.delete(&format!("/v1/blogs/{blog}"), Some(&token)).await.is(204);
    api.delete(&format!("/v1/blogs/{blog}"), Some(&token)).await.refused(404);

    let messages = told(&world).await;
    assert_eq!(kinds(&messages), ["blog.published", "blog.unpublished", "blog.published", "blog.deleted"]);
    for message in &messages {
        let (event, properties) = (event(message), &message["properties"]);
        assert_eq!(message["exchange"], "commonplace.events");
        assert_eq!(message["routing_key"], event["type"]);
        assert_eq!(properties["type"], event["type"]);
        assert_eq!(properties["message_id"], event["id"], "an event's id is its envelope's");
        assert_eq!(properties["content_type"], "application/cloudevents-batch+json");
        assert_eq!(properties["delivery_mode"], 2, "it survives a restart of RabbitMQ");
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["subject"], blog.to_string());
        assert_eq!(event["data"]["author_id"], ada);
    }
    // The relay counts envelopes after they have left the outbox.
    assert!(wait_until(async || api.metric("outbox_relayed_total").await == 4.0).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_publish_requests_send_one_event() {
    let world = World::new().await;
    let api = followed_api(&world).await;
    let (_, token) = api.account("ada").await;
    let blog = api.draft(&token, "At once").await;
    let new = json!({"title": "Published from the start", "body": "", "publish": true});
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        let publish = api.call(Method::POST, &format!("/v1/blogs/{blog}/publish"), Some(&token));
        requests.spawn(Answer::to(publish));
        let create = api.call(Method::POST, "/v1/blogs", Some(&token)).header("Idempotency-Key", "one");
        requests.spawn(Answer::to(create.json(&new)));
    }
    for answer in requests.join_all().await {
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(kinds(&told(&world).await), ["blog.published", "blog.published"]);
}

#[tokio::test]
async fn envelope_with_an_expired_lease_is_sent_unchanged() {
    let world = World::new().await;
    let api = followed_api(&world).await;
    let (_, token) = api.account("ada").await;
    // Claimed by a relay that has crashed; its lease has an hour left.
    let id = Uuid::now_v7();
    let body = r#"[{"type":"blog.published","note":"these very bytes"}]"#;
    let claimed = "insert into blogs.outbox (id, routing_key, events, body, claimed_until, attempts)
                   values ($1, 'blog.published', 1, convert_to($2, 'utf8'), now() + interval '1 hour', 1)";
    world.client().execute(claimed, &[&id, &body]).await.unwrap();
    // Later rows overtake it.
    api.blog(&token, "Meanwhile").await;
    world.until(WAITING, 1_i64).await;
    let before = take(&world, QUEUE).await;
    assert_eq!(before.len(), 1, "{before:?}");
    assert_eq!(world.value::<Uuid>("select id from blogs.outbox", &[]).await, id);

    world.run("update blogs.outbox set claimed_until = now() - interval '1 millisecond'").await;
    let messages = told(&world).await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0]["payload"], body);
    assert_eq!(messages[0]["properties"]["message_id"], id.to_string());
}

#[tokio::test]
async fn many_relays_send_each_envelope_once() {
    let world = World::new().await;
    let first = followed_api(&world).await;
    let others = [world.api().await, world.api().await];
    let (_, token) = first.account("ada").await;
    let bodies = "insert into blogs.outbox (id, routing_key, events, body)
                  select ('01900000-0000-7000-8000-' || to_char(n, 'FM000000000000'))::uuid, 'blog.published', 1,
                         convert_to('[{\"type\":\"blog.published\",\"n\":' || n || '}]', 'utf8')
                  from generate_series(1, 500) as n";
    world.run(bodies).await;
    first.blog(&token, "And one of its own").await;
    let messages = told(&world).await;
    let ids: std::collections::BTreeSet<&str> =
        messages.iter().map(|message| message["properties"]["message_id"].as_str().unwrap()).collect();
    assert_eq!((messages.len(), ids.len()), (501, 501));
    for other in others {
        other.stop().await;
    }
}

#[tokio::test]
async fn blog_events_are_published_later_if_rabbitmq_is_down() {
    let world = World::new().await;
    // The gate accepts connections like RabbitMQ, but nothing answers on them until the test forwards them.
    let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut broker: Url = world.amqp_url_of("blogs_api").await.parse().unwrap();
    let real = broker.socket_addrs(|| None).unwrap()[0];
    broker.set_port(Some(gate.local_addr().unwrap().port())).unwrap();
    let api = world
        .api_with(|loader| loader.set("broker.url", broker.to_string()).set("broker.connect_timeout_ms", 500))
        .await;
    let (_, token) = api.account("ada").await;
    let blog = api.draft(&token, "Later").await;
    api.post(&format!("/v1/blogs/{blog}/publish"), Some(&token)).await.is(200);
    api.get(&format!("/v1/blogs/{blog}"), None).await.is(200);
    api.degraded("broker", "").await;
    assert_eq!(world.value::<i64>(WAITING, &[]).await, 1);
    assert_eq!(world.value::<i32>("select attempts from blogs.outbox", &[]).await, 0, "no claim is wasted");

    // The exchange and the queue are there before the first message comes, as they are in production.
    let with_queue = world.api_with(|loader| loader.set("relay.poll_ms", 600_000)).await;
    follow(&world, &with_queue).await;
    let mut forwarding = JoinSet::new();
    forwarding.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = gate.accept().await {
            connections.spawn(async move {
                let mut server = TcpStream::connect(real).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    assert_eq!(kinds(&told(&world).await), ["blog.published"]);
    api.stop().await;
}
