//! What leaves with an old day, what it waits for, and the keys that leave by themselves.

use std::cell::Cell;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use tokio_postgres::error::SqlState;

use crate::partitions::{apply, day, drop_day, engagement, envelope, set_floor};
use crate::world::{World, wait_until};

/// A view of the last moments of a day may be in an envelope of the next.
#[tokio::test]
async fn a_day_of_views_stays_while_an_envelope_of_the_day_after_waits() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let then = day(Timestamp::now()).checked_sub(5.days()).unwrap();
    let midnight = then.tomorrow().unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp();
    set_floor(&world, then, "2 days").await;
    engagement(&world).ensure_day(then).await.unwrap();
    set_floor(&world, then.checked_add(3.days()).unwrap(), "2 days").await;

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
    assert!(drop_day(&world, "blog_view", then).await);
}

/// A batch that commits while its day is being dropped is part of the sum that the floor keeps.
#[tokio::test]
async fn what_comes_in_while_a_day_is_dropped_leaves_with_it() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let then = Timestamp::now() - jiff::SignedDuration::from_hours(5 * 24);
    set_floor(&world, day(then), "2 days").await;
    let engagement = engagement(&world);
    engagement.ensure_day(day(then)).await.unwrap();
    set_floor(&world, day(then) + 3.days(), "2 days").await;

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
            let sql = "select analytics.drop_day('envelope_ledger', $1)";
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
    assert_eq!(
        apply(&engagement, &envelope(then, blog)).await,
        engagement::Outcome::Parked,
        "the day is gone"
    );
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
