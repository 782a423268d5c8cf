//! Single views, likes and shares: who may send them, for which blogs, and that the totals are exact.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::{Running, World, away_from_midnight};

use super::{Answer, totals};

const PATHS: [&str; 3] = events::WritePath::NAMES;

/// Every request that engages with a blog, as an account.
fn requests(api: &Running, blog: impl std::fmt::Display, token: &str) -> [RequestBuilder; 4] {
    let call = |method, what: &str| api.call(method, &format!("/v1/blogs/{blog}/{what}"), Some(token));
    [
        call(Method::POST, "views"),
        call(Method::PUT, "like"),
        call(Method::DELETE, "like"),
        call(Method::POST, "shares").json(&json!({"channel": "link"})),
    ]
}

async fn by(path: &str, request: RequestBuilder) -> Answer {
    Answer::to(request.header("X-Write-Path", path)).await
}

#[tokio::test]
async fn engagement_requires_a_visible_blog() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let draft = api.draft(&token, "Draft").await;
    let deleted = api.blog(&token, "Deleted").await;
    let unpublished = api.blog(&token, "Unpublished").await;
    // The API caches both blogs as live before they are hidden.
    for blog in [deleted, unpublished] {
        api.view(blog, "before").await.is(200);
    }
    api.delete(&format!("/v1/blogs/{deleted}"), Some(&token)).await.is(204);
    api.post(&format!("/v1/blogs/{unpublished}/unpublish"), Some(&token)).await.is(200);
    for path in PATHS {
        for blog in [draft, deleted, unpublished, 999_999, 0, -1, i64::MIN, i64::MAX] {
            for request in requests(&api, blog, &token) {
                by(path, request).await.refused(404);
            }
        }
        for request in requests(&api, "9223372036854775808", &token) {
            by(path, request).await.names(400, &["id"]);
        }
    }
    let counted = "select count(*) from analytics.outcome where outcome <> 'counted'";
    assert_eq!(world.value::<i64>(counted, &[]).await, 0, "nothing of it went any further");

    // Published again, it is visible with its previous totals.
    api.post(&format!("/v1/blogs/{unpublished}/publish"), Some(&token)).await.is(200);
    assert_eq!(api.view(unpublished, "after").await.is(200).totals(), [2, 0, 0]);
    world.assert_consistent().await;
}

#[tokio::test]
async fn a_like_needs_a_token_and_counts_once_per_account() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, ada) = api.account("ada").await;
    let (_, grace) = api.account("grace").await;
    let blog = api.blog(&ada, "Liked").await;
    let like = async |method: Method, token: Option<&str>| {
        by("direct", api.call(method, &format!("/v1/blogs/{blog}/like"), token)).await
    };
    for method in [Method::PUT, Method::DELETE] {
        like(method.clone(), None).await.refused(401);
        like(method, Some("garbage")).await.refused(401);
    }
    for (method, token, likes) in [
        (Method::DELETE, &ada, 0),
        (Method::PUT, &ada, 1),
        (Method::PUT, &ada, 1),
        (Method::PUT, &grace, 2),
        (Method::DELETE, &ada, 1),
        (Method::DELETE, &ada, 1),
        (Method::PUT, &ada, 2),
    ] {
        assert_eq!(like(method, Some(token)).await.is(200).totals(), [0, likes, 0]);
    }
    assert_eq!(api.totals(blog).await, [0, 2, 0]);
    world.assert_consistent().await;
}

#[tokio::test]
async fn every_share_counts_under_its_channel() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Shared").await;
    let share = async |body: Value| {
        let request = api.request(Method::POST, &format!("/v1/blogs/{blog}/shares"));
        by("direct", request.json(&body)).await
    };
    let channels = ["link", "email", "message", "social", "other"];
    for (n, channel) in (1..).zip(channels.into_iter().chain(["link"])) {
        assert_eq!(share(json!({"channel": channel})).await.is(200).totals(), [0, 0, n]);
    }
    for bad in ["pigeon", "", "LINK", "link\0"] {
        let answer = share(json!({"channel": bad})).await.names(422, &["channel"]);
        assert!(channels.iter().all(|channel| answer.detail().contains(channel)), "{answer:?}");
    }
    share(json!({"channel": "link", "to": "grace"})).await.names(422, &["to"]);
    share(json!({"channel": 1})).await.names(422, &["channel"]);
    assert!(share(json!({})).await.refused(422).detail().contains("channel"));
    let links = "select shares from analytics.blog_share where channel = 'link'";
    assert_eq!(world.value::<i64>(links, &[]).await, 2);
    world.assert_consistent().await;
}

#[tokio::test]
async fn every_write_path_reports_its_result() {
    away_from_midnight().await;
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("engagement.view_window_s", 86_400)).await;
    let worker = world.worker_with(|loader| loader.set("engagement.view_window_s", 86_400)).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Answered").await;
    for request in requests(&api, blog, &token) {
        let answer = by("message", request).await.is(202);
        let fields: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["event_id"], "{answer:?}");
    }
    // A view and a share; the like was taken back.
    world
        .until("select total_views + 10 * total_likes + 100 * total_shares from blogs.blog_counter", 101_i64)
        .await;
    for (path, shares) in [("direct", 2), ("direct-batched", 3)] {
        let mut last = Value::Null;
        for request in requests(&api, blog, &token) {
            last = by(path, request).await.is(200).body;
            assert!(last["event_id"].is_string(), "{last}");
        }
        assert_eq!(totals(&last), [1, 0, shares], "the account's view is counted once for all paths");
    }
    for path in ["sideways", "", "DIRECT"] {
        for request in requests(&api, blog, &token) {
            let answer = by(path, request).await.refused(400);
            assert!(answer.detail().contains("X-Write-Path"), "{answer:?}");
        }
    }
    worker.stop().await;
    world.assert_consistent().await;
}
