//! `Idempotency-Key` of engagement: a key counts once across all write paths.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Running, World};

use super::Answer;

const PATHS: [&str; 3] = events::WritePath::NAMES;
const TOTALS: &str = "select array[total_views, total_likes, total_shares] from blogs.blog_counter";
const ACCOUNTED: &str = "select coalesce(sum(n), 0)::bigint from analytics.outcome";

/// A share under a key, by one of the paths.
async fn share(api: &Running, path: &str, blog: i64, token: &str, key: &str) -> Answer {
    let share = api.call(Method::POST, &format!("/v1/blogs/{blog}/shares"), Some(token));
    let share = share.header("X-Write-Path", path).header("Idempotency-Key", key);
    Answer::to(share.json(&json!({"channel": "link"}))).await
}

async fn batch(api: &Running, path: &str, token: &str, key: Option<&str>, events: &Value) -> Answer {
    let mut batch = api.call(Method::POST, "/v1/engagement", Some(token)).header("X-Write-Path", path);
    if let Some(key) = key {
        batch = batch.header("Idempotency-Key", key);
    }
    Answer::to(batch.json(events)).await
}

#[tokio::test]
async fn a_key_counts_once_on_every_path_and_across_them() {
    let world = World::new().await;
    let api = world.api().await;
    let worker = world.worker().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Keyed").await;
    let (mut sent, mut shares) = (0_i64, 0_i64);
    for first in PATHS {
        // The first event with a key counts on any path; afterwards no path counts it.
        let key = format!("a key of {first}");
        shares += 1;
        for path in [first, first].into_iter().chain(PATHS) {
            let answer = share(&api, path, blog, &token, &key).await;
            assert_eq!(answer.status, if path == "message" { 202 } else { 200 }, "{answer:?}");
            sent += 1;
            // One after the other, so that the worker applies each before the next request.
            world.until(ACCOUNTED, sent).await;
            assert_eq!(world.value::<Vec<i64>>(TOTALS, &[]).await, [0, 0, shares], "{first}, then {path}");
        }
    }
    worker.stop().await;
    world.assert_consistent().await;
}

#[tokio::test]
async fn idempotency_key_belongs_to_one_sender_one_kind_and_one_blog() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("engagement.view_window_s", 0)).await;
    let (_, ada) = api.account("ada").await;
    let (_, grace) = api.account("grace").await;
    let blog = api.blog(&ada, "One").await;
    let other = api.blog(&ada, "Other").await;
    assert_eq!(share(&api, "direct", blog, &ada, "k").await.is(200).totals(), [0, 0, 1]);
    assert_eq!(share(&api, "direct", blog, &ada, "k").await.is(200).totals(), [0, 0, 1]);
    assert_eq!(share(&api, "direct", blog, &ada, "K").await.is(200).totals(), [0, 0, 2]);
    assert_eq!(share(&api, "direct", blog, &grace, "k").await.is(200).totals(), [0, 0, 3]);
    assert_eq!(share(&api, "direct", other, &ada, "k").await.is(200).totals(), [0, 0, 1]);
    let view = async || {
        let view = api.call(Method::POST, &format!("/v1/blogs/{blog}/views"), Some(&ada));
        let view = view.header("X-Write-Path", "direct").header("Idempotency-Key", "k");
        Answer::to(view).await.is(200).totals()
    };
    assert_eq!(view().await, [1, 0, 3]);
    assert_eq!(view().await, [1, 0, 3]);
    let long = "k".repeat(129);
    for bad in ["", long.as_str()] {
        share(&api, "direct", blog, &ada, bad).await.names(422, &["Idempotency-Key"]);
    }
    assert_eq!(api.totals(blog).await, [1, 0, 3]);
    world.assert_consistent().await;
}

#[tokio::test]
async fn repeated_batch_adds_nothing() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("engagement.view_window_s", 0)).await;
    let worker = world.worker_with(|loader| loader.set("engagement.view_window_s", 0)).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Batched").await;
    let share =
        |key: Option<&str>| json!({"type": "blog.shared", "blog_id": blog, "channel": "link", "key": key});
    let view = json!({"type": "blog.viewed", "blog_id": blog});
    // Two events without a key, and one key twice.
    let events = json!([view, view, share(None), share(None), share(Some("own")), share(Some("own"))]);
    let mut sent = 0_i64;
    for key in ["first", "second"] {
        for path in [PATHS[1], PATHS[2], PATHS[0], PATHS[1]] {
            let answer = batch(&api, path, &token, Some(key), &events).await;
            assert_eq!(answer.status, if path == "message" { 202 } else { 200 }, "{answer:?}");
            assert_eq!((&answer.body["accepted"], &answer.body["rejected"]), (&json!(6), &json!([])));
            sent += 6;
            world.until(ACCOUNTED, sent).await;
        }
        let expected = if key == "first" { [2, 0, 3] } else { [4, 0, 5] };
        assert_eq!(world.value::<Vec<i64>>(TOTALS, &[]).await, expected, "{key}");
    }
    // Without a key, everything but the event with a key of its own counts again.
    batch(&api, "direct", &token, None, &events).await.is(200);
    assert_eq!(world.value::<Vec<i64>>(TOTALS, &[]).await, [6, 0, 7]);
    worker.stop().await;
    world.assert_consistent().await;
}

#[tokio::test]
async fn key_counts_once_inside_and_outside_of_a_batch() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Either way").await;
    let event = json!({"type": "blog.shared", "blog_id": blog, "channel": "email", "key": "k"});
    assert_eq!(share(&api, "direct", blog, &token, "k").await.is(200).totals(), [0, 0, 1]);
    batch(&api, "direct", &token, None, &json!([event])).await.is(200);
    batch(
        &api,
        "direct-batched",
        &token,
        Some("of the batch"),
        &json!([{"type": "blog.liked", "blog_id": blog}, event]),
    )
    .await
    .is(200);
    assert_eq!(api.totals(blog).await, [0, 1, 1]);
    world.assert_consistent().await;
}
