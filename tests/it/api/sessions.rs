//! Revocation of tokens: by a new password, sign-out or deletion.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;
use tests::{Running, World, wait_until};

use super::{Answer, PASSWORD};

const OTHER_PASSWORD: &str = "battery staple correct";

/// A request that every live token may make and that changes nothing.
async fn use_token(api: &Running, token: &str) -> Answer {
    api.get("/v1/blogs", Some(token)).await
}

async fn another_session(api: &Running, handle: &str) -> String {
    api.sign_in(handle, PASSWORD).await.is(201).body["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn session_reports_its_lifetime() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("tokens.lifetime_s", 3600)).await;
    let (_, token) = api.account("ada").await;
    use_token(&api, &token).await.is(200);
    let session = api.sign_in("ada", PASSWORD).await.is(201);
    let left = session.time("expires_at").duration_since(Timestamp::now());
    assert!(left <= SignedDuration::from_mins(60) && left > SignedDuration::from_mins(58), "{left}");
}

#[tokio::test]
async fn new_password_revokes_every_token() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let elsewhere = another_session(&api, "ada").await;
    let change = async |token: Option<&str>, old: &str, new: &str| {
        let body = json!({"password": old, "new_password": new});
        Answer::to(api.call(Method::PUT, "/v1/accounts/me/password", token).json(&body)).await
    };
    change(None, PASSWORD, OTHER_PASSWORD).await.refused(401);
    change(Some(&token), "not the current password", OTHER_PASSWORD).await.refused(403);
    change(Some(&token), PASSWORD, "too short").await.names(422, &["new_password"]);
    use_token(&api, &token).await.is(200);
    api.sign_in("ada", PASSWORD).await.is(201);

    change(Some(&token), PASSWORD, OTHER_PASSWORD).await.is(204);
    for old in [&token, &elsewhere] {
        let answer = use_token(&api, old).await.refused(401);
        assert!(answer.detail().contains("revoked"), "{answer:?}");
    }
    api.sign_in("ada", PASSWORD).await.refused(401);
    let session = api.sign_in("ada", OTHER_PASSWORD).await.is(201);
    use_token(&api, session.body["token"].as_str().unwrap()).await.is(200);
}

#[tokio::test]
async fn signing_out_ends_every_session_of_the_account_and_of_no_other() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let (_, of_grace) = api.account("grace").await;
    let elsewhere = another_session(&api, "ada").await;
    api.delete("/v1/sessions", None).await.refused(401);
    api.delete("/v1/sessions", Some(&token)).await.is(204);
    for ended in [&token, &elsewhere] {
        use_token(&api, ended).await.refused(401);
        api.delete("/v1/sessions", Some(ended)).await.refused(401);
    }
    use_token(&api, &of_grace).await.is(200);
    use_token(&api, &another_session(&api, "ada").await).await.is(200);
}

#[tokio::test]
async fn other_process_refuses_revoked_token_after_refreshing_its_epoch() {
    let world = World::new().await;
    let api = world.api().await;
    let other = world.api_with(|loader| loader.set("tokens.epoch_age_max_s", 1)).await;
    let (_, token) = api.account("ada").await;
    use_token(&other, &token).await.is(200);
    api.delete("/v1/sessions", Some(&token)).await.is(204);
    let refused = wait_until(async || use_token(&other, &token).await.status == 401);
    assert!(refused.await, "the token is still taken: {:?}", use_token(&other, &token).await);
}

#[tokio::test]
async fn deleted_account_hides_its_blogs() {
    let world = World::new().await;
    // Live blogs are cached for longer than the test, so that every answer below is deterministic.
    let api = world.api_with(|loader| loader.set("engagement.live_blogs.ttl_ms", 600_000)).await;
    let (id, token) = api.account("ada").await;
    let (_, reader) = api.account("grace").await;
    let blog = api.blog(&token, "Left behind").await;
    let draft = api.draft(&token, "Never shown").await;
    api.view(blog, "before").await.is(200);

    api.leave(&token).await.is(204);
    use_token(&api, &token).await.refused(401);
    for path in [
        format!("/v1/blogs/{blog}"),
        format!("/v1/blogs/{blog}/stats"),
        format!("/v1/blogs/{draft}"),
        "/v1/blogs/by-slug/left-behind".to_owned(),
    ] {
        api.get(&path, None).await.refused(404);
        api.get(&path, Some(&reader)).await.refused(404);
    }
    for list in ["/v1/blogs".to_owned(), format!("/v1/blogs?author={id}"), "/v1/blogs?author=ada".to_owned()]
    {
        assert_eq!(api.get(&list, None).await.is(200).body, json!({"items": [], "next_cursor": null}));
    }

    // This process still caches the blog; the worker discards the events that it accepts.
    let worker = world.worker().await;
    api.view(blog, "after, direct").await.refused(404);
    let view = json!({"visitor": "after, by message"});
    api.post_json(&format!("/v1/blogs/{blog}/views"), None, view.clone()).await.is(202);
    world
        .until("select coalesce(sum(n), 0)::bigint from analytics.outcome where outcome = 'discarded'", 2_i64)
        .await;
    // Another process queries the database first.
    let other = world.api().await;
    other.post_json(&format!("/v1/blogs/{blog}/views"), None, view).await.refused(404);
    assert_eq!(world.value::<i64>("select sum(total_views)::bigint from blogs.blog_counter", &[]).await, 1);
    worker.stop().await;
    world.assert_consistent().await;
}
