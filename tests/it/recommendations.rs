//! Recommendations: their contents and reasons, learning, and interrupted rebuilds.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tests::tokens;

use tests::{Running, World, wait_until};

async fn ask(service: &Running, path: &str, account: Option<i64>) -> Value {
    let token = account.map(tokens::issue);
    let (status, answer) = service.send(Method::GET, path, token.as_deref(), Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    answer
}

/// The blogs of an answer, each with its reason.
fn reasons(answer: &Value) -> Vec<(i64, String)> {
    let item = |item: &Value| {
        (item["blog"]["id"].as_i64().unwrap(), item["reason"]["kind"].as_str().unwrap().to_owned())
    };
    answer["items"].as_array().unwrap().iter().map(item).collect()
}

fn ids(answer: &Value) -> Vec<i64> {
    reasons(answer).into_iter().map(|(id, _)| id).collect()
}

#[tokio::test]
async fn recommendations_come_from_readers_with_common_likes() {
    let world = World::new().await;
    let (blogs, accounts) = (world.blogs(8).await, world.accounts(6).await);
    world.addressed().await;
    let [a, b, c, d, taken_back, own, x, y] = blogs[..] else { panic!("eight blogs") };
    let [me, p, q, r, s, t] = accounts[..] else { panic!("six accounts") };
    world.run(&format!("update blogs.blog set author_id = {me} where id = {own}")).await;
    let mut likes = vec![(me, a, true), (me, b, true)];
    for account in [p, q, r] {
        likes.extend([a, b, c, taken_back, own].map(|blog| (account, blog, true)));
    }
    likes.extend([(p, d, true), (s, x, true), (t, x, true), (s, y, true), (t, y, true)]);
    world.set_likes(&likes).await;
    world.run(&format!("update blogs.blog set taken_down_at = now() where id = {taken_back}")).await;
    let service = world.recommender_with(|loader| loader).await;
    world.learnt().await;
    service.ready().await;

    let answer = ask(&service, "/v1/recommendations", Some(me)).await;
    let together = |id| (id, "liked_together".to_owned());
    assert_eq!(reasons(&answer), [together(c), together(d)], "{answer}");
    let because = answer["items"][0]["reason"]["blog_id"].as_i64().unwrap();
    assert!([a, b].contains(&because), "{answer}");
    let fresh = wait_until(async || {
        let answer = ask(&service, "/v1/recommendations", Some(me)).await;
        answer["as_of"].is_string() && answer["stale"] == false
    });
    assert!(fresh.await, "{answer}");

    // The pages together are complete, and a blog that the reader likes meanwhile is no longer recommended.
    let first = ask(&service, "/v1/recommendations?limit=1", Some(me)).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = ask(&service, &format!("/v1/recommendations?limit=1&cursor={cursor}"), Some(me)).await;
    assert_eq!((ids(&first), ids(&rest)), (vec![c], vec![d]));
    assert!(rest["next_cursor"].is_null(), "{rest}");
    world.set_likes(&[(me, c, true)]).await;
    assert_eq!(ids(&ask(&service, "/v1/recommendations", Some(me)).await), [d]);

    let similar = ask(&service, &format!("/v1/blogs/{x}/similar"), None).await;
    assert_eq!(reasons(&similar), [together(y)]);
    for (path, expected) in [
        ("/v1/recommendations".to_owned(), 401),
        (format!("/v1/blogs/{taken_back}/similar"), 404),
        ("/v1/blogs/x/similar".to_owned(), 400),
        ("/v1/trending?window=year".to_owned(), 400),
        ("/v1/trending?limit=101".to_owned(), 400),
        ("/v1/trending?cursor=x".to_owned(), 400),
        ("/v1/trending?sort=x".to_owned(), 400),
        ("/v1/nothing".to_owned(), 404),
    ] {
        let (status, problem) = service.send(Method::GET, &path, None, Value::Null).await;
        assert_eq!(
            (status.as_u16(), problem["status"].as_u64()),
            (expected, Some(expected.into())),
            "{path}"
        );
    }
    // A revoked token is refused here, too.
    world.run(&format!("update blogs.account set token_epoch = 1 where id = {q}")).await;
    let (status, _) =
        service.send(Method::GET, "/v1/recommendations", Some(&tokens::issue(q)), Value::Null).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    service.stop().await;
}

#[tokio::test]
async fn new_reader_gets_followed_authors_then_tags_then_popular_blogs() {
    let world = World::new().await;
    let (blogs, accounts) = (world.blogs(5).await, world.accounts(4).await);
    world.addressed().await;
    let [popular, tagged, new, of_tag, own] = blogs[..] else { panic!("five blogs") };
    let [me, author, writer, newcomer] = accounts[..] else { panic!("four accounts") };
    world
        .run(&format!(
            "update blogs.blog set author_id = {author} where id = {new};
             update blogs.blog set author_id = {writer} where id = {own};
             insert into social.follow (followee_id, follower_id) values ({author}, {me});
             insert into blogs.tag (name) values ('maps');
             insert into blogs.blog_tag (tag_id, blog_id) select id, unnest(array[{new}, {tagged}, {of_tag}, {own}]) from blogs.tag;
             insert into analytics.blog_hour (blog_id, hour, views) values
               ({popular}, date_trunc('hour', now()), 100), ({tagged}, date_trunc('hour', now()), 50);
             select analytics.refresh_popularity('0s')"
        ))
        .await;
    let service = world.recommender_with(|loader| loader).await;
    world.learnt().await;
    let of = |id: i64, reason: &str| (id, reason.to_owned());
    let mine = ask(&service, "/v1/recommendations", Some(me)).await;
    assert_eq!(reasons(&mine), [of(new, "followed"), of(tagged, "tag"), of(popular, "popular")]);
    let of_writer = ask(&service, "/v1/recommendations", Some(writer)).await;
    assert_eq!(reasons(&of_writer), [of(tagged, "tag"), of(popular, "popular")], "tags of what it writes");
    let of_newcomer = ask(&service, "/v1/recommendations", Some(newcomer)).await;
    assert_eq!(reasons(&of_newcomer), [of(popular, "popular"), of(tagged, "popular")]);
    let similar = ask(&service, &format!("/v1/blogs/{new}/similar"), None).await;
    assert_eq!(reasons(&similar), [of(tagged, "tag")], "it has no likes yet");
    service.stop().await;
}

/// Random likes and unlikes, which are the same for the same seed.
fn random_likes(accounts: &[i64], blogs: &[i64], count: usize, seed: u64) -> Vec<(i64, i64, bool)> {
    let mut state = seed;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut likes = BTreeMap::new();
    for _ in 0..count {
        likes.insert((accounts[next(accounts.len())], blogs[next(blogs.len())]), next(4) > 0);
    }
    likes.into_iter().map(|((account, blog), liked)| (account, blog, liked)).collect()
}

#[tokio::test]
async fn incremental_learning_equals_a_rebuild() {
    let world = World::new().await;
    let (blogs, accounts) = (world.blogs(25).await, world.accounts(40).await);
    // The limit exceeds the number of neighbours, so that none is left out. Of the two processes, only one learns.
    let start = || {
        world.recommender_with(|loader| {
            loader.set("learning.neighbours_max", 100).set("learning.changes_max", 7)
        })
    };
    let (one, other) = (start().await, start().await);
    world.learnt().await;
    assert!(world.neighbours().await.is_empty());
    for seed in 0..6 {
        world.set_likes(&random_likes(&accounts, &blogs, 60, seed)).await;
    }
    world.learnt().await;
    let learnt = world.neighbours().await;
    assert!(learnt.len() > 20, "{}", learnt.len());
    assert_eq!(
        world.value::<i32>("select generation from recommend.progress", &[]).await,
        1,
        "by changes alone"
    );

    // Learning the same changes again changes nothing: not a row is written.
    let stamp =
        "select md5(string_agg(n::text || n.xmin::text, ',' order by n.blog_id)) from recommend.neighbour n";
    let before: String = world.value(stamp, &[]).await;
    world.run("update recommend.progress set applied_xid = 1").await;
    world.learnt().await;
    assert_eq!(world.value::<String>(stamp, &[]).await, before);

    world.rebuilt().await;
    world.learnt().await;
    assert_eq!(world.neighbours().await, learnt, "a rebuild comes to the same");
    world.until("select count(distinct generation) from recommend.neighbour", 1_i64).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn killed_rebuild_resumes_and_is_shown_only_when_complete() {
    let world = World::new().await;
    let (blogs, accounts) = (world.blogs(30).await, world.accounts(30).await);
    world.set_likes(&random_likes(&accounts, &blogs, 300, 7)).await;
    let service = world.recommender_with(|loader| loader).await;
    world.learnt().await;
    let whole = world.neighbours().await;
    service.stop().await;

    // One blog at a time, with long rests in between.
    world.run("update recommend.progress set wanted_since = now()").await;
    let slowly = |loader: runtime::settings::Loader| {
        loader
            .set("learning.chunk_blogs_min", 1)
            .set("learning.chunk_blogs_max", 1)
            .set("learning.rest_percent", 2_000)
    };
    let service = world.recommender_with(slowly).await;
    let some = format!("select coalesce(next_after_id, 0) >= {} from recommend.progress", blogs[5]);
    world.until(&some, true).await;
    // Dropped without a graceful end: work in progress is lost, as by a kill.
    drop(service);
    world.until("select count(*) from pg_stat_activity where usename = 'recommendation_api' and datname = current_database()", 0_i64).await;
    let got_to: i64 = world.value("select next_after_id from recommend.progress", &[]).await;
    assert!(got_to < blogs[29], "it was interrupted half-way");
    assert_eq!(world.neighbours().await, whole, "readers see the old one");
    // A like arrives meanwhile, for a blog that is already rebuilt.
    world.set_likes(&[(accounts[0], blogs[0], true), (accounts[0], blogs[29], true)]).await;

    // The resumed rebuild does not touch a blog that is done, so a mark on its neighbours stays. The mark also stays
    // when the two likes above are learnt, at once or later, because the marked neighbour is neither of their blogs.
    let marked = "update recommend.neighbour set similarities[1] = 42
         where generation = 2 and blog_id = (
           select min(blog_id) from recommend.neighbour
           where generation = 2 and blog_id > $1 and blog_id <= $2 and neighbour_ids[1] not in ($1, $3))";
    assert_eq!(world.client().execute(marked, &[&blogs[0], &got_to, &blogs[29]]).await.unwrap(), 1);
    let service = world.recommender_with(|loader| loader.set("learning.poll_ms", 60_000)).await;
    world.until("select generation from recommend.progress", 2_i32).await;
    let shown = world.neighbours().await;
    assert!(shown.values().any(|near| near[0].1 == 42.0), "the rebuild resumed and did not restart");
    drop(service);
    world.until("select count(*) from pg_stat_activity where usename = 'recommendation_api' and datname = current_database()", 0_i64).await;

    // Likes that came since the rebuild began are learnt on top of it.
    let service = world.recommender_with(|loader| loader).await;
    world.learnt().await;
    let near = world.neighbours().await;
    assert!(near[&blogs[0]].iter().any(|(id, _)| *id == blogs[29]), "{near:?}");
    service.stop().await;
}

#[tokio::test]
async fn like_committed_late_is_learnt() {
    let world = World::new().await;
    let (blogs, accounts) = (world.blogs(2).await, world.accounts(2).await);
    let service = world.recommender_with(|loader| loader).await;
    world.learnt().await;
    // A transaction that began long ago, and commits after later ones have been learnt.
    let slow = world.another().await;
    slow.client.batch_execute("begin").await.unwrap();
    let like = |account: i64, blog: i64| {
        format!("insert into analytics.blog_like (blog_id, account_id, liked, version_us, version_id, applied_xid)
                 values ({blog}, {account}, true, 1, gen_random_uuid(), pg_current_xact_id()::text::bigint)")
    };
    slow.client.batch_execute(&like(accounts[0], blogs[0])).await.unwrap();
    world.run(&like(accounts[0], blogs[1])).await;
    slow.client.batch_execute("commit").await.unwrap();
    world.learnt().await;
    let near = world.neighbours().await;
    assert_eq!(near[&blogs[0]][0].0, blogs[1], "{near:?}");
    assert_eq!(near[&blogs[1]][0].0, blogs[0], "{near:?}");
    service.stop().await;
}

#[tokio::test]
async fn like_sent_through_the_api_is_learnt() {
    let world = World::new().await;
    let (api, service) = (world.api().await, world.recommender_with(|loader| loader).await);
    let (_, author) = api.account("author").await;
    let (a, b) = (api.blog(&author, "A").await, api.blog(&author, "B").await);
    let mut readers = Vec::new();
    for name in ["reader-1", "reader-2", "reader-3"] {
        readers.push(api.account(name).await.1);
    }
    let like = async |reader: &str, blog: i64| {
        let request = api.request(Method::PUT, &format!("/v1/blogs/{blog}/like"));
        let response = request.bearer_auth(reader).header("x-write-path", "direct").send().await.unwrap();
        assert_eq!(response.status(), 200);
    };
    for reader in &readers[..2] {
        like(reader, a).await;
        like(reader, b).await;
    }
    like(&readers[2], a).await;
    // The Blogs API issued the token.
    let told = wait_until(async || {
        let (status, answer) =
            service.send(Method::GET, "/v1/recommendations", Some(&readers[2]), Value::Null).await;
        status == StatusCode::OK && reasons(&answer) == [(b, "liked_together".to_owned())]
    });
    assert!(told.await, "the third reader is told of what the others like");
    api.stop().await;
    service.stop().await;
}

#[tokio::test]
async fn lagging_replica_is_reported_and_the_primary_is_not_used_instead() {
    let world = World::new().await;
    let (blogs, accounts) = (world.blogs(3).await, world.accounts(3).await);
    world.addressed().await;
    let [a, b, c] = blogs[..] else { panic!("three blogs") };
    world.set_likes(&[(accounts[0], a, true), (accounts[0], b, true), (accounts[1], a, true)]).await;
    let service = world.recommender_with(|loader| loader).await;
    world.learnt().await;
    service.stop().await;
    // A copy that receives no more changes is like a replica that has stopped replaying.
    let (world, replica) = world.twice().await;
    let service = world
        .recommender_with(|loader| {
            loader
                .set("recommendation.replica_url", replica.url("recommendation_api"))
                .set("recommendation.staleness_max_s", 5)
        })
        .await;
    service.ready().await;
    world.set_likes(&[(accounts[0], c, true)]).await;
    world.learnt().await;
    let answer = ask(&service, "/v1/recommendations", Some(accounts[1])).await;
    assert_eq!(ids(&answer), [b], "it reads the replica, which does not know of the newest");
    let mut last = Value::Null;
    let stale = wait_until(async || {
        last = ask(&service, "/v1/recommendations", Some(accounts[1])).await;
        last["stale"] == true
    });
    assert!(stale.await, "{last}");
    assert_eq!(ids(&last), [b], "still the replica's");
    // If the replica is down, the service does not ask the primary, although that could answer.
    replica.close_database().await;
    let refused = wait_until(async || {
        service
            .send(Method::GET, "/v1/recommendations", Some(&tokens::issue(accounts[1])), Value::Null)
            .await
            .0
            == 503
    });
    assert!(refused.await);
    service.degraded("reads", "").await;
    service.stop().await;
}
