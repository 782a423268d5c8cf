//! Days that come and go: made when they are missing, dropped only when nothing can come of it, and never made
//! again below the floor.

use broker::Queue;
use engagement::{Engagement, Incoming, OnBadEvent, Outcome, Settings};
use events::{Action, EngagementEvent, EnvelopeId, Visitor};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use runtime::settings::Loader;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::message_path::{broker_settings, publish, publisher, view};
use crate::world::{DEADLINE, World, away_from_midnight, wait_until};

const DAY: SignedDuration = SignedDuration::from_hours(24);

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

pub(crate) fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

pub(crate) async fn apply(engagement: &Engagement, envelope: &Incoming) -> Outcome {
    engagement.apply(std::slice::from_ref(envelope), OnBadEvent::Park).await.unwrap().outcomes[0][0]
}

pub(crate) async fn drop_day(world: &World, table: &str, day: Date) -> bool {
    let session = world.session("analytics_worker").await;
    session.client.query_one("select analytics.drop_day($1, $2)", &[&table, &day]).await.unwrap().get(0)
}

/// Drops a day of the ledger while envelopes are inserted: whoever inserts holds the parent, and maintenance gives way and
/// comes again. It may be refused for that and for nothing else.
async fn drop_day_beside_inserts(world: &World, day: Date) {
    let session = world.session("analytics_worker").await;
    let dropped = wait_until(async || {
        let drop = "select analytics.drop_day('envelope_ledger', $1)";
        match session.client.query_one(drop, &[&day]).await {
            Ok(row) => row.get(0),
            Err(error) => {
                assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{error:?}");
                false
            }
        }
    });
    assert!(dropped.await, "{day} is never dropped");
}

/// The floor, as if it had been raised to a day some time ago.
pub(crate) async fn set_floor(world: &World, floor: Date, raised: &str) {
    world
        .run(&format!(
            "update analytics.ledger_floor set day = '{floor}', settled_day = '2000-01-01', candidate_day = '{floor}',
             candidate_at = now() - interval '{raised}'"
        ))
        .await;
}

/// Whoever gets the lock just after somebody else has made the day must see it, though its session has looked before. (Where
/// it does not, this meets the moment in one run of three.)
#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_many_make_at_once_is_made_once() {
    let world = World::new().await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(world.session("notification_worker").await);
    }
    // Every owner's days are made by the same function; of notifications there may be many.
    for ago in 10..160 {
        let wanted = day(Timestamp::now() - DAY * ago);
        let make = "select notify.create_day($1)";
        let made = sessions.iter().map(async |session| -> String {
            session.client.query_one(make, &[&wanted]).await.unwrap().get(0)
        });
        let made = futures_util::future::join_all(made).await;
        assert!(made.iter().any(|made| made == "there"), "{made:?}");
        assert!(made.iter().all(|made| ["there", "busy"].contains(&made.as_str())), "{made:?}");
    }
}

#[tokio::test]
async fn a_missing_day_is_made_and_the_batch_counts() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let engagement = engagement(&world);
    let now = Timestamp::now();
    for at in [now, now - DAY, now + DAY] {
        assert_eq!(apply(&engagement, &envelope(at, blog)).await, Outcome::Counted, "{at}");
    }
    world.until("select total_views from blogs.blog_counter", 3_i64).await;
    world.assert_consistent().await;
}

#[tokio::test]
async fn an_envelope_below_the_floor_is_parked_as_late_once() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let engagement = engagement(&world);
    let now = Timestamp::now();
    let old = envelope(now - DAY * 40, blog);
    let batch = [envelope(now, blog), old, envelope(now, blog)];
    let outcomes = engagement.apply(&batch, OnBadEvent::Park).await.unwrap().outcomes;
    assert_eq!(outcomes, [[Outcome::Counted], [Outcome::Parked], [Outcome::Counted]]);
    engagement.apply(&batch, OnBadEvent::Park).await.unwrap();
    let rows = world.client().query("select reason, in_ledger from analytics.parked", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].get::<_, &str>(0).starts_with("late"));
    assert!(!rows[0].get::<_, bool>(1));
    world.assert_consistent().await;
}

#[tokio::test]
async fn an_event_far_from_its_envelope_is_parked_alone() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let engagement = engagement(&world);
    let now = Timestamp::now();
    let mut mixed = envelope(now, blog);
    mixed.events.extend(envelope(now - DAY * 400, blog).events);
    let outcomes = engagement.apply(&[mixed], OnBadEvent::Park).await.unwrap().outcomes;
    assert_eq!(outcomes, [[Outcome::Counted, Outcome::Parked]]);
    world.assert_consistent().await;
}

/// No day can be made for such a time, and one is missing that will not be made: neither may hold the other up.
#[tokio::test]
async fn a_time_that_the_database_cannot_hold_is_parked_beside_a_late_envelope() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let engagement = engagement(&world);
    let now = Timestamp::now();
    let mut absurd = envelope(now, blog);
    let view = absurd.events[0].as_mut().unwrap();
    view.time = Timestamp::MIN;
    let batch = [envelope(now, blog), envelope(now - DAY * 40, blog), absurd];
    let outcomes = engagement.apply(&batch, OnBadEvent::Park).await.unwrap().outcomes;
    assert_eq!(outcomes, [[Outcome::Counted], [Outcome::Parked], [Outcome::Parked]]);
    world.assert_consistent().await;
}

#[tokio::test]
async fn a_dropped_day_never_comes_back() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let engagement = engagement(&world);
    let now = Timestamp::now();
    let then = now - DAY * 5;
    set_floor(&world, day(then), "2 days").await;
    let old = envelope(then, blog);
    assert_eq!(apply(&engagement, &old).await, Outcome::Counted);
    // On the floor, not below it.
    assert!(!drop_day(&world, "envelope_ledger", day(then)).await);
    // Below it, but not for a day yet.
    set_floor(&world, day(then + DAY * 2), "1 hour").await;
    assert!(!drop_day(&world, "envelope_ledger", day(then)).await);
    // Not dropped, so still known: a copy counts nothing.
    assert_eq!(apply(&engagement, &old).await, Outcome::Replayed);
    set_floor(&world, day(then + DAY * 2), "25 hours").await;
    assert!(drop_day(&world, "envelope_ledger", day(then)).await);
    assert!(drop_day(&world, "blog_view", day(then)).await);
    // Dropped, and a copy is not counted again but parked.
    assert_eq!(apply(&engagement, &old).await, Outcome::Parked);
    assert_eq!(world.value::<i64>("select total_views from blogs.blog_counter", &[]).await, 1);
    // The equation still closes: the floor remembers how many events went with the day.
    assert_eq!(world.value::<i64>("select dropped_n from analytics.ledger_floor", &[]).await, 1);
    world.assert_consistent().await;
}

#[tokio::test]
async fn a_day_of_views_outlives_the_ledgers_by_one() {
    let world = World::new().await;
    let then = day(Timestamp::now() - DAY * 5);
    set_floor(&world, then, "2 days").await;
    engagement(&world).ensure_day(then).await.unwrap();
    set_floor(&world, then.tomorrow().unwrap(), "2 days").await;
    assert!(drop_day(&world, "envelope_ledger", then).await);
    assert!(!drop_day(&world, "blog_view", then).await);
    set_floor(&world, then.checked_add(2.days()).unwrap(), "2 days").await;
    assert!(drop_day(&world, "blog_view", then).await);
}

#[tokio::test]
async fn a_day_stays_while_an_envelope_of_it_waits() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let now = Timestamp::now();
    let then = now - DAY * 5;
    set_floor(&world, day(then), "2 days").await;
    let engagement = engagement(&world);
    engagement.ensure_day(day(then)).await.unwrap();
    set_floor(&world, day(then + DAY * 3), "2 days").await;
    let waiting = envelope(then, blog).id.as_uuid();
    let outbox = "insert into blogs.outbox (id, routing_key, events, body) values ($1, 'engagement', 1, '')";
    world.client().execute(outbox, &[&waiting]).await.unwrap();
    assert!(!drop_day(&world, "envelope_ledger", day(then)).await, "in the outbox");
    world.run("delete from blogs.outbox").await;
    let parked = "insert into analytics.parked (envelope_id, index, reason, body, in_ledger) values ($1, 0, '', '', true)";
    world.client().execute(parked, &[&waiting]).await.unwrap();
    assert!(!drop_day(&world, "envelope_ledger", day(then)).await, "parked");
    world.run("update analytics.parked set redriven_at = now()").await;
    assert!(drop_day(&world, "envelope_ledger", day(then)).await);
}

#[tokio::test]
async fn the_floor_only_rises_and_never_to_today() {
    let world = World::new().await;
    let session = world.session("analytics_worker").await;
    // The floor, and yesterday as one statement of the database sees it: the test may run across midnight.
    let raise = async |wanted: Date| -> (Date, Date) {
        let ask = "select analytics.raise_floor($1), (now() at time zone 'utc')::date - 1";
        let row = session.client.query_one(ask, &[&wanted]).await.unwrap();
        (row.get(0), row.get(1))
    };
    let today = day(Timestamp::now());
    let floor = today.checked_sub(5.days()).unwrap();
    set_floor(&world, floor, "2 days").await;
    assert_eq!(raise(today.checked_sub(100.days()).unwrap()).await.0, floor);
    let (raised, yesterday) = raise(today.checked_add(10.days()).unwrap()).await;
    assert_eq!(raised, yesterday);
}

/// The worker raises the floor every day, so none ever stands for longer than that.
#[tokio::test]
async fn days_leave_although_the_floor_rises_every_day() {
    let world = World::new().await;
    let session = world.session("analytics_worker").await;
    let today = day(Timestamp::now());
    let before = |days: i32| today.checked_sub(days.days()).unwrap();
    set_floor(&world, before(30), "2 days").await;
    let engagement = engagement(&world);
    for days in 20..30 {
        engagement.ensure_day(before(days)).await.unwrap();
    }
    for days in (10..30).rev() {
        // Twice a day, and always a little less than a day after the first time.
        for _ in 0..2 {
            session.client.execute("select analytics.raise_floor($1)", &[&before(days)]).await.unwrap();
        }
        for table in ["envelope_ledger", "blog_view"] {
            let oldest: Option<Date> =
                session.client.query_one("select analytics.oldest_day($1)", &[&table]).await.unwrap().get(0);
            let Some(oldest) = oldest else { continue };
            let dropped = drop_day(&world, table, oldest).await;
            assert!(!dropped || oldest < before(days + 1), "{oldest} stood below no floor for a day");
        }
        world.run("update analytics.ledger_floor set candidate_at = candidate_at - interval '23:59'").await;
    }
    for table in ["envelope_ledger", "blog_view"] {
        let left: Option<Date> = world.value(&format!("select analytics.oldest_day('{table}')"), &[]).await;
        assert_eq!(left, None, "{table}");
    }
}

/// The days that a table has, in order.
async fn days_of(world: &World, table: &str) -> Vec<Date> {
    let days = "select array_agg(to_date(right(c.relname, 8), 'YYYYMMDD') order by c.relname)
                from pg_inherits i join pg_class c on c.oid = i.inhrelid
                where i.inhparent = to_regclass('analytics.' || $1::text)";
    world.value(days, &[&table]).await
}

/// Waits until a round of maintenance is over that began after this call: each raises the floor, which writes that row
/// whatever comes of it, and then looks at the queue and drops.
async fn a_whole_round(world: &World) {
    let raised = async || world.value::<String>("select xmin::text from analytics.ledger_floor", &[]).await;
    for _ in 0..3 {
        let before = raised().await;
        assert!(wait_until(async || raised().await != before).await, "the floor is raised again");
    }
}

/// What happens when a bad release has stopped the workers for long: they still look after the days, and the queue may hold
/// envelopes of any of these.
#[tokio::test]
async fn a_worker_makes_days_ahead_and_drops_none_while_anything_waits_in_the_queue() {
    away_from_midnight().await;
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let today = day(Timestamp::now());
    let old = today.checked_sub(25.days()).unwrap();
    set_floor(&world, old, "2 days").await;
    engagement(&world).ensure_day(old).await.unwrap();
    set_floor(&world, today.checked_sub(20.days()).unwrap(), "2 days").await;
    // The ledger knows nothing of it: it stops the workers and holds no day.
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
    for table in ["envelope_ledger", "blog_view"] {
        assert_eq!(days_of(&world, table).await, with_old, "{table}");
    }
    assert_eq!(worker.metric("commonplace_worker_partitions_ahead").await, 8.0);

    world.run("update analytics.parked set redriven_at = now()").await;
    world.until("select total_views from blogs.blog_counter", 1_i64).await;
    for table in ["envelope_ledger", "blog_view"] {
        let dropped = wait_until(async || days_of(&world, table).await == ahead).await;
        assert!(dropped, "{table}: {:?}", days_of(&world, table).await);
    }
    worker.stop().await;
    world.assert_consistent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_comes_while_its_day_is_dropped_never_counts_again() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let engagement = engagement(&world);
    let now = Timestamp::now();
    // Each round a day of its own, so that none has to be made again.
    for round in 0..20 {
        let then = now - DAY * (5 + round);
        set_floor(&world, day(then), "2 days").await;
        let old = envelope(then, blog);
        assert_eq!(apply(&engagement, &old).await, Outcome::Counted);
        set_floor(&world, day(then + DAY * 2), "2 days").await;
        let dropping = drop_day_beside_inserts(&world, day(then));
        let mut outcomes = Vec::new();
        let copies = timeout(DEADLINE, async {
            while outcomes.last() != Some(&Outcome::Parked) {
                outcomes.push(apply(&engagement, &old).await);
            }
        });
        let ((), parked) = tokio::join!(dropping, copies);
        assert!(parked.is_ok(), "no copy was parked as late: {outcomes:?}");
        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, Outcome::Replayed | Outcome::Parked)),
            "{outcomes:?}"
        );
    }
    assert_eq!(world.value::<i64>("select total_views from blogs.blog_counter", &[]).await, 20);
    assert_eq!(world.value::<i64>("select dropped_n from analytics.ledger_floor", &[]).await, 20);
    world.assert_consistent().await;
}

/// Midnight UTC, as often as it passes between an envelope and its batch, and clocks that are an hour off.
#[tokio::test]
async fn an_envelope_counts_once_whatever_the_clocks_said_when_it_was_made() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let engagement = engagement(&world);
    let now = Timestamp::now();
    let midnight = now.to_zoned(TimeZone::UTC).start_of_day().unwrap().timestamp();
    let hour = SignedDuration::from_hours(1);
    let mut made = 0;
    for n in 0..20 {
        let millis = SignedDuration::from_millis(1 + n * 37);
        for at in [midnight - millis, midnight + millis, now - hour - millis, now + hour + millis] {
            let one = envelope(at, blog);
            assert_eq!(apply(&engagement, &one).await, Outcome::Counted, "{at}");
            assert_eq!(apply(&engagement, &one).await, Outcome::Replayed, "{at}");
            // It stands in the day that its id says.
            let (id, of) = (one.id.as_uuid(), day(at));
            let sql = "select count(*) from analytics.envelope_ledger where id = $1 and day = $2";
            assert_eq!(world.value::<i64>(sql, &[&id, &of]).await, 1, "{at}");
            made += 1;
        }
    }
    assert_eq!(world.value::<i64>("select total_views from blogs.blog_counter", &[]).await, made);
    world.assert_consistent().await;
}
