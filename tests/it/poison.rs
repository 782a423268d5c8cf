//! Poison messages, through RabbitMQ and real workers: each is parked with its details, its neighbours count, and a release
//! that parks everything stops before it has drained the queue.

use broker::{Consumer, Publisher, Queue};
use engagement::{Engagement, InDoubt, Incoming, OnBadEvent, Outcome, Redriven};
use events::{Action, Channel, EngagementEvent, EnvelopeId};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use runtime::settings::Loader;
use serde_json::json;
use tests::{World, answer, wait_until};
use uuid::Uuid;

use crate::message_path::{
    broker_settings, publish, publish_incoming, publish_raw, publish_traced, publisher, view,
};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const VIEWS: &str = "select sum(total_views)::bigint from blogs.blog_counter";
const PARKED: &str = "select count(*) from analytics.parked where redriven_at is null";
/// Refuses shares by e-mail, as a constraint from a migration might.
const REFUSE: &str =
    "alter table analytics.blog_share add constraint no_email check (channel <> 'email') not valid";
const MEND: &str = "alter table analytics.blog_share drop constraint no_email";

fn bad(blog_id: i64) -> EngagementEvent {
    EngagementEvent { action: Action::Shared(Channel::Email), ..view(blog_id, 0) }
}

async fn depth(world: &World) -> u32 {
    broker::queue_depth(&broker_settings(world).await, Queue::Engagement).await.unwrap()
}

fn engagement(world: &World, role: &str) -> Engagement {
    Engagement::new(world.pool(role), &engagement::Settings { view_window_s: 1800 }).unwrap()
}

/// One envelope at a time, in order.
fn one_by_one(loader: Loader) -> Loader {
    loader.set("worker.batch_envelopes_max", 1).set("worker.prefetch", 2).set("poison.check_interval_ms", 100)
}

/// A worker that applies this envelope hangs until it is killed.
async fn make_deadly(world: &World, id: EnvelopeId) {
    let id = id.as_uuid();
    world
        .run(&format!(
            "create function public.hang() returns trigger language plpgsql as
               'begin if new.id = ''{id}'' then perform pg_sleep(3600); end if; return new; end';
             create trigger hang_worker before insert on analytics.envelope_ledger
               for each row execute function public.hang()"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_that_kills_workers_is_parked_after_three_tries_and_its_neighbours_count() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    engagement(&world, "analytics_worker").ensure_day(EnvelopeId::now().day()).await.unwrap();
    let publisher = publisher(&world).await;
    publish(&publisher, &[view(blog, 1)]).await;
    let deadly = publish_traced(&publisher, &[view(blog, 2), view(blog, 3)], Some(TRACE)).await;
    make_deadly(&world, deadly).await;
    publish(&publisher, &[view(blog, 4)]).await;

    let hanging =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
    let mut ended = 0;
    loop {
        let worker = world.worker().await;
        let mut parked = 0_i64;
        let reached = wait_until(async || {
            parked = world.value(PARKED, &[]).await;
            parked > 0 || world.value::<i64>(hanging, &[]).await > 0
        });
        assert!(reached.await, "after {ended} workers");
        if parked > 0 {
            world.until(VIEWS, 2_i64).await;
            worker.stop().await;
            break;
        }
        // The worker is dropped, not stopped: it neither drains nor acknowledges, as when it is killed.
        drop(worker);
        ended += 1;
        assert!(ended <= 8, "it has been tried too often");
        world.run(end).await;
        world.until(hanging, 0_i64).await;
    }
    assert!(ended >= 6, "three before anything is suspected, three alone: {ended}");
    let row = world
        .client()
        .query_one(
            "select envelope_id, index, reason, sqlstate, traceparent, attempts, first_seen_at > now() - interval '1 minute'
             from analytics.parked",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, Uuid>(0), row.get::<_, i32>(1)), (deadly.as_uuid(), -1));
    assert!(row.get::<_, &str>(2).starts_with("3 workers died"), "{row:?}");
    assert_eq!(row.get::<_, Option<&str>>(3), None);
    assert_eq!(row.get::<_, Option<&str>>(4), Some(TRACE));
    assert_eq!(row.get::<_, i32>(5), 3);
    assert!(row.get::<_, bool>(6), "{row:?}");
    assert_eq!(world.value::<i64>("select count(*) from analytics.attempt", &[]).await, 0);
    assert_eq!(depth(&world).await, 0);
    world.assert_consistent().await;

    world.run("drop trigger hang_worker on analytics.envelope_ledger").await;
    let redriven =
        engagement(&world, "analytics_worker").redrive(deadly.as_uuid(), -1, InDoubt::Leave).await.unwrap();
    assert_eq!(redriven, Redriven::Applied(vec![Outcome::Counted; 2]));
    assert_eq!(world.value::<i64>(VIEWS, &[]).await, 4);
    world.assert_consistent().await;
}

#[tokio::test]
async fn attempt_with_a_lost_answer_is_repeated_and_counts_once() {
    let world = World::new().await;
    let session = world.session("analytics_worker").await;
    let begin = include_str!("../../services/analytics-worker/sql/attempt_begin.sql");
    let (envelope, one, other) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let mut attempts = Vec::new();
    for number in [one, one, one, other, other] {
        let row = session.client.query_one(begin, &[&envelope, &number]).await.unwrap();
        attempts.push(row.get::<_, i32>("attempts"));
    }
    assert_eq!(attempts, [1, 1, 1, 2, 2]);
}

#[tokio::test]
async fn envelope_redelivered_through_no_fault_of_its_own_is_counted() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let (settings, publisher) = (broker_settings(&world).await, publisher(&world).await);
    let event = view(blog, 0);
    let applied = publish(&publisher, std::slice::from_ref(&event)).await;
    for visitor in 1..10 {
        publish(&publisher, &[view(blog, visitor)]).await;
    }
    // As if its worker had died between the COMMIT and the ack, while it tried this envelope alone.
    let batch = [Incoming { id: applied, traceparent: None, events: vec![Ok(event)] }];
    engagement(&world, "analytics_worker").apply(&batch, OnBadEvent::Park).await.unwrap();
    let tried =
        "insert into analytics.attempt (envelope_id, attempts, last_try) values ($1, 1, gen_random_uuid())";
    world.client().execute(tried, &[&applied.as_uuid()]).await.unwrap();
    for _ in 0..3 {
        let mut consumer = Consumer::open(&settings, Queue::Engagement, 10, "it").await.unwrap();
        for _ in 0..10 {
            consumer.next().await.unwrap().unwrap();
        }
        drop(consumer);
    }
    let worker = world.worker().await;
    world.until(VIEWS, 10_i64).await;
    assert!(wait_until(async || worker.metric("commonplace_worker_suspects_total").await == 10.0).await);
    worker.stop().await;
    assert_eq!(depth(&world).await, 0);
    assert_eq!(world.value::<i64>(VIEWS, &[]).await, 10);
    assert_eq!(world.value::<i64>(PARKED, &[]).await, 0);
    assert_eq!(world.value::<i64>("select count(*) from analytics.attempt", &[]).await, 0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn event_refused_by_a_constraint_is_parked_with_its_details() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    world.run(REFUSE).await;
    let publisher = publisher(&world).await;
    publish(&publisher, &[view(blog, 1)]).await;
    let id = publish_traced(&publisher, &[view(blog, 2), bad(blog), view(blog, 3)], Some(TRACE)).await;
    publish(&publisher, &[view(blog, 4)]).await;
    let worker = world.worker().await;
    world.until(VIEWS, 4_i64).await;
    worker.ready().await;
    worker.stop().await;
    let row = world
        .client()
        .query_one(
            "select envelope_id, index, kind, reason, sqlstate, traceparent, attempts, in_ledger,
                    first_seen_at > now() - interval '1 minute'
             from analytics.parked",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, Uuid>(0), row.get::<_, i32>(1)), (id.as_uuid(), 1));
    assert_eq!(row.get::<_, &str>(2), "share");
    assert!(row.get::<_, &str>(3).contains("no_email"), "{row:?}");
    assert_eq!(row.get::<_, &str>(4), "23514");
    assert_eq!(row.get::<_, &str>(5), TRACE);
    assert_eq!((row.get::<_, i32>(6), row.get::<_, bool>(7), row.get::<_, bool>(8)), (1, true, true));
    assert_eq!(depth(&world).await, 0);
    world.assert_consistent().await;
}

/// Redrives everything that is parked, like an operator after the cause is fixed.
async fn redrive_all(world: &World) {
    let engagement = engagement(world, "analytics_worker");
    let rows = world.client().query("select envelope_id, index from analytics.parked", &[]).await.unwrap();
    for row in rows {
        let redriven = engagement.redrive(row.get(0), row.get(1), InDoubt::Leave).await.unwrap();
        assert_eq!(redriven, Redriven::Applied(vec![Outcome::Counted]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_stop_when_everything_is_parked_and_resume_after_a_redrive() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    world.run(REFUSE).await;
    let publisher = publisher(&world).await;
    publish(&publisher, &[view(blog, 1)]).await;
    for _ in 0..8 {
        publish(&publisher, &[bad(blog)]).await;
    }
    publish(&publisher, &[view(blog, 2)]).await;
    let five = |loader| one_by_one(loader).set("poison.stop_in_a_row", 5);
    let worker = world.worker_with(five).await;
    worker.degraded("parking", "the last 5 events were all parked").await;
    // It is up, and says that it is not ready.
    let (status, ready) = answer(worker.request(Method::GET, "/readyz")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{ready}");
    assert_eq!(answer(worker.request(Method::GET, "/healthz")).await.0, StatusCode::OK);
    let back = wait_until(async || depth(&world).await == 4);
    assert!(back.await, "the rest is in the queue: {}", depth(&world).await);
    assert_eq!(world.value::<i64>(PARKED, &[]).await, 5);
    // Neither a restart nor a sibling drains the queue.
    worker.stop().await;
    let (again, sibling) = (world.worker_with(five).await, world.worker_with(five).await);
    again.degraded("parking", "nothing is consumed").await;
    sibling.degraded("parking", "nothing is consumed").await;
    assert_eq!(depth(&world).await, 4);
    assert_eq!(world.value::<i64>(PARKED, &[]).await, 5);

    world.run(MEND).await;
    redrive_all(&world).await;
    world.until("select sum(total_views + total_shares)::bigint from blogs.blog_counter", 10_i64).await;
    again.ready().await;
    sibling.ready().await;
    again.stop().await;
    sibling.stop().await;
    assert_eq!(depth(&world).await, 0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn workers_stop_when_too_large_a_share_is_parked() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    world.run(REFUSE).await;
    let publisher = publisher(&world).await;
    for visitor in 0..20 {
        publish(&publisher, &[view(blog, visitor), bad(blog), bad(blog)]).await;
    }
    let share = |loader| {
        one_by_one(loader)
            .set("poison.stop_percent", 60)
            .set("poison.stop_parked_min", 10)
            .set("poison.stop_in_a_row", 1000)
    };
    let worker = world.worker_with(share).await;
    worker.degraded("parking", "10 of the last 15 events were parked").await;
    let back = wait_until(async || depth(&world).await == 15);
    assert!(back.await, "the rest is in the queue: {}", depth(&world).await);
    world.run(MEND).await;
    redrive_all(&world).await;
    world.until("select sum(total_views + total_shares)::bigint from blogs.blog_counter", 60_i64).await;
    worker.stop().await;
    world.assert_consistent().await;
}

/// Publishes garbage, as one producer may without limit: `n` messages of each kind that a worker sets aside because
/// they are unreadable, have no usable date, or were given up by the broker.
async fn publish_garbage(world: &World, publisher: &Publisher, n: u64) {
    let blog = world.blogs(1).await[0];
    for visitor in 0..n {
        publish_raw(world, json!({"message_id": EnvelopeId::now().as_uuid()}), "not JSON").await;
        publish_raw(world, json!({"message_id": EnvelopeId::now().as_uuid(), "expiration": "0"}), "[]").await;
        let long_ago = Timestamp::UNIX_EPOCH;
        publish(publisher, &[EngagementEvent { time: long_ago, ..view(blog, visitor) }]).await;
        let late =
            EnvelopeId::try_from(Uuid::new_v7(uuid::Timestamp::from_unix_time(86_400, 0, 0, 0))).unwrap();
        let events = vec![Ok(view(blog, visitor))];
        publish_incoming(publisher, &Incoming { id: late, traceparent: None, events }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_from_one_producer_never_stops_the_workers() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let publisher = publisher(&world).await;
    publish(&publisher, &[view(blog, 1)]).await;
    let unreadable = format!("[{}]", vec!["{}"; 250].join(","));
    publish_raw(&world, json!({"message_id": EnvelopeId::now().as_uuid()}), &unreadable).await;
    publish_garbage(&world, &publisher, 6).await;
    let worker = world.worker_with(|loader| one_by_one(loader).set("poison.stop_in_a_row", 5)).await;
    world.until(PARKED, 250_i64 + 4 * 6).await;
    publish(&publisher, &[view(blog, 2)]).await;
    world.until(VIEWS, 2_i64).await;
    worker.ready().await;
    worker.stop().await;
    assert_eq!(depth(&world).await, 0);
    assert_eq!(world.value::<i64>("select count(*) from analytics.parked where not unfit", &[]).await, 0);
    world.assert_consistent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_stop_when_they_would_park_a_sound_envelope() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    // Every envelope is late for this worker, as it is for a release that takes the wrong day from an id.
    world
        .run(
            "create or replace function analytics.create_day(parent text, wanted date) returns text
               language sql as $$ select 'outside' $$;
             do $$ declare day regclass; begin
               for day in select inhrelid::regclass from pg_inherits
                 where inhparent = 'analytics.envelope_ledger'::regclass
               loop execute format('drop table %s', day); end loop;
             end $$",
        )
        .await;
    let publisher = publisher(&world).await;
    for visitor in 0..9 {
        publish(&publisher, &[view(blog, visitor)]).await;
    }
    let five = |loader| one_by_one(loader).set("poison.stop_in_a_row", 5);
    let worker = world.worker_with(five).await;
    worker.degraded("parking", "would park a sound envelope").await;
    let back = wait_until(async || depth(&world).await == 4);
    assert!(back.await, "the rest is in the queue: {}", depth(&world).await);
    worker.stop().await;
    let again = world.worker_with(five).await;
    again.degraded("parking", "nothing is consumed").await;
    again.stop().await;
    assert_eq!(depth(&world).await, 4);
    assert_eq!(world.value::<i64>(PARKED, &[]).await, 5);
}
