//! Follows: answers, lists, counters and events.

use reqwest::Method;
use serde_json::{Value, json};
use tests::World;
use tokio::task::JoinSet;

use super::outbox::{WAITING, manage, take};
use super::{Answer, PASSWORD};

#[tokio::test]
async fn follow_and_unfollow_are_idempotent() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, of_ada) = api.account("ada").await;
    let (grace, of_grace) = api.account("grace").await;
    let (alan, of_alan) = api.account("alan").await;
    for _ in 0..2 {
        api.follow(ada, &of_grace).await.is(204);
        api.follow(ada, &of_alan).await.is(204);
        api.follow(alan, &of_grace).await.is(204);
    }
    assert_eq!(api.listed(ada, "followers", 1).await, (vec![grace, alan], 2));
    assert_eq!(api.listed(grace, "following", 1).await, (vec![ada, alan], 2));
    assert_eq!(api.listed(grace, "followers", 20).await, (vec![], 0));
    let first = api.get(&format!("/v1/accounts/{ada}/followers"), Some(&of_ada)).await.is(200);
    assert_eq!(first.body["items"][0], json!({"id": grace, "handle": "grace"}));
    for _ in 0..2 {
        api.unfollow(ada, &of_grace).await.is(204);
    }
    assert_eq!(api.listed(ada, "followers", 20).await, (vec![alan], 1));
    assert_eq!(api.listed(grace, "following", 20).await, (vec![alan], 1));
    world.assert_consistent().await;
}

#[tokio::test]
async fn invalid_follow_is_refused() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    let (grace, of_grace) = api.account("grace").await;
    api.follow(ada, &token).await.names(422, &["id"]);
    api.follow(i64::MAX, &token).await.refused(404);
    api.unfollow(i64::MAX, &token).await.is(204);
    Answer::to(api.call(Method::PUT, &format!("/v1/accounts/{ada}/follow"), None)).await.refused(401);
    api.leave(&of_grace).await.is(204);
    api.follow(grace, &token).await.refused(404);
    for list in ["followers", "following"] {
        api.get(&format!("/v1/accounts/{grace}/{list}"), None).await.refused(404);
        let path = format!("/v1/accounts/{ada}/{list}");
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("cursor=", "cursor"),
            ("cursor=AQAAAAAAAAAAAAAAAAAAAAA", "cursor"),
        ] {
            api.get(&format!("{path}?{query}"), None).await.names(400, &[field]);
        }
    }
    // The table has the same constraint.
    let oneself = format!("insert into social.follow (followee_id, follower_id) values ({ada}, {ada})");
    assert_eq!(world.client().batch_execute(&oneself).await.unwrap_err().code().unwrap().code(), "23514");
    world.assert_consistent().await;
}

#[tokio::test]
async fn suspended_or_deleted_account_is_hidden_and_cannot_act() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, of_ada) = api.account("ada").await;
    let (grace, of_grace) = api.account("grace").await;
    let (alan, of_alan) = api.account("alan").await;
    api.follow(ada, &of_grace).await.is(204);
    api.follow(ada, &of_alan).await.is(204);
    assert!(world.value::<bool>("select blogs.suspend_account($1)", &[&grace]).await);
    assert_eq!(api.listed(ada, "followers", 1).await, (vec![alan], 2));
    // This process has cached the token as valid, but the request is refused all the same.
    api.unfollow(ada, &of_grace).await.refused(401);
    assert!(world.value::<bool>("select blogs.restore_account($1)", &[&grace]).await);
    assert_eq!(api.listed(ada, "followers", 1).await, (vec![grace, alan], 2));
    api.leave(&of_ada).await.is(204);
    assert_eq!(api.listed(grace, "following", 20).await, (vec![], 1));
    // Unfollowing a deleted account works.
    let again = api.sign_in("grace", PASSWORD).await.is(201).body["token"].as_str().unwrap().to_owned();
    api.unfollow(ada, &again).await.is(204);
    assert_eq!(api.listed(grace, "following", 20).await, (vec![], 0));
    world.assert_consistent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_follows_count_exactly_without_deadlock() {
    let world = World::new().await;
    let api = world.api().await;
    let mut accounts = Vec::new();
    for n in 0..6 {
        accounts.push(api.account(&format!("reader-{n}")).await);
    }
    // All accounts follow each other, in orders that cross, and half of the follows are undone.
    let mut requests = JoinSet::new();
    for turn in 0..3 {
        for (follower, token) in &accounts {
            for (followee, _) in accounts.iter().filter(|(id, _)| id != follower) {
                let method = if turn == 1 && followee > follower { Method::DELETE } else { Method::PUT };
                let path = format!("/v1/accounts/{followee}/follow");
                requests.spawn(Answer::to(api.call(method, &path, Some(token))));
            }
        }
    }
    for answer in requests.join_all().await {
        answer.is(204);
    }
    world.assert_consistent().await;
}

#[tokio::test]
async fn each_follow_event_is_published_once() {
    const QUEUE: &str = "it.follows";
    let world = World::new().await;
    let api = world.api().await;
    let works = async || api.get("/readyz", None).await.body["parts"]["broker"]["works"] == true;
    assert!(tests::wait_until(works).await, "the API is connected to RabbitMQ");
    let queue = format!("/api/queues/{{vhost}}/{QUEUE}");
    manage(&world, Method::PUT, &queue, json!({"durable": true})).await.is(201);
    let binding = format!("/api/bindings/{{vhost}}/e/commonplace.events/q/{QUEUE}");
    manage(&world, Method::POST, &binding, json!({"routing_key": "account.*"})).await.is(201);

    let (ada, _) = api.account("ada").await;
    let (grace, token) = api.account("grace").await;
    for _ in 0..2 {
        api.follow(ada, &token).await.is(204);
    }
    for _ in 0..2 {
        api.unfollow(ada, &token).await.is(204);
    }
    api.follow(ada, &token).await.is(204);
    world.until(WAITING, 0_i64).await;
    let messages = take(&world, QUEUE).await;
    let event = |message: &Value| {
        let events: Value = serde_json::from_str(message["payload"].as_str().unwrap()).unwrap();
        assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
        let event = events[0].clone();
        assert_eq!(message["routing_key"], event["type"]);
        assert_eq!(message["properties"]["message_id"], event["id"], "an event's id is its envelope's");
        assert_eq!(
            (&event["subject"], &event["data"]),
            (&json!(ada.to_string()), &json!({"account_id": grace}))
        );
        event["type"].as_str().unwrap().to_owned()
    };
    let kinds: Vec<String> = messages.iter().map(event).collect();
    assert_eq!(kinds, ["account.followed", "account.unfollowed", "account.followed"]);
}
