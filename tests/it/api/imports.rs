//! Imports of past events, with a token for imports.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Running, World};

use super::{Answer, tokens};

async fn send(api: &Running, token: &str, events: Value) -> Answer {
    let batch = api.call(Method::POST, "/v1/engagement", Some(token)).header("X-Write-Path", "direct");
    Answer::to(batch.json(&events)).await.is(200)
}

#[tokio::test]
async fn import_requires_a_token_with_the_scope() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, session) = api.account("ada").await;
    let blog = api.blog(&session, "Old").await;
    let event = json!({"type": "blog.viewed", "blog_id": blog, "visitor": "reader", "occurred_at": "2020-02-29T23:59:59Z"});
    for token in [session, tokens::issue(ada)] {
        let answer = send(&api, &token, json!([event])).await;
        assert_eq!(answer.body["accepted"], 0, "{answer:?}");
        assert!(
            answer.body["rejected"][0]["reason"].as_str().unwrap().contains("scope import"),
            "{answer:?}"
        );
    }
    assert_eq!(api.totals(blog).await, [0, 0, 0]);
    let importer = tokens::issue_import(ada);
    assert_eq!(
        send(&api, &importer, json!([event])).await.body,
        json!({"accepted": 1, "counted": 1, "repeat": 0, "rejected": []})
    );
    assert_eq!(api.totals(blog).await, [1, 0, 0]);
}

#[tokio::test]
async fn imported_events_count_at_their_own_time() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, session) = api.account("ada").await;
    let blog = api.blog(&session, "History").await;
    let importer = tokens::issue_import(ada);
    let view = |visitor: &str, time: &str| json!({"type": "blog.viewed", "blog_id": blog, "visitor": visitor, "occurred_at": time});
    let future = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    let events = json!([
        view("one", "2020-02-29T23:40:00Z"),
        view("one", "2020-02-29T23:59:59.999999Z"),
        view("one", "2020-03-01T00:00:00Z"),
        view("two", "2020-02-29T23:50:00+00:00"),
        view("three", "2020-03-01T01:10:00+01:00"),
        {"type": "blog.shared", "blog_id": blog, "channel": "link", "occurred_at": "2020-03-01T12:00:00Z"},
        view("one", &future),
        view("one", "1969-12-31T23:59:59Z"),
        {"type": "blog.viewed", "blog_id": blog, "occurred_at": "2020-03-01T12:00:00Z"},
        view("one", "2020-02-30T00:00:00Z"),
    ]);
    let answer = send(&api, &importer, events.clone()).await;
    assert_eq!(answer.body["accepted"], 6, "{answer:?}");
    let reasons: Vec<(u64, &str)> = answer.body["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (one["index"].as_u64().unwrap(), one["reason"].as_str().unwrap().split(':').next().unwrap())
        })
        .collect();
    assert_eq!(
        reasons,
        [(6, "occurred_at"), (7, "occurred_at"), (8, "visitor"), (9, "occurred_at")],
        "{answer:?}"
    );

    // A reader counts once in a window of half an hour. On the next day the same name is another visitor.
    let hours = "select coalesce(array_agg(to_char(hour at time zone 'utc', 'MM-DD HH24') || ' ' || views || ' ' || shares
                 order by hour), '{}') from analytics.blog_hour";
    let expected = ["02-29 23 2 0", "03-01 00 2 0", "03-01 12 0 1"];
    assert_eq!(world.value::<Vec<String>>(hours, &[]).await, expected);
    assert_eq!(api.totals(blog).await, [4, 0, 1]);
    // Repeated views are recognised. The share has no key, so it counts again.
    send(&api, &importer, events).await;
    assert_eq!(api.totals(blog).await, [4, 0, 2]);
    world.assert_consistent().await;
}

#[tokio::test]
async fn an_older_like_does_not_undo_a_newer_one() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, session) = api.account("ada").await;
    let blog = api.blog(&session, "Liked").await;
    let importer = tokens::issue_import(ada);
    let import = async |kind: &str, time: &str| {
        send(&api, &importer, json!([{"type": kind, "blog_id": blog, "occurred_at": time}])).await;
        api.totals(blog).await[1]
    };
    assert_eq!(import("blog.liked", "2020-01-02T00:00:00Z").await, 1);
    assert_eq!(import("blog.unliked", "2020-01-01T00:00:00Z").await, 1);
    assert_eq!(import("blog.unliked", "2020-01-03T00:00:00Z").await, 0);
    assert_eq!(import("blog.liked", "2020-01-02T12:00:00Z").await, 0);
    send(&api, &session, json!([{"type": "blog.liked", "blog_id": blog}])).await;
    assert_eq!(import("blog.unliked", "2020-01-04T00:00:00Z").await, 1);
    world.assert_consistent().await;
}
