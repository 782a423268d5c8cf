//! Many events in one request: each is accepted or rejected by itself.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Running, World, away_from_midnight};

use super::Answer;

const PATHS: [&str; 3] = events::WritePath::NAMES;

async fn send(api: &Running, path: &str, token: Option<&str>, events: &Value) -> Answer {
    let batch = api.call(Method::POST, "/v1/engagement", token).header("X-Write-Path", path);
    Answer::to(batch.json(events)).await
}

/// Asserts the number of accepted events, and for each rejected one its index and a word of the reason.
#[track_caller]
fn assert_judged(answer: &Answer, path: &str, accepted: usize, rejected: &[(usize, &str)]) {
    assert_eq!(answer.status, if path == "message" { 202 } else { 200 }, "{answer:?}");
    assert_eq!(answer.body["accepted"], accepted, "{answer:?}");
    let judged = answer.body["rejected"].as_array().unwrap();
    let places: Vec<_> = judged.iter().map(|one| one["index"].as_u64().unwrap()).collect();
    let expected: Vec<_> = rejected.iter().map(|(index, _)| u64::try_from(*index).unwrap()).collect();
    assert_eq!(places, expected, "{answer:?}");
    for (one, (index, words)) in judged.iter().zip(rejected) {
        assert!(one["reason"].as_str().unwrap().contains(words), "{index}: {one} should say {words:?}");
    }
}

#[tokio::test]
async fn valid_events_are_accepted_and_invalid_ones_are_named() {
    for path in PATHS {
        let world = World::new().await;
        let api = world.api_with(|loader| loader.set("engagement.view_window_s", 86_400)).await;
        let worker = world.worker_with(|loader| loader.set("engagement.view_window_s", 86_400)).await;
        let (_, token) = api.account("ada").await;
        let blog = api.blog(&token, "Batch").await;
        let draft = api.draft(&token, "Draft").await;
        let long = "x".repeat(129);
        let events = json!([
            {"type": "blog.viewed", "blog_id": blog},
            {"type": "blog.watched", "blog_id": blog},
            {"type": "blog.viewed"},
            {"type": "blog.liked", "blog_id": blog},
            7,
            null,
            {"type": "blog.viewed", "blog_id": 9_999_999},
            {"type": "blog.viewed", "blog_id": draft},
            {"type": "blog.shared", "blog_id": blog, "channel": "link"},
            {"type": "blog.shared", "blog_id": blog, "channel": "pigeon"},
            {"type": "blog.shared", "blog_id": blog},
            {"type": "blog.viewed", "blog_id": blog, "channel": "link"},
            {"type": "blog.viewed", "blog_id": blog, "visitor": ""},
            {"type": "blog.viewed", "blog_id": blog, "key": long},
            {"type": "blog.viewed", "blog_id": blog, "colour": "red"},
            {"type": "blog.viewed", "blog_id": "1"},
            {"type": "blog.viewed", "blog_id": blog, "occurred_at": "2026-01-01T00:00:00Z"},
            {"type": "blog.viewed", "blog_id": blog, "occurred_at": "yesterday"},
            {"type": "blog.viewed", "blog_id": blog},
            {"type": "blog.shared", "blog_id": blog, "channel": "link"},
            {"type": "account.followed", "blog_id": blog},
        ]);
        let rejected = [
            (1, "type: "),
            (2, "blog_id"),
            (4, "an object"),
            (5, "an object"),
            (6, "blog_id: there is no such blog"),
            (7, "blog_id: there is no such blog"),
            (9, "channel: "),
            (10, "channel: "),
            (11, "channel: "),
            (12, "visitor: "),
            (13, "key: "),
            (14, "colour"),
            (15, "blog_id"),
            (16, "occurred_at: requires a token with the scope import"),
            (17, "occurred_at"),
            (20, "type: "),
        ];
        assert_judged(&send(&api, path, Some(&token), &events).await, path, 5, &rejected);
        world.until("select coalesce(sum(n), 0)::bigint from analytics.outcome", 5_i64).await;
        // The second view is by the same reader within the window: it is accepted, but does not count.
        assert_eq!(api.totals(blog).await, [1, 1, 2], "{path}");
        worker.stop().await;
        world.assert_consistent().await;
    }
}

#[tokio::test]
async fn without_a_token_only_likes_and_unlikes_are_rejected() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Anonymous").await;
    let events = json!([
        {"type": "blog.viewed", "blog_id": blog, "visitor": "one"},
        {"type": "blog.liked", "blog_id": blog},
        {"type": "blog.unliked", "blog_id": blog},
        {"type": "blog.viewed", "blog_id": blog, "visitor": "two"},
        {"type": "blog.shared", "blog_id": blog, "channel": "email"},
    ]);
    let rejected = [(1, "requires a token"), (2, "requires a token")];
    assert_judged(&send(&api, "direct", None, &events).await, "direct", 3, &rejected);
    assert_eq!(api.totals(blog).await, [2, 0, 1]);
    send(&api, "direct", Some("garbage"), &events).await.refused(401);
    assert_eq!(api.totals(blog).await, [2, 0, 1]);
}

#[tokio::test]
async fn a_batch_has_a_limit() {
    away_from_midnight().await;
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("engagement.view_window_s", 86_400)).await;
    let worker = world.worker_with(|loader| loader.set("engagement.view_window_s", 86_400)).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Thousand").await;
    let views = |count: i64| -> Value {
        (0..count)
            .map(|n| json!({"type": "blog.viewed", "blog_id": blog, "visitor": format!("reader {n}")}))
            .collect()
    };
    for path in PATHS {
        let answer = send(&api, path, None, &views(1001)).await.names(422, &["body"]);
        assert!(answer.detail().contains("1000") && answer.detail().contains("1001"), "{answer:?}");
        assert_judged(&send(&api, path, None, &json!([])).await, path, 0, &[]);
        for not_a_list in [json!({}), json!("x"), json!(7)] {
            send(&api, path, None, &not_a_list).await.names(422, &["body"]);
        }
    }
    assert_judged(&send(&api, "message", None, &views(1000)).await, "message", 1000, &[]);
    world.until("select total_views from blogs.blog_counter", 1000_i64).await;
    // Views by the same readers do not count again, but each of them is accepted and has an outcome.
    for (path, accounted) in [("direct", 2000_i64), ("direct-batched", 3000)] {
        assert_judged(&send(&api, path, None, &views(1000)).await, path, 1000, &[]);
        assert_eq!(api.totals(blog).await, [1000, 0, 0], "{path}");
        assert_eq!(world.value::<i64>("select sum(n)::bigint from analytics.outcome", &[]).await, accounted);
    }
    worker.stop().await;
    world.assert_consistent().await;
}

#[tokio::test]
async fn batch_limit_is_a_setting() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("engagement.batch_events_max", 2)).await;
    let (_, token) = api.account("ada").await;
    let view = json!({"type": "blog.viewed", "blog_id": api.blog(&token, "Few").await});
    send(&api, "direct", None, &json!([view, view])).await.is(200);
    // Elements that are not events count against the limit, too.
    send(&api, "direct", None, &json!([view, 7, null])).await.names(422, &["body"]);
}
