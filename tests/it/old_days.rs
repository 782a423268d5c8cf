//! What leaves with an old day, what it waits for, and the keys that leave by themselves.

use std::cell::Cell;

use engagement::Outcome;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use tokio_postgres::error::SqlState;

use crate::partitions::{
    TABLES, a_day_passes, apply, begin_on, day, days_of, drop_day, engagement, envelope, found_free, leaves,
};
use crate::world::{World, away_from_midnight, wait_until};

/// A view of the last moments of a day may be in an envelope of the next.
#[tokio::test]
async fn a_day_of_views_stays_while_an_envelope_of_the_day_after_waits() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let then = day(Timestamp::now()).checked_sub(5.days()).unwrap();
    let midnight = then.tomorrow().unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp();
    begin_on(&world, then).await;
    engagement(&world).ensure_day(then).await.unwrap();
    found_free(&world, then).await;

    let id = envelope(midnight, blog).id.as_uuid();
    let outbox = "insert into blogs.outbox (id, routing_key, events, body) values ($1, 'engagement', 1, '')";
    world.client().execute(outbox, &[&id]).await.unwrap();
    assert!(!drop_day(&world, "blog_view", then).await, "in the outbox");
    world.run("delete from blogs.outbox").await;
    let parked = "insert into analytics.parked (envelope_id, index, reason, body, in_ledger) values ($1, 0, '', '', true)";
    world.client().execute(parked, &[&id]).await.unwrap();
    assert!(!drop_day(&world, "blog_view", then).await, "parked");
    // The ledger's own day has nothing to do with it.
    assert!(drop_day(&world, "envelope_ledger", then).await);
    world.run("delete from analytics.parked").await;
    assert!(leaves(&world, "blog_view", then).await);
}

/// A batch that commits while its day is being dropped is part of the sum that the floor keeps.
#[tokio::test]
async fn what_comes_in_while_a_day_is_dropped_leaves_with_it() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let then = Timestamp::now() - SignedDuration::from_hours(5 * 24);
    begin_on(&world, day(then)).await;
    let engagement = engagement(&world);
    engagement.ensure_day(day(then)).await.unwrap();
    found_free(&world, day(then)).await;

    let writer = world.another().await;
    let dropper = world.session("analytics_worker").await;
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    // An attempt gives up when the lock does not come within 200 ms; on a machine that is busy it may take several.
    let mut committed = 0_i64;
    loop {
        writer.client.batch_execute("begin").await.unwrap();
        let insert = "insert into analytics.envelope_ledger (day, id, n) values ($1, $2, 1)";
        let id = envelope(then, blog).id.as_uuid();
        writer.client.execute(insert, &[&day(then), &id]).await.unwrap();
        let over = Cell::new(false);
        let dropping = async {
            let sql = "select analytics.drop_day('envelope_ledger', $1, 2)";
            let dropped = dropper.client.query_one(sql, &[&day(then)]).await;
            over.set(true);
            dropped
        };
        let committing = async {
            let waiting = async || over.get() || world.value::<i64>(waits, &[]).await > 0;
            assert!(wait_until(waiting).await, "nobody waits");
            writer.client.batch_execute("commit").await.unwrap();
        };
        let (dropped, ()) = tokio::join!(dropping, committing);
        committed += 1;
        match dropped {
            Ok(row) => {
                assert!(row.get::<_, bool>(0));
                break;
            }
            Err(error) => assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{error:?}"),
        }
        assert!(committed < 50, "the day is never dropped");
    }
    assert_eq!(world.value::<i64>("select dropped_n from analytics.ledger_floor", &[]).await, committed);
    assert_eq!(apply(&engagement, &envelope(then, blog)).await, Outcome::Parked, "the day is gone");
}

/// However many there are, one round leaves none.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_forgets_every_key_whose_time_is_over() {
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
async fn a_held_day_does_not_hold_later_days() {
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
    // What was not dropped can still be counted in.
    assert_eq!(apply(&engagement, &envelope(before(24), blog)).await, Outcome::Counted);

    // Nothing waits for them any more.
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
