//! Dropping old days: what is dropped with a day, what delays it, and clocks that could close a day too early.

use std::cell::Cell;

use engagement::Outcome;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use test_servers::days::{a_day_passes, ago, begin_on, day, drop_day, found_free, leaves};
use test_servers::{Database, wait_until};
use tokio_postgres::error::SqlState;

use crate::days::{apply, engagement, envelope};

/// A view from the end of a day may be in an envelope of the next day.
#[tokio::test]
async fn a_day_of_views_stays_while_an_envelope_of_the_day_after_waits() {
    let world = Database::new().await;
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
    // The ledger's own day does not matter here.
    assert!(drop_day(&world, "envelope_ledger", then).await);
    world.run("delete from analytics.parked").await;
    assert!(leaves(&world, "blog_view", then).await);
}

/// A batch that commits while its day is being dropped is included in the floor's sum.
#[tokio::test]
async fn batch_that_commits_while_its_day_is_dropped_is_in_the_floors_sum() {
    let world = Database::new().await;
    let blog = world.blogs(1).await[0];
    let then = ago(5);
    begin_on(&world, day(then)).await;
    let engagement = engagement(&world);
    engagement.ensure_day(day(then)).await.unwrap();
    found_free(&world, day(then)).await;

    let writer = world.another().await;
    let dropper = world.session("analytics_worker").await;
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    // An attempt gives up if it does not get the lock within 200 ms; on a busy machine several attempts may be needed.
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
            assert!(wait_until(waiting).await, "no session waits for the lock");
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

/// No function that a worker may call with a date closes a day, even if the worker's clock is wrong.
#[tokio::test]
async fn a_worker_whose_clock_is_wrong_closes_no_day() {
    let world = Database::new().await;
    let blog = world.blogs(1).await[0];
    begin_on(&world, day(ago(20))).await;
    let session = world.session("analytics_worker").await;
    let dated = "select p.oid::regproc::text from pg_proc p
                 where p.pronamespace = 'analytics'::regnamespace and p.pronargs = 1 and p.proargtypes[0] = 'date'::regtype
                   and has_function_privilege(p.oid, 'execute')";
    for row in session.client.query(dated, &[]).await.unwrap() {
        for wrong in ["2000-01-01", "9999-01-01"] {
            let call = format!("select {}('{wrong}')", row.get::<_, String>(0));
            session.client.batch_execute(&call).await.unwrap();
        }
    }
    assert_eq!(apply(&engagement(&world), &envelope(ago(5), blog)).await, Outcome::Counted);
    // It also cannot drop days that the ledger must remember.
    let all = "select analytics.drop_day('envelope_ledger', current_date, 1)";
    let refused = session.client.query_one(all, &[]).await.unwrap_err();
    assert_eq!(refused.code().map(SqlState::code), Some("22023"), "{refused:?}");
}

/// While the database's clock was ahead, the current day and a day that was already old were marked as free.
#[tokio::test]
async fn a_database_clock_that_was_ahead_drops_no_day() {
    let world = Database::new().await;
    let (old, today) = (day(ago(5)), day(Timestamp::now()));
    begin_on(&world, old).await;
    let engagement = engagement(&world);
    for day in [old, today] {
        engagement.ensure_day(day).await.unwrap();
    }
    world
        .run(&format!(
            "insert into analytics.old_day (parent, day, free_since)
             select 'envelope_ledger', day, now() + interval '70 days'
             from unnest('{{{old}, {today}}}'::date[]) as day"
        ))
        .await;
    // The first maintenance round after the clock is right again.
    let session = world.session("analytics_worker").await;
    let listed = session.client.query("select analytics.old_days('envelope_ledger', 2)", &[]).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.get::<_, Date>(0)).collect::<Vec<_>>(), [old]);
    assert!(!drop_day(&world, "envelope_ledger", old).await);
    let marks = "select array_agg(day order by day) from analytics.old_day where free_since <= now()";
    assert_eq!(world.value::<Vec<Date>>(marks, &[]).await, [old]);
    assert_eq!(world.value::<i64>("select count(*) from analytics.old_day", &[]).await, 1);
    a_day_passes(&world).await;
    assert!(drop_day(&world, "envelope_ledger", old).await);
    assert!(!drop_day(&world, "envelope_ledger", today).await);
}
