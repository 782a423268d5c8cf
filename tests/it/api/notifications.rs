//! The endpoints of the inbox and of the progress of a fan-out.

use jiff::Timestamp;
use serde_json::{Value, json};
use tests::{Running, World};

const DONE: &str = "select count(*) from notify.fan_out where state = 'done'";

fn blogs(inbox: &Value) -> Vec<i64> {
    inbox["items"].as_array().unwrap().iter().map(|item| item["blog_id"].as_i64().unwrap()).collect()
}

/// An author with a number of blogs, and a reader with a notification of each.
async fn told(world: &World, api: &Running, count: usize) -> (String, Vec<i64>, String) {
    let notifier = world.notifier().await;
    let (ada, of_ada) = api.account("ada").await;
    let (_, of_grace) = api.account("grace").await;
    api.follow(ada, &of_grace).await.is(204);
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(api.blog(&of_ada, &format!("Blog {n}")).await);
    }
    world.until(DONE, i64::try_from(count).unwrap()).await;
    notifier.stop().await;
    (of_ada, ids, of_grace)
}

#[tokio::test]
async fn inbox_is_paged_newest_first_with_current_blogs() {
    let world = World::new().await;
    let api = world.api().await;
    let (of_ada, mut expected, of_grace) = told(&world, &api, 7).await;
    expected.reverse();
    for limit in [1, 3, 6, 7, 100] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.inbox(&of_grace, &format!("limit={limit}{cursor}")).await;
            assert_eq!(page["unread"], 7, "{page}");
            found.extend(blogs(&page));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "{limit}");
    }
    let newest = expected[0];
    let path = format!("/v1/blogs/{newest}");
    let renamed = api.patch(&path, Some(&of_ada), json!({"title": "By another name"})).await.is(200);
    let item = api.inbox(&of_grace, "limit=1").await["items"][0].clone();
    assert_eq!((&item["title"], &item["slug"]), (&json!("By another name"), &json!("by-another-name")));
    assert_eq!(item["author"], renamed.body["author"]);
    assert_eq!(item["published_at"], renamed.body["published_at"]);
    assert_eq!(item["read_at"], Value::Null);
    // The author is not notified, and only the reader sees the inbox.
    assert_eq!(blogs(&api.inbox(&of_ada, "").await), Vec::<i64>::new());
    api.get("/v1/notifications", None).await.refused(401);
    for (query, field) in [("limit=0", "limit"), ("cursor=x", "cursor"), ("cursor=AgAAAAAAAAAH", "cursor")] {
        api.get(&format!("/v1/notifications?{query}"), Some(&of_grace)).await.names(400, &[field]);
    }
}

#[tokio::test]
async fn notifications_are_marked_as_read_singly_or_all_together() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, ids, token) = told(&world, &api, 5).await;
    api.read(&token, json!({"blog_ids": [ids[0]]})).await.is(204);
    let inbox = api.inbox(&token, "").await;
    assert_eq!(inbox["unread"], 4, "{inbox}");
    let read_at =
        |inbox: &Value| inbox["items"][4]["read_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let first = read_at(&inbox);
    // The second request repeats an id, adds another, and names a blog that does not exist.
    api.read(&token, json!({"blog_ids": [ids[3], 999_999, ids[0]]})).await.is(204);
    let inbox = api.inbox(&token, "").await;
    assert_eq!((&inbox["unread"], read_at(&inbox)), (&json!(3), first), "{inbox}");
    for _ in 0..2 {
        api.read(&token, json!({"all": true})).await.is(204);
        assert_eq!(api.inbox(&token, "").await["unread"], 0);
    }
    assert_eq!(read_at(&api.inbox(&token, "").await), first, "read once");
    let many: Vec<i64> = (0..1001).collect();
    for (body, field) in [
        (json!({}), "blog_ids"),
        (json!({"all": false}), "blog_ids"),
        (json!({"all": true, "blog_ids": []}), "all"),
        (json!({"blog_ids": many}), "blog_ids"),
        (json!({"blog_ids": ["one"]}), "blog_ids[0]"),
        (json!({"everything": true}), "everything"),
    ] {
        api.read(&token, body).await.names(422, &[field]);
    }
    world.assert_consistent().await;
}

#[tokio::test]
async fn marking_all_as_read_covers_more_than_one_statement() {
    let world = World::new().await;
    let api = world.api().await;
    let (grace, token) = api.account("grace").await;
    let ids = world.blogs(2500).await;
    world.run("select notify.create_day((now() at time zone 'utc')::date)").await;
    let insert = "insert into notify.notification (recipient_id, published_at, blog_id)
                  select $1, b.first_published_at, b.id from blogs.blog b";
    // Makes the partition for the day on which the blogs were published.
    let day = "select notify.create_day((min(first_published_at) at time zone 'utc')::date) from blogs.blog";
    assert_eq!(world.value::<String>(day, &[]).await, "there");
    assert_eq!(world.client().execute(insert, &[&grace]).await.unwrap(), u64::try_from(ids.len()).unwrap());
    assert_eq!(api.inbox(&token, "limit=1").await["unread"], 1000, "counted up to a thousand");
    api.read(&token, json!({"all": true})).await.is(204);
    assert_eq!(
        world.value::<i64>("select count(*) from notify.notification where read_at is null", &[]).await,
        0
    );
    assert_eq!(api.inbox(&token, "limit=1").await["unread"], 0);
}

#[tokio::test]
async fn notifications_of_hidden_blogs_are_neither_shown_nor_counted() {
    let world = World::new().await;
    let api = world.api().await;
    let (of_ada, ids, token) = told(&world, &api, 3).await;
    api.post(&format!("/v1/blogs/{}/unpublish", ids[2]), Some(&of_ada)).await.is(200);
    api.delete(&format!("/v1/blogs/{}", ids[1]), Some(&of_ada)).await.is(204);
    let inbox = api.inbox(&token, "limit=1").await;
    assert_eq!(
        (blogs(&inbox), &inbox["unread"], &inbox["next_cursor"]),
        (vec![ids[0]], &json!(1), &Value::Null)
    );
    // Published again, it keeps its place, which depends on the first publication.
    api.post(&format!("/v1/blogs/{}/publish", ids[2]), Some(&of_ada)).await.is(200);
    assert_eq!(blogs(&api.inbox(&token, "").await), [ids[2], ids[0]]);
}

#[tokio::test]
async fn fan_out_progress_is_visible_to_the_author_only() {
    let world = World::new().await;
    let api = world.api().await;
    let (of_ada, ids, of_grace) = told(&world, &api, 1).await;
    let path = format!("/v1/blogs/{}/fan-out", ids[0]);
    let progress = api.get(&path, Some(&of_ada)).await.is(200);
    for (field, expected) in [
        ("state", json!("done")),
        ("total", json!(1)),
        ("done", json!(1)),
        ("notified", json!(1)),
        ("seconds_left", Value::Null),
    ] {
        assert_eq!(progress.body[field], expected, "{field}: {progress:?}");
    }
    assert!(progress.time("begun_at") <= progress.time("ended_at"));
    api.get(&path, None).await.refused(401);
    api.get(&path, Some(&of_grace)).await.refused(403);
    let draft = api.draft(&of_ada, "A draft").await;
    let of_draft = format!("/v1/blogs/{draft}/fan-out");
    assert!(api.get(&of_draft, Some(&of_ada)).await.refused(404).detail().contains("notified"));
    // Only the author learns whether there is such a draft.
    let foreign = api.get(&of_draft, Some(&of_grace)).await.refused(404);
    let none = api.get("/v1/blogs/999999/fan-out", Some(&of_grace)).await.refused(404);
    assert_eq!(foreign.body, none.body);

    // A fan-out in progress, like the worker's.
    world
        .run("update notify.fan_out set state = 'running', total = 10, looked_at = 4, rows_per_s = 3, ended_at = null")
        .await;
    let progress = api.get(&path, Some(&of_ada)).await.is(200).body;
    assert_eq!((&progress["done"], &progress["seconds_left"]), (&json!(4), &json!(2.0)), "{progress}");
    world.run("update notify.fan_out set state = 'paused'").await;
    assert_eq!(api.get(&path, Some(&of_ada)).await.is(200).body["seconds_left"], Value::Null);
}
