//! From authors' changes to notifications: late, duplicate and out-of-order events have the right result, because the
//! tables decide.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::{Running, World, answer};
use tokio::task::JoinSet;
use uuid::Uuid;

const EMPTY_OUTBOX: &str = "select count(*) from blogs.outbox";
const FAN_OUTS: &str = "select count(*) from notify.fan_out";

/// Sends a request, asserts the status of the answer, and returns its body.
pub(crate) async fn does(api: &Running, method: Method, path: &str, token: &str, status: u16) -> Value {
    let (answered, body) = api.send(method, path, Some(token), Value::Null).await;
    assert_eq!(answered.as_u16(), status, "{path}: {body}");
    body
}

pub(crate) async fn unread(api: &Running, token: &str) -> i64 {
    let body = does(api, Method::GET, "/v1/notifications", token, 200).await;
    body["unread"].as_i64().unwrap()
}

/// Sends a request to the management API of the test's vhost, and returns the status and the body.
async fn manage(world: &World, method: Method, path: &str, body: Value) -> (u16, Value) {
    let (url, vhost) = world.management().await;
    let mut url: reqwest::Url = format!("{url}{}", path.replace("{vhost}", &vhost)).parse().unwrap();
    let (user, password) = (url.username().to_owned(), url.password().map(str::to_owned));
    url.set_username("").unwrap();
    url.set_password(None).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (status, body) = answer(client.request(method, url).basic_auth(user, password).json(&body)).await;
    (status.as_u16(), body)
}

/// Publishes a message, which may be one that no relay would send.
pub(crate) async fn send(world: &World, routing_key: &str, payload: &str) {
    let message = json!({
        "properties": {"message_id": Uuid::now_v7().to_string(), "type": routing_key, "delivery_mode": 2},
        "routing_key": routing_key, "payload": payload, "payload_encoding": "string",
    });
    let path = "/api/exchanges/{vhost}/commonplace.events/publish";
    let (status, answered) = manage(world, Method::POST, path, message).await;
    assert_eq!((status, &answered["routed"]), (200, &json!(true)));
}

pub(crate) fn event(kind: &str, blog: i64) -> String {
    format!(
        r#"[{{"specversion":"1.0","id":"{}","source":"/blogs-api","type":"{kind}","subject":"{blog}",
            "time":"2026-11-22T10:00:00Z","data":{{"author_id":1}}}}]"#,
        Uuid::now_v7()
    )
}

/// Messages in a queue that no consumer has fetched.
pub(crate) async fn waiting(world: &World, queue: &str) -> Vec<Value> {
    let get = json!({"count": 100, "ackmode": "ack_requeue_false", "encoding": "auto"});
    let path = format!("/api/queues/{{vhost}}/{queue}/get");
    let (status, messages) = manage(world, Method::POST, &path, get).await;
    assert_eq!(status, 200, "{messages}");
    messages.as_array().unwrap().clone()
}

/// An author and a follower: tokens of both.
pub(crate) async fn ada_and_grace(api: &Running) -> (String, String) {
    let (ada, of_ada) = api.account("ada").await;
    let (_, of_grace) = api.account("grace").await;
    does(api, Method::PUT, &format!("/v1/accounts/{ada}/follow"), &of_grace, 204).await;
    (of_ada, of_grace)
}

#[tokio::test]
async fn blog_published_repeatedly_notifies_followers_once() {
    let world = World::new().await;
    let (api, notifier) = (world.api().await, world.notifier().await);
    let (of_ada, of_grace) = ada_and_grace(&api).await;
    let blog = api.blog(&of_ada, "Told").await;
    let path = format!("/v1/blogs/{blog}");
    world.until("select coalesce(max(state), '') from notify.fan_out", "done".to_owned()).await;
    assert_eq!(unread(&api, &of_grace).await, 1);
    // A later follower is not notified of this blog, even when it is published again.
    let (_, of_late) = api.account("late").await;
    let follow =
        format!("/v1/accounts/{}/follow", world.value::<i64>("select author_id from blogs.blog", &[]).await);
    does(&api, Method::PUT, &follow, &of_late, 204).await;
    for action in ["publish", "unpublish", "publish", "unpublish", "publish"] {
        does(&api, Method::POST, &format!("{path}/{action}"), &of_ada, 200).await;
    }
    // Once a later event has been settled, all of these have been settled, too.
    let another = api.blog(&of_ada, "Another").await;
    world
        .until(
            &format!("select count(*) from notify.fan_out where blog_id = {another} and state = 'done'"),
            1_i64,
        )
        .await;
    assert_eq!((unread(&api, &of_grace).await, unread(&api, &of_late).await), (2, 1));
    assert_eq!(world.value::<i64>("select count(*) from notify.notification", &[]).await, 3);
    notifier.stop().await;
    world.assert_consistent().await;
}

#[tokio::test]
async fn blog_unpublished_before_its_fan_out_notifies_when_republished() {
    let world = World::new().await;
    let api = world.api().await;
    let (of_ada, of_grace) = ada_and_grace(&api).await;
    let (taken_back, deleted) = (api.blog(&of_ada, "Taken back").await, api.blog(&of_ada, "Deleted").await);
    does(&api, Method::POST, &format!("/v1/blogs/{taken_back}/unpublish"), &of_ada, 200).await;
    does(&api, Method::DELETE, &format!("/v1/blogs/{deleted}"), &of_ada, 204).await;
    world.until(EMPTY_OUTBOX, 0_i64).await;
    let notifier = world.notifier().await;
    let told = api.blog(&of_ada, "Told").await;
    world
        .until(
            &format!("select count(*) from notify.fan_out where blog_id = {told} and state = 'done'"),
            1_i64,
        )
        .await;
    assert_eq!(world.value::<i64>(FAN_OUTS, &[]).await, 1);
    does(&api, Method::POST, &format!("/v1/blogs/{taken_back}/publish"), &of_ada, 200).await;
    world.until("select count(*) from notify.fan_out where state = 'done'", 2_i64).await;
    assert_eq!(unread(&api, &of_grace).await, 2);
    notifier.stop().await;
}

#[tokio::test]
async fn fan_out_of_an_unpublished_blog_resumes_when_republished() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, of_ada) = api.account("ada").await;
    let followers = world.followers(ada, 100).await;
    // The 51st follower cannot be notified, so the fan-out stays half-way.
    let refuse = format!(
        "alter table notify.notification add constraint refused check (recipient_id <> {})",
        followers[50]
    );
    world.run(&refuse).await;
    let notifier = world
        .notifier_with(|loader| loader.set("fan_out.chunk_rows_min", 10).set("fan_out.chunk_rows_max", 10))
        .await;
    let blog = api.blog(&of_ada, "Half way").await;
    let path = format!("/v1/blogs/{blog}");
    world.until("select coalesce(max(looked_at), 0) from notify.fan_out", 50_i64).await;
    does(&api, Method::POST, &format!("{path}/unpublish"), &of_ada, 200).await;
    world.until("select state from notify.fan_out", "withdrawn".to_owned()).await;
    world.run("alter table notify.notification drop constraint refused").await;
    // An account that follows meanwhile is not notified.
    world.followers(ada, 10).await;
    does(&api, Method::POST, &format!("{path}/publish"), &of_ada, 200).await;
    world.until("select coalesce(max(state), '') from notify.fan_out", "done".to_owned()).await;
    let told = "select array_agg(recipient_id order by recipient_id) from notify.notification";
    assert_eq!(world.value::<Vec<i64>>(told, &[]).await, followers);
    notifier.stop().await;
}

#[tokio::test]
async fn out_of_order_events_end_in_the_state_of_the_tables() {
    let world = World::new().await;
    let api = world.api().await;
    let (of_ada, of_grace) = ada_and_grace(&api).await;
    let live = api.blog(&of_ada, "Live").await;
    let draft = api.blog(&of_ada, "A draft again").await;
    does(&api, Method::POST, &format!("/v1/blogs/{draft}/unpublish"), &of_ada, 200).await;
    world.until(EMPTY_OUTBOX, 0_i64).await;
    // All events are lost, and arrive again in the worst order.
    assert_eq!(waiting(&world, "notification.blogs.v1").await.len(), 3);
    for (kind, blog) in [
        ("blog.unpublished", draft),
        ("blog.published", draft),
        ("blog.published", live),
        ("blog.published", live),
        ("blog.unpublished", live),
        ("blog.deleted", live),
        ("blog.published", 999_999),
    ] {
        send(&world, kind, &event(kind, blog)).await;
    }
    let notifier = world.notifier().await;
    world.until("select coalesce(max(state), '') from notify.fan_out", "done".to_owned()).await;
    let last = api.blog(&of_ada, "After all of it").await;
    world
        .until(
            &format!("select count(*) from notify.fan_out where blog_id = {last} and state = 'done'"),
            1_i64,
        )
        .await;
    let blogs = "select array_agg(blog_id order by blog_id) from notify.fan_out";
    assert_eq!(world.value::<Vec<i64>>(blogs, &[]).await, [live, last]);
    assert_eq!(unread(&api, &of_grace).await, 2);
    notifier.stop().await;
}

#[tokio::test]
async fn unreadable_message_is_rejected_alone_and_kept() {
    let world = World::new().await;
    let (api, notifier) = (world.api().await, world.notifier().await);
    let (of_ada, of_grace) = ada_and_grace(&api).await;
    notifier.ready().await;
    let bad = ["not JSON", "{}", r#"[{"type":"blog.published"}]"#];
    for payload in bad {
        send(&world, "blog.published", payload).await;
    }
    api.blog(&of_ada, "Told all the same").await;
    world.until("select coalesce(max(state), '') from notify.fan_out", "done".to_owned()).await;
    assert_eq!(unread(&api, &of_grace).await, 1);
    let mut kept = Vec::new();
    let all_kept = tests::wait_until(async || {
        kept.extend(waiting(&world, "notification.blogs.v1.dead").await);
        kept.len() >= bad.len()
    });
    assert!(all_kept.await, "{kept:?}");
    let payloads: Vec<&str> = kept.iter().map(|message| message["payload"].as_str().unwrap()).collect();
    assert_eq!(payloads, bad);
    assert_eq!(notifier.metric("commonplace_notification_unreadable_messages_total").await, 3.0);
    notifier.stop().await;
}

#[tokio::test]
async fn notification_worker_waits_out_a_database_outage() {
    let world = World::new().await;
    let api = world.api().await;
    let (of_ada, of_grace) = ada_and_grace(&api).await;
    let notifier = world.notifier().await;
    notifier.ready().await;
    let blog = api.blog(&of_ada, "Not yet").await;
    world.until("select coalesce(max(state), '') from notify.fan_out", "done".to_owned()).await;
    world.close_database().await;
    send(&world, "blog.published", &event("blog.published", blog)).await;
    notifier.degraded("events", "an event cannot be settled").await;
    world.open_database().await;
    notifier.ready().await;
    api.ready().await;
    api.blog(&of_ada, "After it").await;
    world.until("select count(*) from notify.fan_out where state = 'done'", 2_i64).await;
    assert_eq!(unread(&api, &of_grace).await, 2);
    notifier.stop().await;
}

/// While the request waits for a lock that the test holds, an account follows the author and gets its answer; it is
/// notified of the blog. An account that follows once readers see the blog is not notified.
async fn follow_while_it_waits(
    world: &World,
    api: &Running,
    of_ada: &str,
    hold: &str,
    request: RequestBuilder,
) -> Value {
    let other = world.another().await;
    other.client.batch_execute(hold).await.unwrap();
    let mut publishing = JoinSet::new();
    publishing.spawn(answer(request.bearer_auth(of_ada)));
    let waits = "select exists (select from pg_stat_activity where datname = current_database()
                                and usename = 'blogs_api' and wait_event_type = 'Lock')";
    world.until(waits, true).await;

    let seen = async || {
        let (_, page) = api.send(Method::GET, "/v1/blogs?sort=newest", None, Value::Null).await;
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(seen().await, 0, "readers do not see it yet");
    let ada: i64 = world.value("select id from blogs.account where handle = 'ada'", &[]).await;
    let follow = format!("/v1/accounts/{ada}/follow");
    let (_, in_time) = api.account("in-time").await;
    does(api, Method::PUT, &follow, &in_time, 204).await;
    other.client.batch_execute("rollback").await.unwrap();
    let (status, blog) = publishing.join_next().await.unwrap().unwrap();
    assert!(status.is_success(), "{status}: {blog}");
    assert_eq!(seen().await, 1);
    let (_, too_late) = api.account("too-late").await;
    does(api, Method::PUT, &follow, &too_late, 204).await;

    let notifier = world.notifier().await;
    let done =
        format!("select count(*) from notify.fan_out where blog_id = {} and state = 'done'", blog["id"]);
    world.until(&done, 1_i64).await;
    notifier.stop().await;
    assert_eq!((unread(api, &in_time).await, unread(api, &too_late).await), (1, 0), "{blog}");
    let differing = "select count(*) from notify.fan_out f join blogs.blog b on b.id = f.blog_id
                     where f.published_at <> b.first_published_at or b.published_at <> b.first_published_at";
    assert_eq!(world.value::<i64>(differing, &[]).await, 0);
    blog
}

#[tokio::test]
async fn follower_added_while_publishing_waits_for_the_blog_is_notified() {
    let world = World::new().await;
    let api = world.api().await;
    let (of_ada, of_grace) = ada_and_grace(&api).await;
    let draft = json!({"title": "A draft", "body": "", "publish": false});
    let (_, draft) = api.send(Method::POST, "/v1/blogs", Some(&of_ada), draft).await;
    let hold = format!("begin; select from blogs.blog where id = {} for update", draft["id"]);
    let publish = api.request(Method::POST, &format!("/v1/blogs/{}/publish", draft["id"]));
    let blog = follow_while_it_waits(&world, &api, &of_ada, &hold, publish).await;
    assert_eq!((&blog["version"], unread(&api, &of_grace).await), (&json!(2), 1));
}

#[tokio::test]
async fn follower_added_while_a_new_blog_waits_for_its_tag_is_notified() {
    let world = World::new().await;
    let api = world.api().await;
    let (of_ada, of_grace) = ada_and_grace(&api).await;
    let new = json!({"title": "New", "body": "", "tags": ["taken"], "publish": true});
    let create = api.request(Method::POST, "/v1/blogs").json(&new);
    let hold = "begin; insert into blogs.tag (name) values ('taken')";
    let blog = follow_while_it_waits(&world, &api, &of_ada, hold, create).await;
    assert_eq!((&blog["version"], unread(&api, &of_grace).await), (&json!(1), 1));
}
