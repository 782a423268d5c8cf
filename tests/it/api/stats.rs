//! The series of a blog: without gaps, exact, and in one snapshot with its totals.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Running, World};

use super::{Answer, tokens, totals};

/// Makes a blog with events on three days of 2020 and two events of now; returns its author's token and its id.
async fn blog_with_a_past(api: &Running) -> (String, i64) {
    let (ada, session) = api.account("ada").await;
    let blog = api.blog(&session, "Charted").await;
    let event = |kind: &str, time: &str, more: Value| {
        let mut event = json!({"type": kind, "blog_id": blog, "occurred_at": time});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let view = |visitor: &str, time: &str| event("blog.viewed", time, json!({"visitor": visitor}));
    let share = |time: &str| event("blog.shared", time, json!({"channel": "link"}));
    let events = json!([
        view("a", "2020-05-01T09:59:59.999Z"),
        view("a", "2020-05-01T10:00:00Z"),
        view("b", "2020-05-01T10:30:00Z"),
        event("blog.liked", "2020-05-01T10:45:00Z", json!({})),
        event("blog.unliked", "2020-05-01T12:00:00Z", json!({})),
        share("2020-05-01T12:59:59Z"),
        view("a", "2020-05-01T23:59:59Z"),
        view("a", "2020-05-02T00:00:00Z"),
        share("2020-05-04T00:00:00Z"),
    ]);
    let batch = api.call(Method::POST, "/v1/engagement", Some(&tokens::issue_import(ada)));
    let answer = Answer::to(batch.header("X-Write-Path", "direct").json(&events)).await.is(200);
    assert_eq!(answer.body, json!({"accepted": 9, "counted": 9, "repeat": 0, "rejected": []}));
    api.view(blog, "now").await.is(200);
    let like = api.call(Method::PUT, &format!("/v1/blogs/{blog}/like"), Some(&session));
    Answer::to(like.header("X-Write-Path", "direct")).await.is(200);
    (session, blog)
}

async fn ask(api: &Running, blog: i64, query: &str) -> Answer {
    api.get(&format!("/v1/blogs/{blog}/stats?{query}"), None).await
}

/// Each bucket as `time views likes unlikes shares`.
fn series(answer: &Answer) -> Vec<String> {
    let bucket = |bucket: &Value| {
        let sums = ["views", "likes", "unlikes", "shares"].map(|name| bucket[name].to_string()).join(" ");
        format!("{} {sums}", bucket["at"].as_str().unwrap())
    };
    answer.body["series"].as_array().unwrap().iter().map(bucket).collect()
}

#[tokio::test]
async fn every_hour_and_every_day_has_a_bucket() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, blog) = blog_with_a_past(&api).await;
    let hours = "interval=hour&from=2020-05-01T08:20:00Z&to=2020-05-01T12:00:00.000001Z";
    let by_hour = ask(&api, blog, hours).await.is(200);
    let expected = [
        "2020-05-01T08:00:00Z 0 0 0 0",
        "2020-05-01T09:00:00Z 1 0 0 0",
        "2020-05-01T10:00:00Z 2 1 0 0",
        "2020-05-01T11:00:00Z 0 0 0 0",
        "2020-05-01T12:00:00Z 0 0 1 1",
    ];
    assert_eq!(series(&by_hour), expected);
    assert_eq!(by_hour.body["from"], "2020-05-01T08:00:00Z");
    assert_eq!(by_hour.body["to"], "2020-05-01T13:00:00Z");
    assert_eq!(by_hour.body["in_range"], json!({"views": 3, "likes": 1, "unlikes": 1, "shares": 1}));

    let by_day = ask(&api, blog, "interval=day&from=2020-04-30&to=2020-05-05").await.is(200);
    let expected = [
        "2020-04-30T00:00:00Z 0 0 0 0",
        "2020-05-01T00:00:00Z 4 1 1 1",
        "2020-05-02T00:00:00Z 1 0 0 0",
        "2020-05-03T00:00:00Z 0 0 0 0",
        "2020-05-04T00:00:00Z 0 0 0 1",
    ];
    assert_eq!(series(&by_day), expected);
    assert_eq!(by_day.body["in_range"], json!({"views": 5, "likes": 1, "unlikes": 1, "shares": 2}));

    // The totals cover all time, like the blog's. The end of a range is not part of it.
    for answer in [&by_hour, &by_day] {
        assert_eq!(totals(&answer.body["totals"]), [6, 1, 2]);
        let age = Timestamp::now().duration_since(answer.time("as_of"));
        assert!(age.abs() < SignedDuration::from_mins(5), "{age}");
    }
    assert_eq!(api.totals(blog).await, [6, 1, 2]);
    let before = ask(&api, blog, "interval=day&from=2020-05-03&to=2020-05-04").await.is(200);
    assert_eq!(series(&before), ["2020-05-03T00:00:00Z 0 0 0 0"]);
    // A day is a UTC day, whatever offset the request uses.
    let elsewhere = ask(&api, blog, "from=2020-05-01T02:00:00%2B02:00&to=2020-05-01T19:00:00-05:00").await;
    assert_eq!(series(&elsewhere.is(200)), ["2020-05-01T00:00:00Z 4 1 1 1"]);
    world.assert_consistent().await;
}

#[tokio::test]
async fn stats_without_a_range_cover_the_last_seven_days() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, blog) = blog_with_a_past(&api).await;
    for (query, buckets) in [("", 7), ("interval=day", 7), ("interval=hour", 168)] {
        let asked = Timestamp::now();
        let answer = ask(&api, blog, query).await.is(200);
        assert_eq!(series(&answer).len(), buckets, "{query}");
        assert_eq!(answer.body["in_range"], json!({"views": 1, "likes": 1, "unlikes": 0, "shares": 0}));
        assert!(answer.time("from") < asked && answer.time("to") > asked, "{answer:?}");
    }
}

#[tokio::test]
async fn stats_are_visible_to_readers_of_the_blog() {
    let world = World::new().await;
    let api = world.api().await;
    let (token, blog) = blog_with_a_past(&api).await;
    let (_, other) = api.account("grace").await;
    let path = format!("/v1/blogs/{blog}/stats");
    for caller in [None, Some(&other), Some(&token)] {
        api.get(&path, caller.map(String::as_str)).await.is(200);
    }
    api.post(&format!("/v1/blogs/{blog}/unpublish"), Some(&token)).await.is(200);
    api.get(&path, None).await.refused(404);
    api.get(&path, Some(&other)).await.refused(404);
    assert_eq!(totals(&api.get(&path, Some(&token)).await.is(200).body["totals"]), [6, 1, 2]);
    api.delete(&format!("/v1/blogs/{blog}"), Some(&token)).await.is(204);
    api.get(&path, Some(&token)).await.refused(404);
    for id in ["0", "-1", "9223372036854775807"] {
        api.get(&format!("/v1/blogs/{id}/stats"), Some(&token)).await.refused(404);
    }
}

#[tokio::test]
async fn invalid_range_is_named() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("engagement.series_buckets_max", 48)).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Ranges").await;
    ask(&api, blog, "interval=hour&from=2026-01-01&to=2026-01-03").await.is(200);
    for (query, field) in [
        ("interval=hour&from=2026-01-01&to=2026-01-03T00:00:01Z", "from"),
        ("interval=day&from=1970-01-01", "from"),
        ("interval=week", "interval"),
        ("interval=", "interval"),
        ("interval=HOUR", "interval"),
        ("from=yesterday", "from"),
        ("from=", "from"),
        ("from=2026-02-30", "from"),
        ("from=%00", "from"),
        ("from=1969-12-31", "from"),
        ("from=-009999-01-01", "from"),
        ("to=9999-12-31T23:59:59Z", "to"),
        ("to=99999999999999999999", "to"),
        ("from=2026-01-02&to=2026-01-01", "to"),
        ("from=2026-01-01&to=2026-01-01", "to"),
        ("from=9990-01-01", "to"),
    ] {
        let answer = ask(&api, blog, query).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        answer.names(400, &[field]);
    }
    let unknown = ask(&api, blog, "form=2026-01-01").await.refused(400);
    assert!(unknown.detail().contains("form"), "{unknown:?}");
}
