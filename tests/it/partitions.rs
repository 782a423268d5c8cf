//! How workers look after the days of engagement. The `engagement` crate tests the rules of days themselves.

use broker::Queue;
use engagement::{Engagement, Incoming, OnBadEvent, Outcome, Settings};
use events::{Action, EngagementEvent, EnvelopeId, Visitor};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};
use runtime::settings::Loader;
use test_servers::days::{TABLES, a_day_passes, begin_on, day, days_of, found_free};
use tests::{World, away_from_midnight, wait_until};
use uuid::Uuid;

use crate::message_path::{broker_settings, publish, publisher, view};

pub(crate) fn engagement(world: &World) -> Engagement {
    Engagement::new(world.pool("analytics_worker"), &Settings { view_window_s: 1800 }).unwrap()
}

/// An envelope that was made at a time, with one view of that time.
pub(crate) fn envelope(at: Timestamp, blog_id: i64) -> Incoming {
    let millis = u128::try_from(at.as_millisecond()).unwrap();
    let random = u128::from(rand::random::<u64>()) & 0x3fff_ffff_ffff_ffff;
    let id = Uuid::from_u128(millis << 80 | 0x7000 << 64 | 0x8000_0000_0000_0000 | random);
    let view = EngagementEvent {
        id: Uuid::now_v7(),
        blog_id,
        time: at,
        action: Action::Viewed(Visitor(rand::random())),
        key: None,
        imported: false,
    };
    Incoming { id: EnvelopeId::try_from(id).unwrap(), traceparent: None, events: vec![Ok(view)] }
}

pub(crate) async fn apply(engagement: &Engagement, envelope: &Incoming) -> Outcome {
    engagement.apply(std::slice::from_ref(envelope), OnBadEvent::Park).await.unwrap().outcomes[0][0]
}

/// Waits until a round of maintenance that began after this call has ended. Each round deletes expired keys before it
/// checks the queue. A round that began earlier may delete the first key; the round that deletes the third key follows
/// a whole round.
pub(crate) async fn a_whole_round(world: &World) {
    for _ in 0..3 {
        world
            .run("insert into analytics.event_key (key, expires_at) values (gen_random_uuid(), 'epoch')")
            .await;
        world.until("select count(*) from analytics.event_key where expires_at = 'epoch'", 0_i64).await;
    }
}

/// As when a bad release has stopped the workers for a long time: they still maintain the days, and the queue may hold
/// envelopes of any day.
#[tokio::test]
async fn a_worker_makes_days_ahead_and_drops_none_while_anything_waits_in_the_queue() {
    away_from_midnight().await;
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let today = day(Timestamp::now());
    let old = today.checked_sub(25.days()).unwrap();
    begin_on(&world, old).await;
    engagement(&world).ensure_day(old).await.unwrap();
    found_free(&world, old).await;
    // The parked message is not in the ledger. It stops the workers, but keeps no day from being dropped.
    let parked = "insert into analytics.parked (envelope_id, index, reason, body, in_ledger)
                  values (gen_random_uuid(), -1, 'unreadable', '', false)";
    world.run(parked).await;
    publish(&publisher(&world).await, &[view(blog, 1)]).await;
    let stopped = |loader: Loader| loader.set("poison.stop_in_a_row", 1).set("poison.check_interval_ms", 100);
    let worker = world.worker_with(|loader| stopped(loader).set("partitions.interval_s", 1)).await;
    a_whole_round(&world).await;

    let ahead: Vec<Date> = today.yesterday().unwrap().series(1.day()).take(10).collect();
    let with_old = [&[old], &ahead[..]].concat();
    worker.degraded("parking", "nothing is consumed").await;
    let settings = broker_settings(&world).await;
    assert_eq!(broker::queue_depth(&settings, Queue::Engagement).await.unwrap(), 1);
    for table in TABLES {
        assert_eq!(days_of(&world, table).await, with_old, "{table}");
    }
    assert_eq!(worker.metric("commonplace_worker_partitions_ahead").await, 8.0);

    world.run("update analytics.parked set redriven_at = now()").await;
    world.until("select total_views from blogs.blog_counter", 1_i64).await;
    for table in TABLES {
        let dropped = wait_until(async || days_of(&world, table).await == ahead).await;
        assert!(dropped, "{table}: {:?}", days_of(&world, table).await);
    }
    worker.stop().await;
    world.assert_consistent().await;
}

/// One round deletes all expired keys, however many there are.
#[tokio::test(flavor = "multi_thread")]
async fn worker_deletes_every_expired_key() {
    let world = World::new().await;
    world
        .run(
            "insert into analytics.event_key (key, expires_at)
             select gen_random_uuid(), now() + case when n <= 7 then interval '-1 s' else interval '1 day' end
             from generate_series(1, 10) n",
        )
        .await;
    let worker = world.worker_with(|loader| loader.set("partitions.forget_keys_max", 2)).await;
    world.until("select count(*) from analytics.event_key", 3_i64).await;
    worker.stop().await;
}

/// A parked event and a row of the outbox hold their own days. Days after them are dropped, and do not come back.
#[tokio::test(flavor = "multi_thread")]
async fn day_in_use_does_not_block_dropping_later_days() {
    away_from_midnight().await;
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let now = Timestamp::now();
    let before = |days: i64| now - SignedDuration::from_hours(24 * days);
    let days = [25, 24, 23, 22].map(|days| day(before(days)));
    begin_on(&world, days[0]).await;
    let engagement = engagement(&world);
    for day in days {
        engagement.ensure_day(day).await.unwrap();
        found_free(&world, day).await;
    }
    let known = envelope(before(23), blog);
    assert_eq!(apply(&engagement, &known).await, Outcome::Counted);
    let parked = "insert into analytics.parked (envelope_id, index, reason, body, in_ledger) values ($1, 0, '', '', true)";
    world.client().execute(parked, &[&envelope(before(25), blog).id.as_uuid()]).await.unwrap();
    let outbox = "insert into blogs.outbox (id, routing_key, events, body) values ($1, 'engagement', 1, '')";
    world.client().execute(outbox, &[&envelope(before(24), blog).id.as_uuid()]).await.unwrap();

    let worker = world.worker_with(|loader| loader.set("partitions.interval_s", 1)).await;
    let old = async |table| {
        let mut old = days_of(&world, table).await;
        old.retain(|day| *day <= days[3]);
        old
    };
    for table in TABLES {
        let dropped = wait_until(async || old(table).await == days[..2]).await;
        assert!(dropped, "{table}: {:?}", old(table).await);
    }
    assert_eq!(apply(&engagement, &known).await, Outcome::Parked, "its day was dropped");
    assert_eq!(world.value::<i64>("select total_views from blogs.blog_counter", &[]).await, 1);
    assert_eq!(world.value::<i64>("select dropped_n from analytics.ledger_floor", &[]).await, 1);
    // Events of a day that was not dropped still count.
    assert_eq!(apply(&engagement, &envelope(before(24), blog)).await, Outcome::Counted);

    // Nothing needs these days any more.
    world.run("delete from analytics.parked; delete from blogs.outbox").await;
    for table in TABLES {
        let dropped = wait_until(async || {
            a_day_passes(&world).await;
            old(table).await.is_empty()
        });
        assert!(dropped.await, "{table}: {:?}", old(table).await);
    }
    worker.stop().await;
    world.assert_consistent().await;
}
