//! Workers that were down for longer than days exist in advance, and wrong clocks: no unapplied envelope is refused for its
//! age, and no dropped day comes back.

use broker::Publisher;
use engagement::{Incoming, Outcome};
use events::{Envelope, codec};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use runtime::settings::Loader;
use test_servers::days::{TABLES, a_day_passes, ago, begin_on, day, days_of};
use tests::{DEADLINE, World, away_from_midnight, wait_until};
use tokio::time::Instant;

use crate::message_path::publisher;
use crate::partitions::{a_whole_round, apply, engagement, envelope};

/// Days for which the workers were down.
const AWAY: i64 = 30;
const VIEWS: &str = "select sum(total_views)::bigint from blogs.blog_counter";
const PARKED: &str = "select count(*) from analytics.parked where redriven_at is null";

/// Sets the days to the state that workers left when they stopped: the ledger's days at that time, and those in advance.
async fn left_behind(world: &World) {
    let left = day(ago(AWAY));
    let first = left.checked_sub(14.days()).unwrap();
    begin_on(world, first).await;
    let engagement = engagement(world);
    for day in first.series(1.day()).take(14 + 9) {
        engagement.ensure_day(day).await.unwrap();
    }
}

/// An envelope of each day since then, oldest first.
fn waiting(blog_id: i64) -> Vec<Incoming> {
    (0..=AWAY).rev().map(|days| envelope(ago(days), blog_id)).collect()
}

async fn send(publisher: &Publisher, incoming: &Incoming) {
    let event = codec::encode_engagement(incoming.events[0].as_ref().unwrap());
    let sent = Envelope {
        id: incoming.id,
        routing_key: events::ENGAGEMENT,
        events: 1,
        body: codec::join([event.as_slice()]),
        traceparent: None,
    };
    publisher.publish_envelope(sent, Instant::now() + DEADLINE).await.unwrap();
}

/// The workers maintain the days before they consume anything, as when parked events have stopped them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_waited_for_thirty_days_count_after_maintenance() {
    away_from_midnight().await;
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    left_behind(&world).await;
    let (publisher, envelopes) = (publisher(&world).await, waiting(blog));
    for envelope in &envelopes {
        send(&publisher, envelope).await;
    }
    let unreadable = "insert into analytics.parked (envelope_id, index, reason, body, in_ledger)
                      values (gen_random_uuid(), -1, 'unreadable', '', false)";
    world.run(unreadable).await;
    let stopped = |loader: Loader| loader.set("poison.stop_in_a_row", 1).set("poison.check_interval_ms", 100);
    let worker = world.worker_with(|loader| stopped(loader).set("partitions.interval_s", 1)).await;
    worker.degraded("parking", "nothing is consumed").await;
    a_whole_round(&world).await;
    world.run("update analytics.parked set redriven_at = now()").await;

    let expected = i64::try_from(envelopes.len()).unwrap();
    let settled = wait_until(async || {
        world.value::<i64>(VIEWS, &[]).await + world.value::<i64>(PARKED, &[]).await == expected
    });
    assert!(settled.await, "everything is consumed");
    assert_eq!(world.value::<i64>(PARKED, &[]).await, 0, "parked for their age");
    world.assert_consistent().await;

    // Days older than the ledger's memory are dropped by the ordinary rule, and their events are refused from then on.
    let remembered = day(Timestamp::now()).checked_sub(14.days()).unwrap();
    for table in TABLES {
        let kept = |days: Vec<Date>| days.into_iter().all(|day| day >= remembered.yesterday().unwrap());
        let dropped = wait_until(async || {
            a_day_passes(&world).await;
            kept(days_of(&world, table).await)
        });
        assert!(dropped.await, "{table}: {:?}", days_of(&world, table).await);
    }
    send(&publisher, &envelopes[0]).await;
    world.until(PARKED, 1_i64).await;
    let reason: String =
        world.value("select reason from analytics.parked where redriven_at is null", &[]).await;
    assert!(reason.starts_with("late"), "{reason}");
    assert_eq!(world.value::<i64>(VIEWS, &[]).await, expected);
    worker.stop().await;
    world.assert_consistent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_waited_for_thirty_days_count_before_maintenance() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    left_behind(&world).await;
    let (engagement, envelopes) = (engagement(&world), waiting(blog));
    for envelope in &envelopes {
        assert_eq!(apply(&engagement, envelope).await, Outcome::Counted);
    }
    let worker = world.worker_with(|loader| loader.set("partitions.interval_s", 1)).await;
    a_whole_round(&world).await;
    for envelope in &envelopes {
        assert_eq!(apply(&engagement, envelope).await, Outcome::Replayed);
    }
    assert_eq!(world.value::<i64>(VIEWS, &[]).await, i64::try_from(envelopes.len()).unwrap());
    worker.stop().await;
    world.assert_consistent().await;
}

/// Each worker is ended in the middle of its work, and the next one starts with a round of maintenance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_waited_for_thirty_days_count_once_through_workers_that_end() {
    const COPIES: usize = 8;
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    left_behind(&world).await;
    let publisher = publisher(&world).await;
    let mut sent = 0;
    for _ in 0..COPIES {
        for envelope in waiting(blog) {
            send(&publisher, &envelope).await;
            sent += 1;
        }
    }
    let taken = async || world.value::<i64>(VIEWS, &[]).await + world.value::<i64>(PARKED, &[]).await;
    let small = |loader: Loader| loader.set("worker.batch_envelopes_max", 4).set("worker.prefetch", 8);
    for killed in 1..=4 {
        let worker = world.worker_with(|loader| small(loader).set("partitions.interval_s", 1)).await;
        let some = wait_until(async || taken().await >= killed * sent / 6);
        assert!(some.await, "{} of {sent} are consumed", taken().await);
        // Dropping the worker aborts its tasks, wherever they are.
        drop(worker);
    }
    let worker = world.worker_with(|loader| small(loader).set("partitions.interval_s", 1)).await;
    assert!(wait_until(async || taken().await == sent).await, "{} of {sent}", taken().await);
    a_whole_round(&world).await;
    assert_eq!(world.value::<i64>(PARKED, &[]).await, 0, "parked for their age");
    assert_eq!(world.value::<i64>(VIEWS, &[]).await, sent);
    worker.stop().await;
    world.assert_consistent().await;
}
