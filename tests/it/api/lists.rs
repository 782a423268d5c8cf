//! Lists of blogs: keyset pages, filters, and invalid parameters.

use serde_json::{Value, json};
use tests::{Running, World};

use super::Answer;

fn ids(page: &Answer) -> Vec<i64> {
    page.body["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
}

fn next(page: &Answer) -> Option<String> {
    page.body["next_cursor"].as_str().map(str::to_owned)
}

async fn page(api: &Running, query: &str, cursor: Option<&str>) -> Answer {
    let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    api.get(&format!("/v1/blogs?{query}{cursor}"), None).await.is(200)
}

/// Every id of a list, page by page.
async fn all(api: &Running, query: &str) -> Vec<i64> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = page(api, query, cursor.as_deref()).await;
        found.extend(ids(&page));
        cursor = next(&page);
        if cursor.is_none() {
            return found;
        }
    }
}

#[tokio::test]
async fn pages_are_complete_while_blogs_are_published_and_deleted() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let mut expected = Vec::new();
    for n in 0..20 {
        expected.push(api.blog(&token, &format!("Blog {n}")).await);
    }
    expected.reverse();
    let (deleted, unpublished) = (expected.remove(10), expected.remove(15));
    let mut found = Vec::new();
    let mut cursor = None;
    for turn in 0.. {
        let page = page(&api, "limit=3&tag=testing", cursor.as_deref()).await;
        found.extend(ids(&page));
        cursor = next(&page);
        if cursor.is_none() {
            break;
        }
        // New blogs are newer than everything that remains to be shown.
        api.blog(&token, &format!("Newcomer {turn}")).await;
        if turn == 1 {
            api.delete(&format!("/v1/blogs/{deleted}"), Some(&token)).await.is(204);
            api.post(&format!("/v1/blogs/{unpublished}/unpublish"), Some(&token)).await.is(200);
        }
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn blogs_with_equal_times_are_paged_by_id() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let mut blogs = Vec::new();
    for n in 0..9 {
        blogs.push(api.blog(&token, &format!("Blog {n}")).await);
    }
    // Three moments, a microsecond apart, of three blogs each.
    world
        .run(
            "update blogs.blog set published_at =
             timestamptz '2026-01-01 00:00:00.123456Z' + id % 3 * interval '1 microsecond'",
        )
        .await;
    blogs.sort_unstable_by_key(|id| (id % 3, *id));
    blogs.reverse();
    for query in ["limit=1", "limit=2&author=ada", "limit=4&tag=testing", "limit=2&author=ada&tag=testing"] {
        assert_eq!(all(&api, query).await, blogs, "{query}");
    }
}

#[tokio::test]
async fn a_list_is_complete_at_every_page_size() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    let mut blogs = Vec::new();
    for n in 0..7 {
        blogs.push(api.blog(&token, &format!("Blog {n}")).await);
    }
    blogs.reverse();
    for limit in [1, 2, 6, 7, 8, 100] {
        for filter in [
            String::new(),
            "&tag=testing".to_owned(),
            format!("&author={ada}"),
            "&author=ada&tag=testing".to_owned(),
        ] {
            assert_eq!(all(&api, &format!("limit={limit}{filter}")).await, blogs, "{limit}{filter}");
        }
    }
    // A full last page is marked as the last.
    assert_eq!(next(&page(&api, "limit=7", None).await), None);
    assert!(next(&page(&api, "limit=6", None).await).is_some());
    let first = page(&api, "limit=1&sort=newest", None).await;
    let blog = api.get(&format!("/v1/blogs/{}", blogs[0]), None).await.is(200);
    let mut summary = blog.body;
    assert!(summary.as_object_mut().unwrap().remove("body").is_some());
    assert_eq!(first.body["items"], json!([summary]), "a list shows everything but the body");
}

#[tokio::test]
async fn page_without_a_limit_has_twenty_blogs() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    for n in 0..21 {
        api.blog(&token, &format!("Blog {n}")).await;
    }
    let first = api.get("/v1/blogs", None).await.is(200);
    assert_eq!(ids(&first).len(), 20);
    assert_eq!(ids(&page(&api, "", next(&first).as_deref()).await).len(), 1);
}

#[tokio::test]
async fn filters_apply_and_an_empty_result_is_not_an_error() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, of_ada) = api.account("ada").await;
    let (_, of_grace) = api.account("grace").await;
    let write = async |token: &str, title: &str, tags: Value| {
        let new = json!({"title": title, "body": "", "tags": tags, "publish": true});
        api.post_json("/v1/blogs", Some(token), new).await.is(201).id()
    };
    let first = write(&of_ada, "One", json!(["Rust & C", "shared"])).await;
    let second = write(&of_ada, "Two", json!(["shared"])).await;
    let third = write(&of_grace, "Three", json!(["Shared!", "Ünï"])).await;
    for (query, expected) in [
        ("tag=rust-c".to_owned(), vec![first]),
        ("tag=Rust%20%26%20C".to_owned(), vec![first]),
        ("tag=SHARED".to_owned(), vec![third, second, first]),
        ("tag=%C3%9Cn%C3%AF".to_owned(), vec![third]),
        ("author=ada".to_owned(), vec![second, first]),
        (format!("author={ada}"), vec![second, first]),
        ("author=grace&tag=shared".to_owned(), vec![third]),
        ("author=grace&tag=rust-c".to_owned(), vec![]),
        ("author=stranger".to_owned(), vec![]),
        ("author=9223372036854775807".to_owned(), vec![]),
        ("tag=unheard-of".to_owned(), vec![]),
    ] {
        assert_eq!(all(&api, &query).await, expected, "{query}");
    }
    // A removed tag no longer finds the blog.
    api.patch(&format!("/v1/blogs/{third}"), Some(&of_grace), json!({"tags": ["alone"]})).await.is(200);
    assert_eq!(all(&api, "tag=shared").await, [second, first]);
    assert_eq!(all(&api, "tag=alone").await, [third]);
}

#[tokio::test]
async fn invalid_query_parameter_is_named() {
    let world = World::new().await;
    let api = world.api().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("limit=1e1", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("cursor=", "cursor"),
        ("cursor=garbage", "cursor"),
        ("cursor=AQAAAAAAAAAAAAAAAAAAAAA%3D", "cursor"),
        ("cursor=AgAAAAAAAAAAAAAAAAAAAAA", "cursor"),
        ("cursor=AX__________f_________8", "cursor"),
        // A time before 1970, and a time before the earliest that the database can store.
        ("cursor=Af__________AAAAAAAAAAE", "cursor"),
        ("cursor=AfvWL5bnYgAAAAAAAAAAAAA", "cursor"),
        ("sort=popular", "sort"),
        ("sort=trending&cursor=AQAAAAAAAAAAAAAAAAAAAAA", "cursor"),
        ("sort=oldest", "sort"),
        ("sort=", "sort"),
        ("author=Not%20A%20Handle", "author"),
        ("author=", "author"),
        ("author=%00", "author"),
        ("tag=!!!", "tag"),
        ("tag=%00", "tag"),
    ] {
        api.get(&format!("/v1/blogs?{query}"), None).await.names(400, &[field]);
    }
    for (query, word) in [("page=2", "page"), ("limit=1&limit=2", "limit")] {
        let answer = api.get(&format!("/v1/blogs?{query}"), None).await.refused(400);
        assert!(answer.detail().contains(word), "{answer:?}");
    }
}
