//! Pages for other clients: what counts as a view, and which answers are not cached.

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tests::{Running, World};

use super::Answer;

const VIEWS: &str = "select coalesce(sum(total_views), 0)::bigint from blogs.blog_counter";

fn page(api: &Running, path: &str) -> RequestBuilder {
    api.request(Method::GET, path).header("accept", "text/html")
}

#[tokio::test(flavor = "multi_thread")]
async fn image_of_another_site_counts_no_view() {
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let (_, token) = api.account("ada").await;
    api.blog(&token, "Embedded").await;
    for (destination, site) in [("image", "cross-site"), ("iframe", "cross-site"), ("empty", "same-origin")] {
        let fetched = page(&api, "/b/embedded").header("user-agent", destination);
        let fetched = fetched.header("sec-fetch-dest", destination).header("sec-fetch-site", site);
        Answer::to(fetched).await.is(200);
    }
    let shown = page(&api, "/b/embedded").header("user-agent", "shown").header("sec-fetch-dest", "document");
    Answer::to(shown).await.is(200);
    let old = page(&api, "/b/embedded").header("user-agent", "says nothing");
    Answer::to(old).await.is(200);
    world.until(VIEWS, 2_i64).await;
    // The API stops before the worker, so that every published event is in the queue or counted.
    api.stop().await;
    worker.stop().await;
    assert_eq!(world.value::<i64>(VIEWS, &[]).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_an_account_are_not_cached() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("pages.secure_cookies", true)).await;
    let (_, token) = api.account("ada").await;
    api.blog(&token, "For all").await;
    let draft = json!({"title": "Mine", "body": "", "publish": false});
    let draft = api.post_json("/v1/blogs", Some(&token), draft).await.is(201);
    let draft = format!("/b/{}", draft.body["slug"].as_str().unwrap());
    let cookie = format!("__Host-session={token}");
    for path in ["/", "/inbox", "/mine", "/write", "/b/for-all", &draft, "/a/ada", "/b/not-there"] {
        let answer = Answer::to(page(&api, path).header("cookie", &cookie)).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}: {}", answer.status);
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=63072000"), "{path}");
    }
    for path in ["/sign-in", "/sign-up"] {
        let answer = Answer::to(page(&api, path)).await.is(200);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
    let public = Answer::to(page(&api, "/b/for-all")).await.is(200);
    assert_eq!(public.header("cache-control"), Some("private, no-cache"));
    api.stop().await;

    // Without TLS the answer must not tell browsers to come back by TLS.
    let plain = world.api().await;
    assert_eq!(Answer::to(page(&plain, "/")).await.is(200).header("strict-transport-security"), None);
    plain.stop().await;
}

#[tokio::test]
async fn write_path_header_is_refused_from_proxies_and_other_networks() {
    let world = World::new().await;
    let (here, elsewhere) = (
        world.api().await,
        world.api_with(|loader| loader.set("engagement.write_path_header_from", vec!["192.0.2.0/24"])).await,
    );
    let (_, token) = here.account("ada").await;
    let blog = here.blog(&token, "Counted").await;
    let share = |api: &Running| {
        let request = api.request(Method::POST, &format!("/v1/blogs/{blog}/shares"));
        request.header("x-write-path", "direct").json(&json!({"channel": "link"}))
    };
    Answer::to(share(&here)).await.is(200);
    Answer::to(share(&here).header("x-forwarded-for", "127.0.0.1")).await.is(202);
    Answer::to(share(&elsewhere)).await.is(202);
    Answer::to(share(&elsewhere).header("x-forwarded-for", "192.0.2.1")).await.is(202);
    for api in [here, elsewhere] {
        api.stop().await;
    }
}

#[tokio::test]
async fn service_on_a_loopback_address_refuses_names_of_other_sites() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("requests.host_names", vec!["blogs.example"])).await;
    let port = api.address.port();
    for path in ["/v1/blogs", "/", "/metrics", "/healthz"] {
        for evil in ["evil.example".to_owned(), format!("evil.example:{port}")] {
            let rebound = api.request(Method::GET, path).header("host", evil);
            Answer::to(rebound).await.refused(403);
        }
        for good in [format!("localhost:{port}"), format!("[::1]:{port}"), "blogs.example".to_owned()] {
            let answer = Answer::to(api.request(Method::GET, path).header("host", &good)).await;
            assert_eq!(answer.status, 200, "{path} of {good}");
        }
    }
    api.stop().await;
}
