//! Fan-outs that no event begins: the event was handled while readers did not see the blog, or it was lost. The workers find
//! these blogs in the tables.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;
use tests::{Running, World, wait_until};

use crate::fan_out_events::{ada_and_grace, does, event, send, unread, waiting};

const EMPTY_OUTBOX: &str = "select count(*) from blogs.outbox";
const QUEUE: &str = "notification.blogs.v1";

/// A worker that searches the blogs ten times a second. It already consumes, so its queue takes what is published.
async fn searching(world: &World) -> Running {
    let notifier = starting(world).await;
    notifier.ready().await;
    notifier
}

/// The same worker, which may not be ready, because a failing fan-out makes it unready.
async fn starting(world: &World) -> Running {
    world.notifier_with(|loader| loader.set("fan_out.find_interval_ms", 100)).await
}

async fn until_done(world: &World, blog: i64) {
    let done = format!("select count(*) from notify.fan_out where blog_id = {blog} and state = 'done'");
    world.until(&done, 1_i64).await;
}

/// Accounts that were notified of a blog, once for each notification.
async fn told(world: &World, blog: i64) -> Vec<i64> {
    let sql = "select coalesce(array_agg(n.recipient_id order by n.recipient_id), '{}')
               from notify.notification n where n.blog_id = $1";
    world.value(sql, &[&blog]).await
}

async fn fan_outs(world: &World) -> Vec<i64> {
    world.value("select coalesce(array_agg(blog_id order by blog_id), '{}') from notify.fan_out", &[]).await
}

/// Waits until every event that is in the queue now has been settled: another author publishes after them.
async fn until_events_are_settled(world: &World, api: &Running, author: &str) {
    let (_, token) = api.account(author).await;
    let last = api.blog(&token, "The last event").await;
    until_done(world, last).await;
}

#[tokio::test]
async fn blog_hidden_before_its_event_notifies_once_restored() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, of_grace) = ada_and_grace(&api).await;
    let notifier = searching(&world).await;
    for (author, hide, restore) in [
        ("alan", "blogs.take_down_blog($1)", "blogs.restore_blog($1)"),
        ("barbara", "blogs.suspend_account($2)", "blogs.restore_account($2)"),
    ] {
        let (id, token) = api.account(author).await;
        let mut followers = world.followers(id, 20).await;
        does(&api, Method::PUT, &format!("/v1/accounts/{id}/follow"), &of_grace, 204).await;
        followers.push(world.value("select id from blogs.account where handle = 'grace'", &[]).await);
        followers.sort_unstable();
        let before = unread(&api, &of_grace).await;

        // The blog is published and hidden in one transaction, so that no worker sees it in between.
        let draft = json!({"title": "Hidden", "body": "", "publish": false});
        let (_, draft) = api.send(Method::POST, "/v1/blogs", Some(&token), draft).await;
        let blog = draft["id"].as_i64().unwrap();
        let decide = async |what: &str| {
            let sql = format!("select {what} where $1::bigint is not null and $2::bigint is not null");
            assert!(world.value::<bool>(&sql, &[&blog, &id]).await, "{what}");
        };
        world.run("begin").await;
        let publish = "update blogs.blog set published_at = now(), first_published_at = now() where id = $1";
        world.client().execute(publish, &[&blog]).await.unwrap();
        decide(hide).await;
        world.run("commit").await;
        send(&world, "blog.published", &event("blog.published", blog)).await;
        until_events_are_settled(&world, &api, &format!("after-{author}")).await;
        assert!(!fan_outs(&world).await.contains(&blog));

        decide(restore).await;
        until_done(&world, blog).await;
        assert_eq!(told(&world, blog).await, followers);
        assert_eq!(unread(&api, &of_grace).await, before + 1);
    }
    // On a busy machine the search may also be ahead of the event of another blog.
    assert!(notifier.metric("commonplace_notification_fan_outs_found_total").await >= 2.0);
    notifier.stop().await;
}

#[tokio::test]
async fn fan_out_lost_by_a_restore_is_found_and_notifies_once() {
    let world = World::new().await;
    let api = world.api().await;
    let (of_ada, of_grace) = ada_and_grace(&api).await;
    let notifier = searching(&world).await;
    let blog = api.blog(&of_ada, "Restored").await;
    until_done(&world, blog).await;
    notifier.stop().await;
    // As in a database that was restored from between the publishing and the fan-out; the event was consumed before the
    // restore.
    world.run("delete from notify.fan_out; delete from notify.notification").await;
    assert_eq!(unread(&api, &of_grace).await, 0);
    let workers = [searching(&world).await, searching(&world).await, searching(&world).await];
    until_done(&world, blog).await;
    assert_eq!(unread(&api, &of_grace).await, 1);
    assert_eq!(told(&world, blog).await.len(), 1);
    let mut found = 0.0;
    for worker in &workers {
        found += worker.metric("commonplace_notification_fan_outs_found_total").await;
    }
    assert_eq!(found, 1.0, "one of the workers began it");
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn blogs_with_lost_events_notify_their_followers() {
    let world = World::new().await;
    let api = world.api().await;
    let (of_ada, of_grace) = ada_and_grace(&api).await;
    let published = api.blog(&of_ada, "Published").await;
    let again = api.blog(&of_ada, "Unpublished and published again").await;
    does(&api, Method::POST, &format!("/v1/blogs/{again}/unpublish"), &of_ada, 200).await;
    let draft = api.blog(&of_ada, "Unpublished").await;
    does(&api, Method::POST, &format!("/v1/blogs/{draft}/unpublish"), &of_ada, 200).await;
    does(&api, Method::POST, &format!("/v1/blogs/{again}/publish"), &of_ada, 200).await;
    world.until(EMPTY_OUTBOX, 0_i64).await;
    // The queue is lost with everything in it.
    assert_eq!(waiting(&world, QUEUE).await.len(), 6);
    let notifier = searching(&world).await;
    until_done(&world, published).await;
    until_done(&world, again).await;
    assert_eq!(fan_outs(&world).await, [published, again]);
    assert_eq!(unread(&api, &of_grace).await, 2);
    // Published again while the first worker runs, and that event is lost as well.
    let publish = "update blogs.blog set published_at = now() where id = $1";
    world.client().execute(publish, &[&draft]).await.unwrap();
    until_done(&world, draft).await;
    assert_eq!(unread(&api, &of_grace).await, 3);
    notifier.stop().await;
}

#[tokio::test]
async fn search_scans_every_blog_of_the_kept_days_and_no_other() {
    let world = World::new().await;
    let due = world.blogs(2500).await;
    let author: i64 = world.value("select author_id from blogs.blog limit 1", &[]).await;
    let followers = world.followers(author, 3).await;
    world.run("update social.follow set followed_at = '2000-01-01'").await;
    // The followers were notified of all blogs but two. Some rounds of the search end between blogs with the same time.
    let told_before = "insert into notify.fan_out (blog_id, published_at, state, total, ended_at)
                       select id, first_published_at, 'done', 0, now() from blogs.blog where id <> all ($1)";
    let found = [due[7], due[1500]];
    world.client().execute(told_before, &[&found.as_slice()]).await.unwrap();
    let others = world.value::<Vec<i64>>(
        "with made as (
           insert into blogs.blog (author_id, title, body, published_at, first_published_at, deleted_at, taken_down_at)
           select author_id, 'Other', '', now(), other.first_published_at, other.deleted_at, other.taken_down_at
           from (select author_id from blogs.blog limit 1) as author,
                (values (now(), now(), null), (now(), null, now()), (null, null, null),
                        (now() - interval '91 days', null, null))
                  as other (first_published_at, deleted_at, taken_down_at)
           returning id)
         select array_agg(id order by id) from made",
        &[],
    );
    let others = others.await;
    // The search begins with the newest blog, so this one comes last.
    let oldest = *due.last().unwrap();
    world.run(&format!("delete from notify.fan_out where blog_id = {oldest}")).await;
    let age = "update blogs.blog set first_published_at = now() - interval '89 days' where id = $1";
    world.client().execute(age, &[&oldest]).await.unwrap();

    let notifier = searching(&world).await;
    for blog in [found[0], found[1], oldest] {
        until_done(&world, blog).await;
        assert_eq!(told(&world, blog).await, followers);
    }
    let begun = fan_outs(&world).await;
    assert!(others.iter().all(|other| !begun.contains(other)), "{others:?} among {begun:?}");
    assert_eq!(notifier.metric("commonplace_notification_fan_outs_found_total").await, 3.0);
    notifier.stop().await;
}

/// Begins the fan-outs of all blogs; that of the first has waited longest.
async fn begin_all(world: &World) {
    let begin = "insert into notify.fan_out (blog_id, published_at, total, turn_at)
                 select id, first_published_at, 5, timestamptz '2000-01-01' + id * interval '1 day' from blogs.blog";
    world.run(begin).await;
}

#[tokio::test]
async fn fan_out_of_a_blog_from_the_future_waits_without_blocking_others() {
    let world = World::new().await;
    let blogs = world.blogs(2).await;
    let author: i64 = world.value("select author_id from blogs.blog limit 1", &[]).await;
    let followers = world.followers(author, 5).await;
    // The clock of the database was wrong when the first was published.
    let ahead = Timestamp::now() + SignedDuration::from_hours(24 * 70);
    let publish = "update blogs.blog set first_published_at = $1 where id = $2";
    world.client().execute(publish, &[&ahead, &blogs[0]]).await.unwrap();
    world.client().execute(publish, &[&Timestamp::now(), &blogs[1]]).await.unwrap();
    begin_all(&world).await;
    let notifier = searching(&world).await;
    until_done(&world, blogs[1]).await;
    assert_eq!(told(&world, blogs[1]).await, followers);
    assert_eq!(told(&world, blogs[0]).await, Vec::<i64>::new());
    world
        .until(
            &format!("select state from notify.fan_out where blog_id = {}", blogs[0]),
            "withdrawn".to_owned(),
        )
        .await;
    // It waits without being tried again and again.
    let attempts = async || notifier.metric("commonplace_notification_failures_total").await;
    let before = attempts().await;
    // Its day comes nearer.
    let nearer = Timestamp::now() + SignedDuration::from_hours(24 * 40);
    world.client().execute(publish, &[&nearer, &blogs[0]]).await.unwrap();
    let moved = "update notify.fan_out set published_at = $1 where blog_id = $2";
    world.client().execute(moved, &[&nearer, &blogs[0]]).await.unwrap();
    until_done(&world, blogs[0]).await;
    assert_eq!(told(&world, blogs[0]).await, followers);
    assert_eq!(attempts().await, before);
    notifier.stop().await;
}

/// The day is near, but no worker can make it, because another session holds the lock for making days.
#[tokio::test]
async fn fan_out_whose_day_cannot_be_made_does_not_block_others() {
    let world = World::new().await;
    let blogs = world.blogs(2).await;
    let author: i64 = world.value("select author_id from blogs.blog limit 1", &[]).await;
    let followers = world.followers(author, 5).await;
    world.run("update social.follow set followed_at = '2000-01-01'").await;
    assert_eq!(
        world.value::<String>("select notify.create_day((now() at time zone 'utc')::date)", &[]).await,
        "there"
    );
    let publish = "update blogs.blog set first_published_at = now() - interval '30 days' where id = $1";
    world.client().execute(publish, &[&blogs[0]]).await.unwrap();
    begin_all(&world).await;
    let other = world.another().await;
    let hold = "begin; select pg_advisory_xact_lock(hashtextextended('notify.days.notification', 0))";
    other.client.batch_execute(hold).await.unwrap();
    let notifier = starting(&world).await;
    until_done(&world, blogs[1]).await;
    assert_eq!(told(&world, blogs[1]).await, followers);
    let failing = async || notifier.metric("commonplace_notification_failures_total").await > 2.0;
    assert!(wait_until(failing).await, "it is tried again");
    other.client.batch_execute("rollback").await.unwrap();
    until_done(&world, blogs[0]).await;
    assert_eq!(told(&world, blogs[0]).await, followers);
    notifier.stop().await;
}
