//! Rate limits, and CORS.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::{Running, World};

use super::{Answer, PASSWORD};

/// An API with a small limit, which refills slowly: one request in half a minute.
async fn limited(world: &World, limit: &'static str) -> Running {
    world
        .api_with(|loader| {
            let proxies: Vec<&str> = vec!["127.0.0.0/8"];
            loader
                .set("requests.trusted_proxies", proxies)
                // The configuration sets the write path, because a request from behind a proxy may not choose it.
                .set("engagement.write_path", "direct")
                .set("rate_limits.enabled", true)
                .set(limit, 2)
                // Enough buckets that no two clients share one by chance.
                .set("rate_limits.buckets_max", u32::MAX)
        })
        .await
}

fn from(address: &str, request: RequestBuilder) -> RequestBuilder {
    request.header("X-Forwarded-For", address)
}

#[track_caller]
fn assert_limited(answer: Answer) {
    let answer = answer.refused(429);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer:?}");
}

#[tokio::test]
async fn each_client_has_its_own_engagement_limit() {
    let world = World::new().await;
    let api = limited(&world, "rate_limits.engagement_per_minute").await;
    let (_, ada) = api.account("ada").await;
    let (_, grace) = api.account("grace").await;
    let blog = api.blog(&ada, "Busy").await;
    let share = async |address: &str, token: Option<&str>| {
        let share = api.call(Method::POST, &format!("/v1/blogs/{blog}/shares"), token);
        Answer::to(from(address, share.json(&json!({"channel": "link"})))).await
    };
    let mut shares = 0;
    // Without a token the limit is per address, and an IPv6 household counts as one address. With a token it is per
    // account, from any address.
    for (address, token) in [
        ("192.0.2.1", None),
        ("192.0.2.2", None),
        ("2001:db8::1", None),
        ("192.0.2.1", Some(&ada)),
        ("192.0.2.1", Some(&grace)),
    ] {
        for _ in 0..2 {
            shares += 1;
            let answer = share(address, token.map(String::as_str)).await;
            assert_eq!(answer.is(200).totals(), [0, 0, shares], "{address} {token:?}");
        }
        assert_limited(share(address, token.map(String::as_str)).await);
    }
    assert_limited(share("2001:db8::2", None).await);
    assert_limited(share("192.0.2.77", Some(&ada)).await);
    // Reads and writes have separate limits.
    assert_eq!(api.totals(blog).await, [0, 0, shares]);
    api.blog(&ada, "Still writing").await;
}

#[tokio::test]
async fn each_event_of_a_batch_counts_against_the_limit() {
    let world = World::new().await;
    let api = limited(&world, "rate_limits.engagement_per_minute").await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Batched").await;
    let batch = async |address: &str, count: usize| {
        let share = json!({"type": "blog.shared", "blog_id": blog, "channel": "link"});
        let batch = api.request(Method::POST, "/v1/engagement");
        Answer::to(from(address, batch.json(&vec![share; count]))).await
    };
    batch("192.0.2.1", 2).await.is(200);
    assert_limited(batch("192.0.2.1", 1).await);
    // This batch exceeds the whole limit; the last one exceeds what is left of it.
    assert_limited(batch("192.0.2.2", 3).await);
    batch("192.0.2.3", 1).await.is(200);
    assert_limited(batch("192.0.2.3", 2).await);
    assert_eq!(api.totals(blog).await, [0, 0, 3]);
}

#[tokio::test]
async fn password_attempts_are_limited_by_address() {
    let world = World::new().await;
    let api = limited(&world, "rate_limits.sign_in_per_minute").await;
    let sign_up = json!({"handle": "ada", "email": "ada@example.org", "password": PASSWORD});
    let sign_in = async |address: &str, password: &str| {
        let request = api.request(Method::POST, "/v1/sessions");
        Answer::to(from(address, request.json(&json!({"handle": "ada", "password": password})))).await
    };
    Answer::to(from("192.0.2.1", api.request(Method::POST, "/v1/accounts")).json(&sign_up)).await.is(201);
    sign_in("192.0.2.1", "a guess").await.refused(401);
    assert_limited(sign_in("192.0.2.1", "another guess").await);
    assert_limited(sign_in("192.0.2.1", PASSWORD).await);
    // The right password from another address still works, and a token does not lift the limit on password attempts.
    let session = sign_in("192.0.2.2", PASSWORD).await.is(201);
    let token = session.body["token"].as_str().unwrap();
    let change = json!({"password": "a guess", "new_password": "a new password"});
    let guess = |address| {
        let guess = api.call(Method::PUT, "/v1/accounts/me/password", Some(token));
        Answer::to(from(address, guess).json(&change))
    };
    guess("192.0.2.2").await.refused(403);
    assert_limited(guess("192.0.2.2").await);
    api.get("/v1/blogs", Some(token)).await.is(200);
}

/// Sends requests until one is refused. The refill within half a minute may allow one more.
async fn until_limited(ask: impl AsyncFn() -> Answer) {
    for _ in 0..5 {
        let answer = ask().await;
        if answer.status == 429 {
            return assert_limited(answer);
        }
    }
    panic!("five tries in a row were let through");
}

#[tokio::test]
async fn guesses_from_many_addresses_share_the_limit_of_the_account() {
    let world = World::new().await;
    let api = limited(&world, "passwords.tries_per_minute").await;
    let sign_in = async |address: &str, handle: &str, password: &str| {
        let request = api.request(Method::POST, "/v1/sessions");
        Answer::to(from(address, request.json(&json!({"handle": handle, "password": password})))).await
    };
    let sign_up = json!({"handle": "ada", "email": "ada@example.org", "password": PASSWORD});
    Answer::to(from("192.0.2.1", api.request(Method::POST, "/v1/accounts")).json(&sign_up)).await.is(201);
    let session = sign_in("192.0.2.2", "ada", PASSWORD).await.is(201);
    let token = session.body["token"].as_str().unwrap();
    for handle in ["ada", "stranger"] {
        let mut tried = 0;
        for host in 1..=30 {
            let answer = sign_in(&format!("198.51.100.{host}"), handle, "a guess").await;
            tried += u32::from(answer.status != 429);
        }
        assert!((1..=4).contains(&tried), "{tried} of 30 guesses at {handle} were tried");
    }
    // The pages' form does not bypass the limit, and neither does the right password from an unknown network.
    let form = async || {
        let form = api.request(Method::POST, "/sign-in").header("sec-fetch-site", "same-origin");
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        Answer::to(from("203.0.113.1", form.body("handle=ada&password=a+guess"))).await
    };
    until_limited(form).await;
    until_limited(async || sign_in("203.0.113.2", " ADA", PASSWORD).await).await;
    // The owner signs in from a network from which it has signed in before, and that network has a limit of its own.
    sign_in("192.0.2.2", "ada", PASSWORD).await.is(201);
    sign_in("192.0.2.2", "ada", "a guess").await.refused(401);
    until_limited(async || sign_in("192.0.2.2", "ada", "a guess").await).await;
    // A stolen token does not bypass the limit.
    let mut tried = 0;
    for host in 1..=30 {
        let guess = api.call(Method::PUT, "/v1/accounts/me/password", Some(token));
        let change = json!({"password": "a guess", "new_password": "battery staple correct"});
        let answer = Answer::to(from(&format!("198.51.100.{}", 100 + host), guess.json(&change))).await;
        tried += u32::from(answer.status != 429);
    }
    assert!((1..=4).contains(&tried), "{tried} of 30 guesses with a token were tried");
}

#[tokio::test]
async fn networks_of_one_ipv6_delegation_share_four_times_the_limit() {
    let world = World::new().await;
    let api = limited(&world, "rate_limits.sign_in_per_minute").await;
    let sign_in = async |address: &str, name: &str| {
        let guess = json!({"handle": name, "password": "a guess"});
        let request = api.request(Method::POST, "/v1/sessions").json(&guess);
        Answer::to(from(address, request)).await
    };
    let mut tried = 0;
    for network in 0..32 {
        let answer = sign_in(&format!("2001:db8:0:{network:x}::1"), &format!("ada-{network}")).await;
        tried += u32::from(answer.status != 429);
    }
    // Four times the limit of two, plus what is refilled while the test runs.
    assert!((8..=12).contains(&tried), "{tried} of 32 sign-ins from one /56 were tried");
    sign_in("2001:db8:0:100::1", "ada").await.refused(401);
}

#[tokio::test]
async fn writes_and_reads_have_separate_limits() {
    for (limit, reads, writes) in
        [("rate_limits.write_per_minute", 3, 2), ("rate_limits.read_per_minute", 2, 3)]
    {
        let world = World::new().await;
        let api = limited(&world, limit).await;
        let (_, token) = api.account("ada").await;
        let mut answered = [0, 0];
        for n in 0..3 {
            let read = api.get("/v1/blogs", Some(&token)).await;
            let new = json!({"title": format!("Blog {n}"), "body": ""});
            let write = api.post_json("/v1/blogs", Some(&token), new).await;
            for (count, answer, good) in [(0, read, 200), (1, write, 201)] {
                if answer.status == good {
                    answered[count] += 1;
                } else {
                    assert_limited(answer);
                }
            }
        }
        assert_eq!(answered, [reads, writes], "{limit}");
        // Operations endpoints are not limited.
        for path in ["/healthz", "/metrics", "/openapi.json"] {
            for _ in 0..3 {
                api.get(path, None).await.is(200);
            }
        }
    }
}

const ORIGIN: &str = "https://blog.example.org";

async fn from_page(api: &Running, method: Method, origin: &str, asks_for: Option<&str>) -> Answer {
    let request = api.request(method, "/v1/blogs").header("Origin", origin);
    Answer::to(match asks_for {
        Some(method) => request
            .header("Access-Control-Request-Method", method)
            .header("Access-Control-Request-Headers", "authorization,content-type,if-match"),
        None => request,
    })
    .await
}

fn cors_headers(answer: &Answer) -> BTreeSet<String> {
    let names = answer.headers.keys().map(|name| name.as_str().to_owned());
    names.filter(|name| name.starts_with("access-control")).collect()
}

#[tokio::test]
async fn unlisted_web_page_may_not_call_the_api() {
    let world = World::new().await;
    let api = world.api().await;
    let read = from_page(&api, Method::GET, ORIGIN, None).await.is(200);
    let preflight = from_page(&api, Method::OPTIONS, ORIGIN, Some("POST")).await.refused(405);
    for answer in [read, preflight] {
        assert_eq!(cors_headers(&answer), BTreeSet::new());
    }
}

#[tokio::test]
async fn only_listed_web_pages_may_call_the_api() {
    let world = World::new().await;
    let origins: Vec<&str> = vec![ORIGIN, "http://localhost:3000"];
    let api = world.api_with(|loader| loader.set("cors.allowed_origins", origins)).await;
    for origin in [ORIGIN, "http://localhost:3000"] {
        let read = from_page(&api, Method::GET, origin, None).await.is(200);
        assert_eq!(read.header("access-control-allow-origin"), Some(origin));
        assert!(read.header("access-control-expose-headers").unwrap().contains("etag"), "{read:?}");
        // The page can also read refusals.
        let refused =
            Answer::to(api.request(Method::POST, "/v1/blogs").header("Origin", origin)).await.refused(401);
        assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let preflight = from_page(&api, Method::OPTIONS, origin, Some(method)).await.is(200);
            assert_eq!(preflight.header("access-control-allow-origin"), Some(origin));
            assert!(
                preflight.header("access-control-allow-methods").unwrap().contains(method),
                "{preflight:?}"
            );
            let headers = preflight.header("access-control-allow-headers").unwrap();
            assert!(["authorization", "content-type", "if-match"].iter().all(|name| headers.contains(name)));
        }
    }
    for other in
        ["https://example.org", "https://blog.example.org.evil.org", "http://blog.example.org", "null"]
    {
        for answer in [
            from_page(&api, Method::GET, other, None).await,
            from_page(&api, Method::OPTIONS, other, Some("POST")).await,
        ] {
            assert_eq!(answer.header("access-control-allow-origin"), None, "{other}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-credentials"), None, "{other}: {answer:?}");
        }
    }
    let varies = from_page(&api, Method::GET, ORIGIN, None).await;
    let vary = varies.headers.get_all("vary").iter().any(|value| value.to_str().unwrap().contains("origin"));
    assert_eq!(varies.body, json!({"items": [], "next_cursor": Value::Null}));
    assert!(vary, "a cache must not give one page's answer to another: {varies:?}");
}

#[tokio::test]
async fn invalid_tokens_and_unknown_paths_are_limited_by_address() {
    let world = World::new().await;
    let proxies: Vec<&str> = vec!["127.0.0.0/8"];
    let api = world
        .api_with(|loader| {
            loader
                .set("requests.trusted_proxies", proxies)
                .set("rate_limits.enabled", true)
                .set("rate_limits.read_per_minute", 2)
                .set("rate_limits.write_per_minute", 2)
                .set("rate_limits.engagement_per_minute", 2)
                .set("rate_limits.buckets_max", u32::MAX)
        })
        .await;
    let cases: [(Method, &str, Option<&str>, u16); 6] = [
        (Method::GET, "/v1/blogs", Some("x"), 401),
        (Method::POST, "/v1/blogs", Some("x"), 401),
        (Method::POST, "/v1/blogs/1/views", Some("x"), 401),
        (Method::GET, "/v1/nothing", None, 404),
        (Method::PUT, "/v1/blogs", None, 405),
        (Method::POST, "/write", None, 403),
    ];
    for (index, (method, path, token, expected)) in cases.into_iter().enumerate() {
        let ask =
            async |address: &str| Answer::to(from(address, api.call(method.clone(), path, token))).await;
        let address = format!("192.0.2.{index}");
        for _ in 0..2 {
            ask(&address).await.refused(expected);
        }
        // For an unsupported method, the router adds the supported ones to every answer.
        let mut limited = ask(&address).await;
        limited.headers.remove("allow");
        assert_limited(limited);
        ask(&format!("198.51.100.{index}")).await.refused(expected);
    }
}
