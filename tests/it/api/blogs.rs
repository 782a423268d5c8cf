//! The life cycle of a blog: its visibility, the right to change it, and the protection against lost updates.

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Running, World};
use tokio::task::JoinSet;

use super::Answer;

fn at(blog: i64) -> String {
    format!("/v1/blogs/{blog}")
}

/// A request with one header.
async fn with(
    api: &Running,
    method: Method,
    blog: i64,
    token: &str,
    header: (&str, &str),
    body: Value,
) -> Answer {
    let request = api.call(method, &at(blog), Some(token)).header(header.0, header.1);
    Answer::to(if body.is_null() { request } else { request.json(&body) }).await
}

#[tokio::test]
async fn blog_goes_from_draft_to_deleted() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    let (_, reader) = api.account("grace").await;
    let new = json!({"title": "  Engines  ", "body": "# Of *engines*\r\n\u{202e}🚂", "tags": ["Steam", "b"]});
    let made = api.post_json("/v1/blogs", Some(&token), new).await.is(201);
    let id = made.id();
    assert_eq!(made.header("location"), Some(at(id).as_str()));
    assert_eq!(made.body["title"], "Engines");
    assert_eq!(made.body["body"], "# Of *engines*\r\n\u{202e}🚂", "Markdown is kept as it was sent");
    assert_eq!(made.body["tags"], json!(["b", "steam"]));
    assert_eq!(made.body["author"], json!({"id": ada, "handle": "ada"}));
    assert_eq!(made.body["published_at"], Value::Null);
    assert_eq!(made.totals(), [0, 0, 0]);

    let seen_by = async |token: Option<&str>| {
        let by_id = api.get(&at(id), token).await;
        let slug = by_id.body["slug"].as_str().unwrap_or("engines");
        let by_slug = api.get(&format!("/v1/blogs/by-slug/{slug}"), token).await;
        assert_eq!((by_id.status, &by_id.body), (by_slug.status, &by_slug.body));
        if by_id.status == 404 { by_id.refused(404).status } else { by_id.status }
    };
    let listed =
        async || api.get("/v1/blogs", Some(&token)).await.is(200).body["items"].as_array().unwrap().len();
    assert_eq!(
        (seen_by(None).await, seen_by(Some(&reader)).await, seen_by(Some(&token)).await),
        (404, 404, 200)
    );
    assert_eq!(listed().await, 0, "a draft is in no list, its author's neither");
    let of_author = api.get(&at(id), Some(&token)).await;
    assert_eq!(of_author.body, made.body);
    assert_eq!(of_author.header("cache-control"), Some("private, no-store"));

    let published = api.post(&format!("{}/publish", at(id)), Some(&token)).await.is(200);
    assert!(published.time("published_at") >= published.time("created_at"), "{published:?}");
    assert_ne!(published.header("etag"), made.header("etag"));
    assert_eq!((seen_by(None).await, seen_by(Some(&reader)).await, listed().await), (200, 200, 1));
    let again = api.post(&format!("{}/publish", at(id)), Some(&token)).await.is(200);
    assert_eq!((&again.body, again.header("etag")), (&published.body, published.header("etag")));

    let unpublished = api.post(&format!("{}/unpublish", at(id)), Some(&token)).await.is(200);
    assert_eq!(unpublished.body["published_at"], Value::Null);
    assert_eq!((seen_by(None).await, seen_by(Some(&token)).await, listed().await), (404, 200, 0));
    api.post(&format!("{}/unpublish", at(id)), Some(&token)).await.is(200);

    api.delete(&at(id), Some(&token)).await.is(204);
    assert_eq!((seen_by(None).await, seen_by(Some(&token)).await), (404, 404));
    api.delete(&at(id), Some(&token)).await.refused(404);
    api.patch(&at(id), Some(&token), json!({"title": "Back"})).await.refused(404);
    for action in ["publish", "unpublish"] {
        api.post(&format!("{}/{action}", at(id)), Some(&token)).await.refused(404);
    }
    assert_eq!(world.value::<i64>("select count(*) from blogs.blog", &[]).await, 1, "the row stays");
}

#[tokio::test]
async fn blogs_of_other_authors_cannot_be_changed() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let (_, other) = api.account("grace").await;
    let live = api.blog(&token, "Live").await;
    let draft = api.draft(&token, "Draft").await;
    let (live_before, draft_before) =
        (api.get(&at(live), None).await, api.get(&at(draft), Some(&token)).await);
    let change = json!({"title": "Mine now", "body": "", "tags": []});
    for (blog, by_other) in
        [(live, 403), (draft, 404), (draft + 1, 404), (0, 404), (-1, 404), (i64::MAX, 404)]
    {
        for (token, expected) in [(None, 401), (Some(other.as_str()), by_other)] {
            api.patch(&at(blog), token, change.clone()).await.refused(expected);
            api.delete(&at(blog), token).await.refused(expected);
            for action in ["publish", "unpublish"] {
                api.post(&format!("{}/{action}", at(blog)), token).await.refused(expected);
            }
        }
    }
    // A conditional request without permission reveals nothing either.
    with(&api, Method::PATCH, live, &other, ("If-Match", "\"v99\""), change).await.refused(403);
    assert_eq!(api.get(&at(live), None).await.body, live_before.body);
    assert_eq!(api.get(&at(draft), Some(&token)).await.body, draft_before.body);
    api.post_json("/v1/blogs", None, json!({"title": "Whose?", "body": ""})).await.refused(401);
}

#[tokio::test]
async fn invalid_fields_of_a_blog_are_named() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let draft = api.draft(&token, "Untouched").await;
    let eleven: Vec<String> = (0..11).map(|n| format!("tag{n}")).collect();
    let wrong = [
        (json!({"title": ""}), vec!["title"]),
        (json!({"title": "   "}), vec!["title"]),
        (json!({"title": "é".repeat(201)}), vec!["title"]),
        (json!({"title": "two\nlines"}), vec!["title"]),
        (json!({"title": "a\0b"}), vec!["title"]),
        (json!({"title": 7}), vec!["title"]),
        (json!({"body": "a\0b"}), vec!["body"]),
        (json!({"body": "x".repeat(262_145)}), vec!["body"]),
        (json!({"body": {"text": "x"}}), vec!["body"]),
        (json!({"tags": "one"}), vec!["tags"]),
        (json!({"tags": ["fine", 7]}), vec!["tags[1]"]),
        (json!({"tags": ["fine", "!!!", "x".repeat(41)]}), vec!["tags[1]", "tags[2]"]),
        (json!({"tags": eleven}), vec!["tags"]),
        (json!({"title": "", "body": "\0", "tags": [""]}), vec!["title", "body", "tags[0]"]),
        (json!({"titel": "x"}), vec!["titel"]),
    ];
    for (fields, named) in wrong {
        let mut new = json!({"title": "Good", "body": "Good", "tags": []});
        new.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        api.post_json("/v1/blogs", Some(&token), new).await.names(422, &named);
        api.patch(&at(draft), Some(&token), fields).await.names(422, &named);
    }
    api.patch(&at(draft), Some(&token), json!({})).await.refused(422);
    for missing in ["title", "body"] {
        let mut new = json!({"title": "Good", "body": "Good"});
        new.as_object_mut().unwrap().remove(missing);
        let answer = api.post_json("/v1/blogs", Some(&token), new).await.refused(422);
        assert!(answer.detail().contains(missing), "{answer:?}");
    }
    let untouched = "select count(*) from blogs.blog where version = 1 and title = 'Untouched'";
    assert_eq!(world.value::<i64>(untouched, &[]).await, 1);
    assert_eq!(world.value::<i64>("select count(*) from blogs.blog", &[]).await, 1);

    let tags: Vec<String> = (0..10).map(|n| format!("{}{n}", "x".repeat(39))).collect();
    // The longest blog that is allowed; JSON escapes every character of the body, which doubles its bytes.
    let longest = json!({"title": "🚂".repeat(200), "body": "\"".repeat(262_144), "tags": tags});
    let made = api.post_json("/v1/blogs", Some(&token), longest.clone()).await.is(201);
    for field in ["title", "body", "tags"] {
        assert_eq!(made.body[field], longest[field], "{field}");
    }
}

#[tokio::test]
async fn edit_changes_only_the_fields_that_are_sent() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "First").await;
    let before = api.get(&at(blog), None).await.body;
    let mut expected = before.clone();
    for (change, field) in [
        (json!({"body": "Second text"}), "body"),
        (json!({"tags": ["One", "two", "ONE"]}), "tags"),
        (json!({"tags": []}), "tags"),
    ] {
        let changed = api.patch(&at(blog), Some(&token), change.clone()).await.is(200);
        let before: Timestamp = expected["updated_at"].as_str().unwrap().parse().unwrap();
        assert!(changed.time("updated_at") > before, "{changed:?}");
        let changed = changed.body;
        expected[field] =
            if change["tags"][0].is_string() { json!(["one", "two"]) } else { change[field].clone() };
        expected["version"] = json!(expected["version"].as_i64().unwrap() + 1);
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected);
        assert_eq!(api.get(&at(blog), None).await.body, expected);
    }
}

#[tokio::test]
async fn unchanged_blog_is_answered_with_304() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Versions").await;
    let first = api.get(&at(blog), None).await.is(200);
    let etag = first.header("etag").unwrap().to_owned();
    let ask =
        async |etag: &str| with(&api, Method::GET, blog, &token, ("If-None-Match", etag), Value::Null).await;
    for known in [etag.clone(), format!("\"other\", {etag}"), "*".to_owned(), etag.replace("W/", "")] {
        let answer = ask(&known).await.is(304);
        assert_eq!((&answer.body, answer.header("etag")), (&Value::Null, Some(etag.as_str())), "{known}");
    }
    let by_slug = api.request(Method::GET, "/v1/blogs/by-slug/versions").header("If-None-Match", &etag);
    Answer::to(by_slug).await.is(304);
    ask("\"other\"").await.is(200);
    ask("not a tag").await.names(400, &["if-none-match"]);

    // Counters are not part of the content, so a view does not change the ETag.
    assert_eq!(api.view(blog, "reader").await.is(200).totals(), [1, 0, 0]);
    assert_eq!(ask(&etag).await.is(304).header("etag"), Some(etag.as_str()));
    let seen = api.get(&at(blog), None).await.is(200);
    assert_eq!((seen.totals(), seen.header("etag")), ([1, 0, 0], Some(etag.as_str())));

    api.patch(&at(blog), Some(&token), json!({"body": "Changed"})).await.is(200);
    let changed = ask(&etag).await.is(200);
    assert_eq!(changed.body["body"], "Changed");
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edit_of_an_older_version_is_refused() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Guarded").await;
    let stale = api.get(&at(blog), None).await.header("etag").unwrap().to_owned();
    let edit = async |etag: &str, body: &str| {
        with(&api, Method::PATCH, blog, &token, ("If-Match", etag), json!({"body": body})).await
    };
    // A view does not change the version.
    api.view(blog, "reader").await.is(200);
    let fresh = edit(&stale, "Second").await.is(200).header("etag").unwrap().to_owned();
    assert_ne!(fresh, stale);
    edit(&stale, "Lost").await.refused(412);
    edit("\"never ours\"", "Lost").await.refused(412);
    edit("garbage", "Lost").await.names(400, &["if-match"]);
    with(&api, Method::DELETE, blog, &token, ("If-Match", &stale), Value::Null).await.refused(412);
    assert_eq!(api.get(&at(blog), None).await.is(200).body["body"], "Second");
    edit("*", "Third").await.is(200);
    let fresh =
        edit(&format!("{stale}, W/\"v3\""), "Fourth").await.is(200).header("etag").unwrap().to_owned();

    let mut edits = JoinSet::new();
    for n in 0..10 {
        let body = json!({"body": format!("Edit {n}")});
        let edit = api.call(Method::PATCH, &at(blog), Some(&token)).header("If-Match", &fresh).json(&body);
        edits.spawn(Answer::to(edit));
    }
    let (won, lost): (Vec<Answer>, Vec<Answer>) =
        edits.join_all().await.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1, "{won:?}");
    lost.into_iter().for_each(|answer| drop(answer.refused(412)));
    let last = api.get(&at(blog), None).await.is(200);
    assert_eq!(last.body["body"], won[0].body["body"]);
    with(&api, Method::DELETE, blog, &token, ("If-Match", last.header("etag").unwrap()), Value::Null)
        .await
        .is(204);
}
