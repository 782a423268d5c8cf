//! Popularity: its one definition, the lists that are made with it, and the services that show them.

use reqwest::Method;
use serde_json::Value;
use tests::World;

/// Views, likes, shares, age and half-life in hours, and the popularity in version 1 of the definition.
const VECTORS: [(i64, i64, i64, f64, f64, f64); 12] = [
    (0, 0, 0, 0.0, 24.0, 0.0),
    (1, 0, 0, 0.0, 24.0, 1.0),
    (0, 1, 0, 0.0, 24.0, 4.0),
    (0, 0, 1, 0.0, 24.0, 8.0),
    (10, 2, 1, 0.0, 24.0, 26.0),
    (10, 2, 1, 24.0, 24.0, 13.0),
    (10, 2, 1, 48.0, 24.0, 6.5),
    (10, 2, 1, 168.0, 168.0, 13.0),
    (100, 0, 0, 12.0, 24.0, 70.710_678_118_654_75),
    // An hour with more unlikes than likes.
    (0, -2, 0, 24.0, 24.0, -4.0),
    // A clock that is ahead, and a popularity that is almost zero.
    (1, 0, 0, -5.0, 24.0, 1.0),
    (1, 0, 0, 1e7, 1.0, 9.332_636_185_032_189e-302),
];

#[tokio::test]
async fn popularity_matches_its_published_definition() {
    let world = World::new().await;
    assert_eq!(world.value::<i32>("select analytics.popularity_version()", &[]).await, 1, "then new vectors");
    for (views, likes, shares, age_h, half_life_h, expected) in VECTORS {
        let sql = "select analytics.popularity($1, $2, $3, make_interval(secs => $4::double precision * 3600), make_interval(secs => $5::double precision * 3600))";
        let popularity: f64 = world.value(sql, &[&views, &likes, &shares, &age_h, &half_life_h]).await;
        let difference = (popularity - expected).abs();
        assert!(difference <= expected.abs() * 1e-12, "{views} {likes} {shares} {age_h}: {popularity}");
    }
    for (span, hours) in [("day", 24.0), ("week", 168.0)] {
        let sql = "select extract(epoch from analytics.half_life($1))::double precision / 3600";
        let half_life: f64 = world.value(sql, &[&span]).await;
        assert!((half_life - hours).abs() < 1e-9, "{span}");
    }
    // A rank never changes. It gives the original popularity at its own time, and half of it one half-life later.
    let sql = "select analytics.popularity_at(analytics.popularity_rank(26, '2026-11-25', '1 day'),
                                              '2026-11-25'::timestamptz + make_interval(days => $1), '1 day')";
    for (days, expected) in [(0, 26.0), (1, 13.0), (2, 6.5)] {
        let popularity: f64 = world.value(sql, &[&days]).await;
        assert!((popularity - expected).abs() < 1e-6, "{days}: {popularity}");
    }
}

/// Makes blogs with engagement of different ages, and the popularity lists.
async fn lists(world: &World) -> Vec<i64> {
    let blogs = world.blogs(6).await;
    let [a, b, c, d, e, _none] = blogs[..] else { panic!("six blogs") };
    world
        .run(&format!(
            "insert into analytics.blog_hour (blog_id, hour, views, likes, unlikes, shares) values
               ({a}, date_trunc('hour', now()), 5, 0, 0, 0),
               ({b}, date_trunc('hour', now()), 0, 2, 0, 0),
               ({c}, date_trunc('hour', now() - interval '2 days'), 30, 0, 0, 0),
               ({d}, date_trunc('hour', now() - interval '20 days'), 1000, 0, 0, 0),
               ({e}, date_trunc('hour', now()), 0, 1, 1, 0)"
        ))
        .await;
    world.run("select analytics.refresh_popularity('0s')").await;
    blogs
}

async fn listed(world: &World, span: &str) -> Vec<i64> {
    let sql =
        "select blog_id from analytics.blog_popularity where span = $1 order by rank desc, blog_id desc";
    let rows = world.client().query(sql, &[&span]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn popularity_lists_change_order_only_by_new_engagement() {
    let world = World::new().await;
    let blogs = lists(&world).await;
    let [a, b, c, d, ..] = blogs[..] else { panic!("six blogs") };
    assert_eq!(listed(&world, "day").await, [b, c, a], "8 now, 30 of two days ago, 5 now");
    assert_eq!(listed(&world, "week").await, [d, c, b, a], "the half-life is a week");
    let again: Option<i64> = world.value("select analytics.refresh_popularity('0s')", &[]).await;
    assert_eq!(again, Some(0), "nothing has happened, so nothing is written");
    let early: Option<i64> = world.value("select analytics.refresh_popularity('1h')", &[]).await;
    assert_eq!(early, None, "it is not time");
    world.run(&format!("update analytics.blog_hour set shares = 1 where blog_id = {a}")).await;
    world.run("select analytics.refresh_popularity('0s')").await;
    assert_eq!(listed(&world, "day").await, [a, b, c], "5 and a share are 13");
    world.run(&format!("delete from analytics.blog_hour where blog_id = {a}")).await;
    world.run("select analytics.refresh_popularity('0s')").await;
    assert_eq!(listed(&world, "day").await, [b, c]);
}

#[tokio::test]
async fn every_service_shows_the_same_order() {
    let world = World::new().await;
    let blogs = lists(&world).await;
    let [a, b, c, ..] = blogs[..] else { panic!("six blogs") };
    world.run("insert into blogs.blog_slug (slug, blog_id, is_current) select 'blog-' || id, id, true from blogs.blog").await;
    let (api, recommender) = (world.api().await, world.recommender_with(|loader| loader).await);
    recommender.ready().await;
    let ids = |answer: &Value, pointer: &str| -> Vec<i64> {
        let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
        items.iter().map(|item| item.pointer(pointer).unwrap().as_i64().unwrap()).collect()
    };
    let (status, by_blogs) = api.send(Method::GET, "/v1/blogs?sort=trending", None, Value::Null).await;
    assert_eq!(status, 200, "{by_blogs}");
    let (status, by_recommendation) = recommender.send(Method::GET, "/v1/trending", None, Value::Null).await;
    assert_eq!(status, 200, "{by_recommendation}");
    assert_eq!(ids(&by_blogs, "/id"), [b, c, a]);
    assert_eq!(ids(&by_recommendation, "/blog/id"), [b, c, a]);
    assert!(by_recommendation["as_of"].is_string(), "{by_recommendation}");
    let score = by_recommendation["items"][0]["score"].as_f64().unwrap();
    assert!((4.0..=8.0).contains(&score), "two likes of this hour: {score}");

    // The pages together are complete, and only live blogs are shown.
    world.run(&format!("update blogs.blog set deleted_at = now() where id = {c}")).await;
    let mut seen = Vec::new();
    let mut path = "/v1/blogs?sort=trending&limit=1".to_owned();
    loop {
        let (_, page) = api.send(Method::GET, &path, None, Value::Null).await;
        seen.extend(ids(&page, "/id"));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/blogs?sort=trending&limit=1&cursor={cursor}");
    }
    assert_eq!(seen, [b, a]);
    let author: i64 = world.value("select author_id from blogs.blog limit 1", &[]).await;
    let path = format!("/v1/blogs?sort=trending&author={author}");
    let (_, of_author) = api.send(Method::GET, &path, None, Value::Null).await;
    assert_eq!(ids(&of_author, "/id"), [b, a]);
    // Rows of another version of the definition are not shown.
    world.run("update analytics.blog_popularity set version = 0").await;
    let (_, none) = api.send(Method::GET, "/v1/blogs?sort=trending", None, Value::Null).await;
    assert_eq!(ids(&none, "/id"), [0_i64; 0]);
    api.stop().await;
    recommender.stop().await;
}

#[tokio::test]
async fn popularity_job_makes_the_lists() {
    let world = World::new().await;
    let blogs = world.blogs(1).await;
    world.run(&format!("insert into analytics.blog_hour (blog_id, hour, views) values ({}, date_trunc('hour', now()), 1)", blogs[0])).await;
    let workers = [
        world.worker_with(|loader| loader.set("popularity.interval_s", 1)).await,
        world.worker_with(|loader| loader.set("popularity.interval_s", 1)).await,
    ];
    world.until("select count(*) from analytics.blog_popularity", 2_i64).await;
    let first: jiff::Timestamp = world.value("select as_of from analytics.popularity_run", &[]).await;
    let later = format!("select as_of > '{first}' from analytics.popularity_run");
    world.until(&later, true).await;
    for worker in workers {
        worker.stop().await;
    }
}
