//! `Idempotency-Key` where blogs are made: one request, however often it is sent.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Answer;
use crate::services::Running;
use crate::world::World;

async fn create(api: &Running, token: &str, key: &[u8], body: &Value) -> Answer {
    let request = api.call(Method::POST, "/v1/blogs", Some(token)).header("Idempotency-Key", key);
    Answer::to(request.json(body)).await
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let new = json!({"title": "Once", "body": "Text", "tags": ["B", "a"], "publish": true});
    let first = create(&api, &token, b"key-1", &new).await.is(201);
    assert_eq!(first.header("idempotency-replayed"), None);

    // What has happened to the blog since does not change the answer.
    api.patch(&format!("/v1/blogs/{}", first.id()), Some(&token), json!({"title": "Changed"})).await.is(200);
    let again = create(&api, &token, b"key-1", &new).await.is(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    for name in ["location", "etag", "content-type"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    // Another process knows it too.
    let other = world.api().await;
    assert_eq!(create(&other, &token, b"key-1", &new).await.is(201).body, first.body);
    assert_eq!(world.value::<i64>("select count(*) from blogs.blog", &[]).await, 1);

    // Without a key, or with another one, it is another blog.
    let second = create(&api, &token, b"key-2", &new).await.is(201);
    let third = api.post_json("/v1/blogs", Some(&token), new).await.is(201);
    assert_eq!(BTreeSet::from([first.id(), second.id(), third.id()]).len(), 3);
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_account() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let (_, other) = api.account("grace").await;
    let new = json!({"title": "Mine", "body": "Text"});
    let mine = create(&api, &token, b"key", &new).await.is(201);
    for change in [json!({"title": "Other"}), json!({"tags": ["x"]}), json!({"publish": true})] {
        let mut different = new.clone();
        different.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        create(&api, &token, b"key", &different).await.names(422, &["idempotency-key"]);
    }
    let theirs = create(&api, &other, b"key", &new).await.is(201);
    assert_ne!(theirs.id(), mine.id());
    assert_eq!(theirs.header("idempotency-replayed"), None);

    // What was refused was not done: the key is still free.
    let wrong = json!({"title": "", "body": ""});
    create(&api, &token, b"key-2", &wrong).await.names(422, &["title"]);
    create(&api, &token, b"key-2", &new).await.is(201);

    for bad in [&b""[..], b"two words", b"\xff", &[b'k'; 129]] {
        create(&api, &token, bad, &new).await.names(400, &["idempotency-key"]);
    }
    create(&api, &token, &[b'k'; 128], &new).await.is(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_does_it_and_all_say_so() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let new = json!({"title": "At once", "body": "Text", "publish": true});
    let mut requests = JoinSet::new();
    for _ in 0..12 {
        let request = api.call(Method::POST, "/v1/blogs", Some(&token)).header("Idempotency-Key", "one");
        requests.spawn(Answer::to(request.json(&new)));
    }
    let answers: Vec<Answer> = requests.join_all().await.into_iter().map(|answer| answer.is(201)).collect();
    assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:?}");
    let replayed = answers.iter().filter(|answer| answer.header("idempotency-replayed") == Some("true"));
    assert_eq!(replayed.count(), 11);
    assert_eq!(world.value::<i64>("select count(*) from blogs.blog", &[]).await, 1);
    let addresses = "select count(*) from blogs.blog_slug";
    assert_eq!(
        world.value::<i64>(addresses, &[]).await,
        1,
        "nothing is left of the work that was taken back"
    );
}
