//! The identity of readers, in a view window of a day. No test crosses the edge of a window.

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tests::{Running, World, away_from_midnight};

use super::Answer;

async fn api(world: &World, proxies: &[&str]) -> Running {
    away_from_midnight().await;
    let proxies: Vec<String> = proxies.iter().map(|&proxy| proxy.to_owned()).collect();
    world
        .api_with(|loader| {
            loader
                .set("engagement.view_window_s", 86_400)
                // The configuration sets the write path, because a request from behind a proxy may not choose it.
                .set("engagement.write_path", "direct")
                .set("requests.trusted_proxies", proxies)
        })
        .await
}

fn view(api: &Running, blog: i64, token: Option<&str>) -> RequestBuilder {
    api.call(Method::POST, &format!("/v1/blogs/{blog}/views"), token)
}

/// The views that the blog has after this one.
async fn views_after(view: RequestBuilder) -> i64 {
    Answer::to(view).await.is(200).totals()[0]
}

#[tokio::test]
async fn two_readers_behind_one_trusted_proxy_count_as_two() {
    let world = World::new().await;
    let api = api(&world, &["127.0.0.0/8", "10.0.0.0/8"]).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Proxied").await;
    for (forwarded_for, views) in [
        ("192.0.2.1", 1),
        ("192.0.2.2", 2),
        ("192.0.2.1", 2),
        ("2001:db8::1", 3),
        // The part that the client wrote itself is left of the address that our proxy saw.
        ("192.0.2.77, 192.0.2.1", 3),
        ("unknown, 192.0.2.2", 3),
        // Through two of our proxies.
        ("192.0.2.1, 10.1.1.1", 3),
        ("[2001:db8::1]:4711", 3),
        ("192.0.2.3:80", 4),
    ] {
        let view = view(&api, blog, None).header("X-Forwarded-For", forwarded_for);
        assert_eq!(views_after(view).await, views, "{forwarded_for}");
    }
    let chained = view(&api, blog, None).header("X-Forwarded-For", "192.0.2.9");
    assert_eq!(
        views_after(chained.header("X-Forwarded-For", "192.0.2.1")).await,
        4,
        "two headers are one list"
    );
    world.assert_consistent().await;
}

#[tokio::test]
async fn untrusted_client_cannot_invent_readers() {
    let world = World::new().await;
    for proxies in [&[][..], &["10.0.0.0/8", "127.0.0.2/32"]] {
        let api = api(&world, proxies).await;
        let (_, token) = api.account(&format!("ada{}", proxies.len())).await;
        let blog = api.blog(&token, "Forged").await;
        for forwarded_for in ["192.0.2.1", "192.0.2.2", "127.0.0.1", "10.0.0.1, 192.0.2.3"] {
            let view = view(&api, blog, None).header("X-Forwarded-For", forwarded_for);
            assert_eq!(views_after(view).await, 1, "{forwarded_for}");
        }
        for header in ["Forwarded", "X-Real-IP", "CF-Connecting-IP"] {
            assert_eq!(views_after(view(&api, blog, None).header(header, "192.0.2.1")).await, 1, "{header}");
        }
    }
}

#[tokio::test]
async fn visitor_is_the_account_or_the_name_or_the_address_with_agent() {
    let world = World::new().await;
    let api = api(&world, &["127.0.0.0/8"]).await;
    let (_, ada) = api.account("ada").await;
    let (_, grace) = api.account("grace").await;
    let blog = api.blog(&ada, "Visited").await;
    let other = api.blog(&ada, "Another").await;
    let from = |address: &str, agent: &str, name: Option<&str>, token: Option<&str>| {
        let view = view(&api, blog, token).header("X-Forwarded-For", address).header("User-Agent", agent);
        match name {
            Some(name) => view.json(&json!({"visitor": name})),
            None => view,
        }
    };
    for (address, agent, name, token, views) in [
        ("192.0.2.1", "one", None, None, 1),
        ("192.0.2.1", "one", None, None, 1),
        ("192.0.2.1", "two", None, None, 2),
        ("192.0.2.2", "one", None, None, 3),
        // A name is the same wherever it comes from.
        ("192.0.2.1", "one", Some("reader"), None, 4),
        ("192.0.2.2", "two", Some("reader"), None, 4),
        ("192.0.2.1", "one", Some("Reader"), None, 5),
        // An account is one reader, whatever it calls itself.
        ("192.0.2.1", "one", None, Some(&ada), 6),
        ("192.0.2.2", "two", Some("a name"), Some(&ada), 6),
        ("192.0.2.2", "two", Some("a name"), Some(&grace), 7),
        ("192.0.2.2", "two", Some("a name"), None, 8),
    ] {
        let seen = views_after(from(address, agent, name, token.map(String::as_str))).await;
        assert_eq!(seen, views, "{address} {agent} {name:?}");
    }
    let of_other = view(&api, other, None).header("X-Forwarded-For", "192.0.2.1").header("User-Agent", "one");
    assert_eq!(views_after(of_other).await, 1, "each blog has its own readers");
    world.assert_consistent().await;
}

#[tokio::test]
async fn the_body_of_a_view_may_be_left_out() {
    let world = World::new().await;
    let api = api(&world, &[]).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Beacon").await;
    for body in ["", "  \n", "{}", r#"{"visitor": null}"#] {
        assert_eq!(views_after(view(&api, blog, None).body(body)).await, 1, "{body:?}");
    }
    // A browser's beacon cannot say that it sends JSON.
    let beacon = view(&api, blog, None).header("Content-Type", "text/plain;charset=UTF-8");
    assert_eq!(views_after(beacon.body(r#"{"visitor": "reader"}"#)).await, 2);
    assert_eq!(views_after(view(&api, blog, None).json(&json!({"visitor": "é".repeat(64)}))).await, 3);
    for (body, status, fields) in [
        (r#"{"visitor": ""}"#.to_owned(), 422, &["visitor"][..]),
        (json!({"visitor": "x".repeat(129)}).to_string(), 422, &["visitor"]),
        (r#"{"visitor": 7}"#.to_owned(), 422, &["visitor"]),
        (r#"{"visiter": "x"}"#.to_owned(), 422, &["visiter"]),
        (r#"{"visitor": "x""#.to_owned(), 400, &[]),
        ("visitor=x".to_owned(), 400, &[]),
    ] {
        Answer::to(view(&api, blog, None).body(body)).await.names(status, fields);
    }
    assert_eq!(api.totals(blog).await, [3, 0, 0]);
}

#[tokio::test]
async fn without_a_window_every_view_counts() {
    let world = World::new().await;
    let api = world
        .api_with(|loader| loader.set("engagement.view_window_s", 0).set("engagement.write_path", "direct"))
        .await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Every view").await;
    for views in 1..=3 {
        assert_eq!(views_after(view(&api, blog, None)).await, views);
    }
    let rows = "select count(*) from analytics.blog_view";
    assert_eq!(world.value::<i64>(rows, &[]).await, 0, "no visitor is kept where none is needed");
    world.assert_consistent().await;
}

#[tokio::test]
async fn no_identity_of_a_reader_is_published() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("requests.trusted_proxies", vec!["127.0.0.0/8"])).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Private").await;
    api.connected().await;
    for body in ["{}", r#"{"visitor": "visitor-180"}"#] {
        let view = api
            .request(Method::POST, &format!("/v1/blogs/{blog}/views"))
            .header("X-Forwarded-For", "192.0.2.177")
            .header("User-Agent", "agent-178")
            .header("Idempotency-Key", "key-179");
        Answer::to(view.body(body)).await.is(202);
    }
    let published = super::outbox::take(&world, "analytics.engagement.v1").await;
    let published = serde_json::Value::from(published).to_string();
    assert!(published.contains("blog.viewed"), "{published}");
    for secret in ["192.0.2.177", "127.0.0.1", "agent-178", "key-179", "visitor-180"] {
        assert!(!published.contains(secret), "{secret} is in {published}");
    }
}
