//! Fan-outs: atomic chunks notify each follower once, through failures, waits and operators' decisions.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proxy::{Mode, Proxy};
use runtime::service::Service as _;
use tests::{Running, World, wait_until};

/// Longer than a commit takes on two cores that run all tests at once, and longer than `commit_slow_ms` below.
const LATE: Duration = Duration::from_millis(300);

/// Settings for chunks with at most this many followers.
async fn small_chunks(world: &World, rows: i64) -> Running {
    let small = |loader: runtime::settings::Loader| {
        loader
            .set("fan_out.chunk_rows_min", rows)
            .set("fan_out.chunk_rows_max", rows)
            // Two cores run all tests at once, which makes commits slow; that must not shrink the chunks here.
            .set("fan_out.commit_slow_ms", 10_000)
            .set("fan_out.poll_ms", 20)
            .set("events.retry_pause_max_ms", 100)
    };
    world.notifier_with(small).await
}

/// Begins the fan-out of a blog, as the event of its publishing would, unless a worker has found it already.
async fn begin(world: &World, blog: i64) {
    let begin = "insert into notify.fan_out (blog_id, published_at, total)
                 select l.id, l.first_published_at,
                        (select count(*) from social.follow f where f.followee_id = l.author_id)
                 from blogs.live_blog l where l.id = $1
                 on conflict do nothing";
    world.client().execute(begin, &[&blog]).await.unwrap();
}

async fn author(world: &World, blog: i64) -> i64 {
    world.value("select author_id from blogs.blog where id = $1", &[&blog]).await
}

/// A blog that is published now by an author with a number of followers; returns its id and theirs.
async fn published(world: &World, followers: i64) -> (i64, Vec<i64>) {
    let blog = world.blogs(1).await[0];
    let followers = world.followers(author(world, blog).await, followers).await;
    world.run("update blogs.blog set published_at = now(), first_published_at = now()").await;
    (blog, followers)
}

/// The recipients of a blog's notifications, ordered by id; fails if one has several.
async fn told(world: &World, blog: i64) -> Vec<i64> {
    let sql = "select coalesce(array_agg(n.recipient_id order by n.recipient_id), '{}')
               from notify.notification n where n.blog_id = $1";
    world.value(sql, &[&blog]).await
}

async fn until_state(world: &World, blog: i64, state: &str) {
    world.until(&format!("select state from notify.fan_out where blog_id = {blog}"), state.to_owned()).await;
}

/// Asserts that the fan-out's row agrees with its notifications.
async fn assert_row_is_true(world: &World) {
    let wrong = "select count(*) from notify.fan_out f
                 where f.notified <> (select count(*) from notify.notification n where n.blog_id = f.blog_id)
                    or (f.state = 'done' and (f.looked_at <> f.total or f.ended_at is null or f.after_id <> 0))";
    assert_eq!(world.value::<i64>(wrong, &[]).await, 0);
}

#[tokio::test]
async fn followers_at_publication_are_notified_once() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let author = author(&world, blog).await;
    let mut followers = world.followers(author, 100).await;
    world.run("update blogs.blog set published_at = now(), first_published_at = now()").await;
    // Later followers are not notified, and neither are inactive accounts.
    let late = world.followers(author, 10).await;
    let (suspended, left) = (followers.remove(70), followers.remove(20));
    world.run(&format!("select blogs.suspend_account({suspended})")).await;
    world.run(&format!("update blogs.account set deleted_at = now() where id = {left}")).await;
    let sides = "select bool_and((a.id in (select id from blogs.active_account))
                               <> (a.id in (select id from blogs.inactive_account))) from blogs.account a";
    assert!(world.value::<bool>(sides, &[]).await, "every account is in one of the two views");
    // The comparison is exact to the microsecond: a follow at the time of publication counts, and one a microsecond
    // later does not.
    let at = format!(
        "update social.follow set followed_at = (select first_published_at from blogs.blog) + $1::bigint
                      * interval '1 microsecond' where followee_id = {author} and follower_id = $2"
    );
    world.client().execute(&at, &[&0_i64, &late[3]]).await.unwrap();
    world.client().execute(&at, &[&1_i64, &followers[0]]).await.unwrap();
    followers.remove(0);
    followers.push(late[3]);

    begin(&world, blog).await;
    let notifier = small_chunks(&world, 7).await;
    until_state(&world, blog, "done").await;
    assert_eq!(told(&world, blog).await, followers);
    assert_row_is_true(&world).await;
    notifier.stop().await;
    world.assert_consistent().await;
}

#[tokio::test]
async fn failed_chunk_leaves_no_rows_and_is_retried() {
    let world = World::new().await;
    let (blog, followers) = published(&world, 100).await;
    // The 46th is in the middle of the fifth chunk of ten.
    let refuse = format!(
        "alter table notify.notification add constraint refused check (recipient_id <> {})",
        followers[45]
    );
    world.run(&refuse).await;
    begin(&world, blog).await;
    let notifier = small_chunks(&world, 10).await;
    world.until("select looked_at from notify.fan_out", 40_i64).await;
    notifier.degraded("fan-outs", "could not process").await;
    assert_eq!(told(&world, blog).await, followers[..40]);
    assert_row_is_true(&world).await;
    world.run("alter table notify.notification drop constraint refused").await;
    until_state(&world, blog, "done").await;
    assert_eq!(told(&world, blog).await, followers);
    assert_row_is_true(&world).await;
    notifier.ready().await;
    notifier.stop().await;
}

#[tokio::test]
async fn follower_who_was_notified_before_is_skipped() {
    let world = World::new().await;
    let (blog, followers) = published(&world, 50).await;
    let day = "select notify.create_day((first_published_at at time zone 'utc')::date) from blogs.blog";
    assert_eq!(world.value::<String>(day, &[]).await, "there");
    // As after a restore that brought back more notifications than the fan-out's row knows of.
    let before = format!(
        "insert into notify.notification (recipient_id, published_at, blog_id, read_at)
         select r.id, b.first_published_at, b.id, '2026-01-01' from blogs.blog b, unnest(array[{}, {}]::bigint[]) as r (id)",
        followers[3], followers[33]
    );
    world.run(&before).await;
    begin(&world, blog).await;
    let notifier = small_chunks(&world, 10).await;
    until_state(&world, blog, "done").await;
    assert_eq!(told(&world, blog).await, followers);
    let read = "select count(*) from notify.notification where read_at = '2026-01-01'";
    assert_eq!(world.value::<i64>(read, &[]).await, 2, "they stay as they were");
    assert_eq!(world.value::<i64>("select notified from notify.fan_out", &[]).await, 48);
    notifier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_a_fan_out_without_duplicate_notifications() {
    let world = World::new().await;
    let (blog, followers) = published(&world, 3000).await;
    begin(&world, blog).await;
    let workers =
        [small_chunks(&world, 50).await, small_chunks(&world, 50).await, small_chunks(&world, 50).await];
    until_state(&world, blog, "done").await;
    assert_eq!(told(&world, blog).await, followers);
    assert_row_is_true(&world).await;
    for worker in workers {
        worker.stop().await;
    }
    world.assert_consistent().await;
}

/// A large fan-out, and a small one of another author, which is second in line.
async fn large_and_small(world: &World) -> ((i64, Vec<i64>), (i64, Vec<i64>)) {
    let (large, many) = published(world, 100).await;
    let other = "insert into blogs.account (handle, email, password_hash)
                 values ('other', 'other@example.org', '-') returning id";
    let other: i64 = world.value(other, &[]).await;
    let few = world.followers(other, 10).await;
    let small = "insert into blogs.blog (author_id, title, body, published_at, first_published_at)
                 select $1, 'Small', '', now(), now() returning id";
    let small: i64 = world.value(small, &[&other]).await;
    // A fan-out whose day another worker is making at that moment would lose its turn.
    let days = "select bool_and(notify.create_day((first_published_at at time zone 'utc')::date) = 'there')
                from blogs.blog";
    assert!(world.value::<bool>(days, &[]).await);
    begin(world, large).await;
    begin(world, small).await;
    ((large, many), (small, few))
}

#[tokio::test]
async fn fan_outs_take_turns_and_a_failing_one_blocks_no_other() {
    let world = World::new().await;
    let ((large, many), (small, few)) = large_and_small(&world).await;
    let refuse = format!(
        "alter table notify.notification add constraint refused check (recipient_id <> {})",
        many[50]
    );
    world.run(&refuse).await;
    let notifier = small_chunks(&world, 4).await;
    until_state(&world, small, "done").await;
    assert_eq!(told(&world, small).await, few);
    world.until(&format!("select looked_at from notify.fan_out where blog_id = {large}"), 48_i64).await;
    until_state(&world, large, "running").await;
    world.run("alter table notify.notification drop constraint refused").await;
    until_state(&world, large, "done").await;
    assert_eq!(told(&world, large).await, many);
    notifier.stop().await;
}

#[tokio::test]
async fn fan_out_locked_by_another_worker_is_skipped() {
    let world = World::new().await;
    let ((large, many), (small, few)) = large_and_small(&world).await;
    // Another worker locks the large one for longer than a chunk takes.
    let other = world.another().await;
    let hold = format!("begin; select from notify.fan_out where blog_id = {large} for no key update");
    other.client.batch_execute(&hold).await.unwrap();
    let notifier = small_chunks(&world, 3).await;
    until_state(&world, small, "done").await;
    assert_eq!((told(&world, small).await, told(&world, large).await), (few, vec![]));
    other.client.batch_execute("rollback").await.unwrap();
    until_state(&world, large, "done").await;
    assert_eq!(told(&world, large).await, many);
    notifier.stop().await;
}

#[tokio::test]
async fn fan_outs_take_turns_in_order_of_waiting() {
    let world = World::new().await;
    let ((large, many), (small, few)) = large_and_small(&world).await;
    world
        .run(
            "create table public.turn (n bigint generated always as identity, blog_id bigint);
             create function public.note_turn() returns trigger language plpgsql security definer as $$ begin
               insert into public.turn (blog_id) values (new.blog_id); return null; end $$;
             create trigger note_turn after update of looked_at on notify.fan_out
               for each row execute function public.note_turn()",
        )
        .await;
    let notifier = small_chunks(&world, 4).await;
    until_state(&world, large, "done").await;
    assert_eq!((told(&world, large).await, told(&world, small).await), (many, few));
    let turns: Vec<i64> = world.value("select array_agg(blog_id order by n) from public.turn", &[]).await;
    assert_eq!(turns[..7], [large, small, large, small, large, small, large]);
    assert!(turns[7..].iter().all(|turn| *turn == large), "{turns:?}");
    notifier.stop().await;
}

#[tokio::test]
async fn slow_commits_shrink_chunks_until_commits_are_quick_again() {
    let world = World::new().await;
    let (blog, followers) = published(&world, 5000).await;
    let mut url = reqwest::Url::parse(&world.url("notification_worker")).unwrap();
    let proxy = Proxy::start(url.socket_addrs(|| None).unwrap()[0], Mode::Open).await.unwrap();
    url.set_port(Some(proxy.address().port())).unwrap();
    let pressed = |loader: runtime::settings::Loader| {
        loader
            .set("database.url", url.to_string())
            .set("database.connect_timeout_ms", 30_000)
            .set("fan_out.chunk_rows_min", 10)
            .set("fan_out.chunk_rows_max", 100)
            .set("fan_out.commit_slow_ms", 250)
            .set("fan_out.pause_max_ms", 400)
    };
    // The fan-out stays paused until commits are slow.
    begin(&world, blog).await;
    world.run(&format!("select notify.pause_fan_out({blog})")).await;
    let notifier = world.notifier_with(pressed).await;
    notifier.ready().await;
    proxy.set(Mode::Late(LATE));
    world.run(&format!("select notify.resume_fan_out({blog})")).await;
    let pause = async || notifier.metric("commonplace_notification_pause_seconds").await;
    let rows = async || notifier.metric("commonplace_notification_chunk_rows").await;
    assert!(wait_until(async || pause().await == 0.4).await);
    assert_eq!(rows().await, 10.0);
    proxy.set(Mode::Open);
    assert!(wait_until(async || pause().await == 0.0 && rows().await == 100.0).await);
    until_state(&world, blog, "done").await;
    assert_eq!(told(&world, blog).await, followers);
    notifier.stop().await;
}

#[tokio::test]
async fn operators_pause_resume_and_cancel() {
    let world = World::new().await;
    let (blog, followers) = published(&world, 100).await;
    begin(&world, blog).await;
    let operator = world.session("operator").await;
    let decide = async |what: &str| -> bool {
        let sql = format!("select notify.{what}_fan_out($1)");
        operator.client.query_one(&sql, &[&blog]).await.unwrap().get(0)
    };
    assert!(decide("pause").await);
    assert!(!decide("pause").await);
    let notifier = small_chunks(&world, 10).await;
    notifier.ready().await;
    // Another fan-out overtakes the paused one.
    let other = world.blogs(1).await[0];
    begin(&world, other).await;
    until_state(&world, other, "done").await;
    assert_eq!(told(&world, blog).await, Vec::<i64>::new());
    assert!(decide("resume").await);
    assert!(!decide("resume").await);
    until_state(&world, blog, "done").await;
    assert_eq!(told(&world, blog).await, followers);
    for what in ["pause", "resume", "cancel"] {
        assert!(!decide(what).await, "{what}: what is done stays done");
    }
    world
        .run("delete from notify.notification; update notify.fan_out set state = 'paused', looked_at = 0")
        .await;
    assert!(decide("cancel").await);
    assert!(!decide("resume").await, "cancelled is for good");
    notifier.stop().await;
}

#[tokio::test]
async fn fan_out_of_a_restored_blog_resumes_by_itself() {
    let world = World::new().await;
    let (blog, followers) = published(&world, 20).await;
    begin(&world, blog).await;
    let author = author(&world, blog).await;
    for (taken, back) in [
        (format!("blogs.take_down_blog({blog})"), format!("blogs.restore_blog({blog})")),
        (format!("blogs.suspend_account({author})"), format!("blogs.restore_account({author})")),
    ] {
        world
            .run(
                "delete from notify.notification; update notify.fan_out set state = 'running', looked_at = 0",
            )
            .await;
        assert!(world.value::<bool>(&format!("select {taken}"), &[]).await);
        let notifier = small_chunks(&world, 10).await;
        until_state(&world, blog, "withdrawn").await;
        notifier.stop().await;
        assert!(world.value::<bool>(&format!("select {back}"), &[]).await);
        let notifier = small_chunks(&world, 10).await;
        until_state(&world, blog, "done").await;
        assert_eq!(told(&world, blog).await, followers);
        notifier.stop().await;
    }
}

#[tokio::test]
async fn notification_days_are_made_when_needed_and_dropped_when_old() {
    let world = World::new().await;
    let (blog, followers) = published(&world, 20).await;
    let days = |count: i64| SignedDuration::from_hours(24 * count);
    let publish = "update blogs.blog set first_published_at = $1 where id = $2";
    let then = Timestamp::now() - days(30);
    world.client().execute(publish, &[&then, &blog]).await.unwrap();
    world.run("update social.follow set followed_at = (select first_published_at from blogs.blog)").await;
    begin(&world, blog).await;
    let notifier = small_chunks(&world, 10).await;
    until_state(&world, blog, "done").await;
    assert_eq!(told(&world, blog).await, followers, "the day was made");
    world
        .until(
            "select count(*) >= 9 from pg_inherits where inhparent = 'notify.notification'::regclass",
            true,
        )
        .await;
    notifier.stop().await;

    // The day is not dropped while it is kept. Later it is dropped with its notifications, and none of them comes back.
    let worker = world.session("notification_worker").await;
    let drop = async |kept: i32| {
        let row = worker.client.query_one("select notify.drop_oldest_day($1)::text", &[&kept]).await.unwrap();
        row.get::<_, Option<String>>(0)
    };
    assert_eq!(drop(31).await, None);
    assert!(drop(28).await.is_some());
    assert_eq!(told(&world, blog).await, Vec::<i64>::new());
    assert_eq!(drop(1).await, None, "a week is kept, whatever the setting");

    // A fan-out that is older than the kept days ends by itself.
    world.run("update notify.fan_out set state = 'running', after_id = 0, ended_at = null").await;
    let forgetful = world.notifier_with(|loader| loader.set("partitions.days_kept", 28)).await;
    until_state(&world, blog, "cancelled").await;
    assert_eq!(told(&world, blog).await, Vec::<i64>::new());
    forgetful.stop().await;
}

#[tokio::test]
async fn invalid_settings_stop_the_start() {
    let world = World::new().await;
    for (key, value, sentence) in [
        ("database.pool_max", 1, "database.pool_max in this command must be from 2 to 500"),
        ("fan_out.chunk_rows_min", 60_000, "fan_out.chunk_rows_min is 60000 and must be at most"),
        ("fan_out.chunk_target_ms", 5000, "fan_out.chunk_target_ms in this command must be from 1 to 2000"),
        (
            "fan_out.find_interval_ms",
            60_001,
            "fan_out.find_interval_ms in this command must be from 1 to 60000",
        ),
        ("partitions.days_kept", 3, "partitions.days_kept in this command must be from 7 to 3650"),
        ("events.give_up_after_s", 1800, "events.give_up_after_s in this command must be from 1 to 1200"),
    ] {
        let loader = runtime::settings::Loader::new(notification_worker::DEFAULTS)
            .environment([])
            .set("http.address", "127.0.0.1:0")
            .set("database.url", world.url("notification_worker"))
            .set(key, value);
        let refused = match loader.load::<notification_worker::Settings>() {
            Ok(settings) => notification_worker::Service::start(settings).await.err().unwrap().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(refused.contains(sentence), "{refused}");
    }
}
