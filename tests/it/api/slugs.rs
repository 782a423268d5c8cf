//! Readable addresses of blogs.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use tests::{Running, World};
use tokio::task::JoinSet;

use super::Answer;

fn slug(answer: &Answer) -> String {
    answer.body["slug"].as_str().unwrap().to_owned()
}

async fn write(api: &Running, token: &str, title: &str) -> Answer {
    let new = json!({"title": title, "body": "", "publish": true});
    api.post_json("/v1/blogs", Some(token), new).await.is(201)
}

async fn rename(api: &Running, token: &str, blog: i64, title: &str) -> String {
    slug(&api.patch(&format!("/v1/blogs/{blog}"), Some(token), json!({"title": title})).await.is(200))
}

async fn by_slug(api: &Running, slug: &str, token: Option<&str>) -> Answer {
    api.get(&format!("/v1/blogs/by-slug/{slug}"), token).await
}

#[tokio::test]
async fn a_title_becomes_an_address() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    for (title, expected) in [
        ("Hello, World!", Some("hello-world")),
        ("Ünïcödé & ß", Some("unicode-ss")),
        ("日本語", Some("ri-ben-yu")),
        ("Москва", Some("moskva")),
        ("10 things", Some("10-things")),
        ("../../etc/passwd?x=1#y", Some("etc-passwd-x-1-y")),
        ("!!!", None),
        ("—", None),
        ("\u{200c}", None),
    ] {
        let made = write(&api, &token, title).await;
        let expected = expected.map_or_else(|| format!("blog-{}", made.id()), str::to_owned);
        assert_eq!(slug(&made), expected, "{title:?}");
        assert_eq!(by_slug(&api, &expected, None).await.is(200).body["title"], title);
    }
    let long = write(&api, &token, &"word ".repeat(39)).await;
    assert!(slug(&long).len() <= 120 && slug(&long).ends_with("-word"), "{long:?}");
    by_slug(&api, &slug(&long), None).await.is(200);
    for nothing in ["hello-worl", "Hello-World", "hello_world", "%00", "%ff", "%2e%2e%2f", &"a".repeat(121)] {
        let answer = by_slug(&api, nothing, Some(&token)).await;
        let expected = if nothing == "%ff" { 400 } else { 404 };
        answer.refused(expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blogs_with_the_same_title_have_different_addresses() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let mut writing = JoinSet::new();
    for n in 0..12 {
        let new = json!({"title": "Same title", "body": n.to_string(), "publish": true});
        writing.spawn(Answer::to(api.call(Method::POST, "/v1/blogs", Some(&token)).json(&new)));
    }
    let made: Vec<Answer> = writing.join_all().await.into_iter().map(|answer| answer.is(201)).collect();
    let slugs: BTreeSet<String> = made.iter().map(slug).collect();
    assert_eq!(slugs.len(), 12);
    assert!(
        slugs.contains("same-title") && slugs.iter().all(|slug| slug.starts_with("same-title")),
        "{slugs:?}"
    );
    for blog in made {
        assert_eq!(by_slug(&api, &slug(&blog), None).await.is(200).id(), blog.id());
    }
}

/// Each blog releases an address and wants the one that the other releases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blogs_that_exchange_titles_do_not_deadlock() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    for n in 0..20 {
        let titles = [format!("This {n}"), format!("That {n}")];
        let this = write(&api, &token, &titles[0]).await.id();
        let that = write(&api, &token, &titles[1]).await.id();
        let slugs =
            tokio::join!(rename(&api, &token, this, &titles[1]), rename(&api, &token, that, &titles[0]));
        assert_eq!(slugs, (format!("that-{n}-{this}"), format!("this-{n}-{that}")));
    }
    assert_eq!(world.deadlocks().await, 0);
}

#[tokio::test]
async fn former_address_redirects_to_the_current_one() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let leads_to = async |slug: &str| {
        let answer = by_slug(&api, slug, None).await.is(308);
        answer.header("location").unwrap().to_owned()
    };
    let blog = write(&api, &token, "First title").await.id();
    assert_eq!(rename(&api, &token, blog, "Second title").await, "second-title");
    assert_eq!(rename(&api, &token, blog, "Third title").await, "third-title");
    for former in ["first-title", "second-title"] {
        assert_eq!(leads_to(former).await, "/v1/blogs/by-slug/third-title");
    }
    assert_eq!(api.get(&leads_to("first-title").await, None).await.is(200).id(), blog);

    // An address is never given to another blog.
    let other = write(&api, &token, "First title").await;
    assert_eq!(slug(&other), format!("first-title-{}", other.id()));
    assert_eq!(leads_to("first-title").await, "/v1/blogs/by-slug/third-title");

    // An old title gets its old address back, and a title in another case has the same address.
    assert_eq!(rename(&api, &token, blog, "first TITLE").await, "first-title");
    assert_eq!(rename(&api, &token, blog, "First Title!").await, "first-title");
    assert_eq!(by_slug(&api, "first-title", None).await.is(200).id(), blog);
    assert_eq!(leads_to("third-title").await, "/v1/blogs/by-slug/first-title");

    // A reader who may not see the blog does not learn its new address.
    api.post(&format!("/v1/blogs/{blog}/unpublish"), Some(&token)).await.is(200);
    by_slug(&api, "third-title", None).await.refused(404);
    by_slug(&api, "third-title", Some(&token)).await.is(308);
    api.delete(&format!("/v1/blogs/{blog}"), Some(&token)).await.is(204);
    for former in ["first-title", "second-title", "third-title"] {
        by_slug(&api, former, Some(&token)).await.refused(404);
    }
}

#[tokio::test]
async fn address_reveals_nothing_about_drafts_of_others() {
    let world = World::new().await;
    let api = world.api().await;
    let ((_, ada), (_, mallory)) = (api.account("ada").await, api.account("mallory").await);
    let draft = json!({"title": "Secret plan", "body": "", "publish": false});
    let draft = api.post_json("/v1/blogs", Some(&ada), draft).await.is(201);
    let id = draft.id();
    assert_eq!(slug(&draft), format!("draft-{id}"));
    assert_eq!(rename(&api, &ada, id, "Secret plan B").await, format!("draft-{id}"));

    // Other authors find the addresses of these titles free.
    assert_eq!(slug(&write(&api, &mallory, "Secret plan").await), "secret-plan");
    let other = write(&api, &mallory, "Secret plan B").await;
    assert_eq!(slug(&other), "secret-plan-b");
    by_slug(&api, &format!("draft-{id}"), Some(&mallory)).await.refused(404);
    by_slug(&api, &format!("draft-{id}"), Some(&ada)).await.is(200);

    // The published blog has the next best address for its title, and the draft's address redirects there.
    let published = api.post(&format!("/v1/blogs/{id}/publish"), Some(&ada)).await.is(200);
    assert_eq!(slug(&published), format!("secret-plan-b-{id}"));
    by_slug(&api, &format!("draft-{id}"), None).await.is(308);

    // The unpublished blog keeps the address that readers know, even when its title changes.
    api.post(&format!("/v1/blogs/{id}/unpublish"), Some(&ada)).await.is(200);
    assert_eq!(rename(&api, &ada, id, "Secret plan C").await, format!("secret-plan-b-{id}"));
    assert_eq!(slug(&write(&api, &mallory, "Secret plan C").await), "secret-plan-c");
    let again = api.post(&format!("/v1/blogs/{id}/publish"), Some(&ada)).await.is(200);
    assert_eq!(slug(&again), format!("secret-plan-c-{id}"));
    api.stop().await;
}
