//! Redriving counts a parked event once, however often and by however many sessions, and the ledger's equation always holds.

use database::Pool;
use engagement::{Engagement, InDoubt, Incoming, OnBadEvent, Outcome, ParkedBody, Redriven, Settings};
use events::{Action, Channel, EngagementEvent, EnvelopeId, Visitor, codec};
use jiff::{SignedDuration, Timestamp};
use rand::seq::SliceRandom;
use test_servers::Database;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Adds a constraint that rejects an event until the constraint is dropped.
pub(crate) const REFUSE: &str =
    "alter table analytics.blog_share add constraint not_by_mail check (channel <> 'email') not valid";
pub(crate) const MEND: &str = "alter table analytics.blog_share drop constraint not_by_mail";

const SETTINGS: Settings = Settings { view_window_s: 1800 };

pub(crate) fn worker(world: &Database) -> Engagement {
    Engagement::new(world.pool("analytics_worker"), &SETTINGS).unwrap()
}

/// As in the operator's command: a login that inherits nothing, acting as `engagement_writer`.
pub(crate) fn operator(world: &Database) -> Engagement {
    let settings = world.database_settings("operator");
    let pool = Pool::acting_as(&settings, "it", "engagement_writer").unwrap();
    Engagement::new(pool, &SETTINGS).unwrap()
}

fn event(blog_id: i64, action: Action) -> EngagementEvent {
    let id = Uuid::now_v7();
    EngagementEvent { id, blog_id, time: Timestamp::now(), action, key: None, imported: false }
}

pub(crate) fn share(blog_id: i64) -> EngagementEvent {
    event(blog_id, Action::Shared(Channel::Email))
}

fn view(blog_id: i64) -> EngagementEvent {
    event(blog_id, Action::Viewed(Visitor(rand::random())))
}

pub(crate) fn envelope(events: impl IntoIterator<Item = EngagementEvent>) -> Incoming {
    Incoming { id: EnvelopeId::now(), traceparent: None, events: events.into_iter().map(Ok).collect() }
}

/// An envelope created some days ago, with this many shares.
pub(crate) fn old_envelope(days: i64, blog_id: i64, shares: usize) -> Incoming {
    let made_at = Timestamp::now() - SignedDuration::from_hours(24 * days);
    let millis = u128::try_from(made_at.as_millisecond()).unwrap();
    let random = u128::from(rand::random::<u64>()) & 0x3fff_ffff_ffff_ffff;
    let id = Uuid::from_u128(millis << 80 | 0x7000 << 64 | 0x8000_0000_0000_0000 | random);
    let events = (0..shares).map(|_| Ok(event(blog_id, Action::Shared(Channel::Link)))).collect();
    Incoming { id: EnvelopeId::try_from(id).unwrap(), traceparent: None, events }
}

pub(crate) async fn apply(engagement: &Engagement, envelope: &Incoming) -> Vec<Outcome> {
    let applied = engagement.apply(std::slice::from_ref(envelope), OnBadEvent::Park).await.unwrap();
    applied.outcomes.into_iter().flatten().collect()
}

pub(crate) async fn redrive(engagement: &Engagement, envelope: &Incoming, index: i32) -> Redriven {
    engagement.redrive(envelope.id.as_uuid(), index, InDoubt::Leave).await.unwrap()
}

pub(crate) fn one(outcome: Outcome) -> Redriven {
    Redriven::Applied(vec![outcome])
}

pub(crate) async fn shares(world: &Database) -> i64 {
    world.value("select sum(total_shares)::bigint from blogs.blog_counter", &[]).await
}

/// Lowers the floor below an envelope, as if its day could still be made.
pub(crate) async fn reopen_day(world: &Database, envelope: &Incoming) {
    let day = envelope.id.day();
    world.run(&format!("update analytics.ledger_floor set day = '{day}'")).await;
}

#[tokio::test]
async fn refused_event_counts_once_its_constraint_is_dropped() {
    let world = Database::new().await;
    let blog = world.blogs(1).await[0];
    let (worker, operator) = (worker(&world), operator(&world));
    world.run(REFUSE).await;
    let mixed = envelope([view(blog), share(blog)]);
    assert_eq!(apply(&worker, &mixed).await, [Outcome::Counted, Outcome::Parked]);

    // Still refused: it stays, and its row says so.
    let Redriven::Parked { reason, sqlstate } = redrive(&operator, &mixed, 1).await else {
        panic!("it is refused")
    };
    assert_eq!((reason.as_str(), sqlstate.as_deref()), ("refused by constraint not_by_mail", Some("23514")));
    assert_eq!(world.value::<i32>("select attempts from analytics.parked", &[]).await, 2);
    world.assert_consistent().await;

    world.run(MEND).await;
    assert_eq!(redrive(&operator, &mixed, 1).await, one(Outcome::Counted));
    assert_eq!(shares(&world).await, 1);
    world.assert_consistent().await;
    let row = "select attempts, redriven_at is not null from analytics.parked";
    let row = world.client().query_one(row, &[]).await.unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, bool>(1)), (3, true));

    // None of these counts it again: redriving it, applying the envelope, or redriving an index that was never parked.
    assert_eq!(redrive(&operator, &mixed, 1).await, Redriven::NotWaiting);
    assert_eq!(apply(&worker, &mixed).await, [Outcome::Replayed; 2]);
    assert_eq!(redrive(&operator, &mixed, 0).await, Redriven::NotWaiting);
    assert_eq!(shares(&world).await, 1);
    world.assert_consistent().await;
}

#[tokio::test]
async fn an_unreadable_event_stays_and_one_whose_blog_or_account_has_gone_is_discarded() {
    let world = Database::new().await;
    let (blogs, account) = (world.blogs(2).await, world.accounts(1).await[0]);
    let (worker, operator) = (worker(&world), operator(&world));
    world.run(REFUSE).await;
    world.run("alter table analytics.blog_like add constraint not_yet check (not liked)").await;
    let like = event(blogs[1], Action::Liked { account_id: account });
    let mut parked = envelope([share(blogs[0]), like]);
    parked.events.push(codec::decode_one(r#"{"type":"blog.painted"}"#));
    assert_eq!(apply(&worker, &parked).await, [Outcome::Parked; 3]);
    world.run(MEND).await;
    world.run("alter table analytics.blog_like drop constraint not_yet").await;
    world.run(&format!("update blogs.blog set deleted_at = now() where id = {}", blogs[0])).await;
    world.run(&format!("update blogs.account set suspended_at = now() where id = {account}")).await;

    assert_eq!(redrive(&operator, &parked, 0).await, one(Outcome::Discarded));
    assert_eq!(redrive(&operator, &parked, 1).await, one(Outcome::Discarded));
    let stays = redrive(&operator, &parked, 2).await;
    assert!(
        matches!(&stays, Redriven::Parked { reason, sqlstate: None } if reason.contains("missing field"))
    );
    world.assert_consistent().await;

    // A newer build can read it, so its record as unreadable is removed.
    let body = codec::encode_engagement(&share(blogs[1]));
    let mend = "update analytics.parked set body = $1 where index = 2";
    world.client().execute(mend, &[&body]).await.unwrap();
    assert_eq!(redrive(&operator, &parked, 2).await, one(Outcome::Counted));
    let unreadable = "select sum(n)::bigint from analytics.outcome where kind = 'unreadable'";
    assert_eq!(world.value::<i64>(unreadable, &[]).await, 0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn a_whole_message_is_applied_like_an_envelope() {
    let world = Database::new().await;
    let blog = world.blogs(1).await[0];
    let (worker, operator) = (worker(&world), operator(&world));
    world.run(REFUSE).await;
    let message = envelope([view(blog), share(blog), view(blog)]);
    let encoded: Vec<_> =
        message.events.iter().map(|event| codec::encode_engagement(event.as_ref().unwrap())).collect();
    let body = codec::join(encoded.iter().map(Vec::as_slice));
    let whole = |envelope_id, body: &[u8]| ParkedBody {
        envelope_id,
        reason: "given up by the broker: rejected".to_owned(),
        body: body.to_owned(),
        traceparent: None,
        attempts: 1,
        unfit: true,
    };
    let nameless = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
    let garbage = Uuid::now_v7();
    let bodies = [whole(message.id.as_uuid(), &body), whole(nameless, &body), whole(garbage, b"not JSON")];
    worker.park_bodies(&bodies).await.unwrap();

    let applied = redrive(&operator, &message, -1).await;
    use Outcome::{Counted, Parked};
    assert_eq!(applied, Redriven::Applied(vec![Counted, Parked, Counted]));
    assert_eq!(apply(&worker, &message).await, [Outcome::Replayed; 3]);
    assert_eq!(redrive(&operator, &message, -1).await, Redriven::NotWaiting);
    world.assert_consistent().await;
    world.run(MEND).await;
    assert_eq!(redrive(&operator, &message, 1).await, one(Counted));

    let leave = operator.redrive(nameless, -1, InDoubt::Leave).await.unwrap();
    assert!(matches!(leave, Redriven::Doubtful { .. }), "{leave:?}");
    let counted = operator.redrive(nameless, -1, InDoubt::Count).await.unwrap();
    // The views are of the same visitors.
    assert_eq!(counted, Redriven::Applied(vec![Outcome::Repeat, Counted, Outcome::Repeat]));
    let unreadable = operator.redrive(garbage, -1, InDoubt::Count).await.unwrap();
    assert!(matches!(&unreadable, Redriven::Parked { reason, .. } if reason.contains("not a JSON array")));
    assert_eq!(shares(&world).await, 2);
    world.assert_consistent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_that_many_sessions_redrive_at_once_counts_once() {
    let world = Database::new().await;
    let blogs = world.blogs(3).await;
    let counting = worker(&world);
    world.run(REFUSE).await;
    let late = [old_envelope(30, blogs[0], 6), old_envelope(31, blogs[1], 6)];
    let mut parked: Vec<(Uuid, i32)> = Vec::new();
    for envelope in &late {
        assert_eq!(apply(&counting, envelope).await, [Outcome::Parked; 6]);
        parked.extend((0..6).map(|index| (envelope.id.as_uuid(), index)));
    }
    for _ in 0..8 {
        let refused = envelope(blogs.iter().map(|blog| share(*blog)));
        assert_eq!(apply(&counting, &refused).await, [Outcome::Parked; 3]);
        parked.extend((0..3).map(|index| (refused.id.as_uuid(), index)));
    }
    reopen_day(&world, &late[1]).await;
    world.run(MEND).await;

    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let (mut parked, operator) = (parked.clone(), operator(&world));
        parked.shuffle(&mut rand::rng());
        tasks.spawn(async move {
            for (envelope, index) in parked {
                match operator.redrive(envelope, index, InDoubt::Leave).await.unwrap() {
                    // A copy of a late envelope may have been counted first.
                    Redriven::Applied(outcomes)
                        if [[Outcome::Counted], [Outcome::Replayed]].iter().any(|one| outcomes == one) => {}
                    Redriven::NotWaiting => {}
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    // At the same time new events arrive, and copies of the late envelopes.
    let (flowing, copies) = (blogs.clone(), late.clone());
    tasks.spawn(async move {
        for n in 0..60 {
            let new = envelope(flowing.iter().flat_map(|blog| [view(*blog), share(*blog)]));
            let batch = [new, copies[n % 2].clone()];
            counting.apply(&batch, OnBadEvent::Park).await.unwrap();
        }
    });
    tasks.join_all().await;
    let waiting = "select count(*) from analytics.parked where redriven_at is null";
    assert_eq!(world.value::<i64>(waiting, &[]).await, 0);
    assert_eq!(shares(&world).await, i64::try_from(parked.len() + 180).unwrap());
    world.assert_consistent().await;
}

#[tokio::test]
async fn dropped_event_is_not_redriven_and_stays_recorded() {
    let world = Database::new().await;
    let blog = world.blogs(1).await[0];
    let (worker, engagement) = (worker(&world), operator(&world));
    world.run(REFUSE).await;
    let parked = envelope([share(blog), share(blog), share(blog), view(blog)]);
    apply(&worker, &parked).await;
    let late = old_envelope(30, blog, 1);
    apply(&worker, &late).await;
    world.run(MEND).await;

    let session = world.session("operator").await;
    let id = parked.id.as_uuid();
    let give_up = include_str!("../../../../cli/sql/parked_drop.sql");
    let give_up = async || session.client.query_one(give_up, &[&id, &0_i32]).await.unwrap().get::<_, bool>(0);
    assert!(give_up().await);
    assert!(!give_up().await);
    assert_eq!(redrive(&engagement, &parked, 0).await, Redriven::NotWaiting);
    assert_eq!(redrive(&engagement, &parked, 1).await, one(Outcome::Counted));
    world.assert_consistent().await;

    // The equation as the operator reads it.
    let ledger = include_str!("../../../../cli/sql/ledger.sql");
    let rows = session.client.query(ledger, &[]).await.unwrap();
    let kinds: Vec<_> = rows
        .iter()
        .map(|row| {
            let kind: &str = row.get("kind");
            let account = ["counted", "repeat", "discarded", "parked", "waiting", "given_up"];
            (kind, account.map(|column| row.get::<_, i64>(column)))
        })
        .collect();
    assert_eq!(kinds, [("share", [1, 0, 0, 2, 1, 1]), ("view", [1, 0, 0, 0, 0, 0])]);
    let sides = ["ledger", "dropped_days", "outside_the_ledger"].map(|side| rows[0].get::<_, i64>(side));
    assert_eq!(sides, [4, 0, 1]);

    // What still waits, page by page, as the operator lists it: the share, then the late one.
    let list = include_str!("../../../../cli/sql/parked_list.sql");
    let none: Option<&str> = None;
    let mut after: (Option<Timestamp>, Option<Uuid>, Option<i32>) = (None, None, None);
    let (mut listed, no_time) = (Vec::new(), None::<Timestamp>);
    loop {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
            [&false, &none, &none, &no_time, &no_time, &after.0, &after.1, &after.2, &1_i64];
        let Some(row) = session.client.query_opt(list, &parameters).await.unwrap() else { break };
        after = (row.get("first_seen_at"), row.get("envelope_id"), row.get("index"));
        listed.push(row.get::<_, Uuid>("envelope_id"));
    }
    assert_eq!(listed, [id, late.id.as_uuid()]);
    let count = include_str!("../../../../cli/sql/parked_count.sql");
    for (all, reason, matching) in [(false, None, 2_i64), (true, None, 4), (false, Some("LATE:"), 1)] {
        let counted =
            session.client.query_one(count, &[&all, &reason, &none, &no_time, &no_time]).await.unwrap();
        assert_eq!(counted.get::<_, i64>("matching"), matching, "{all} {reason:?}");
    }
    let late_ones: [&(dyn tokio_postgres::types::ToSql + Sync); 9] = [
        &true,
        &"LATE:",
        &none,
        &after.0,
        &None::<Timestamp>,
        &None::<Timestamp>,
        &None::<Uuid>,
        &None::<i32>,
        &9_i64,
    ];
    assert_eq!(session.client.query(list, &late_ones).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_has_its_id_before_it_reads_accounts() {
    let world = Database::new().await;
    let (blog, account) = (world.blogs(1).await[0], world.accounts(1).await[0]);
    let (worker, operator) = (worker(&world), operator(&world));
    let like = || event(blog, Action::Liked { account_id: account });
    let refuse = "alter table analytics.blog_like add constraint not_yet check (not liked)";
    world.run(refuse).await;
    let (first, second) = (envelope([like()]), envelope([like()]));
    apply(&worker, &first).await;
    apply(&worker, &second).await;
    world.run("alter table analytics.blog_like drop constraint not_yet").await;
    // Both connections have prepared their statements, so the wait below happens at the write of the like.
    assert_eq!(redrive(&operator, &first, 0).await, one(Outcome::Counted));
    apply(&worker, &envelope([like()])).await;

    let locking = world.another().await;
    let lock = "begin; lock table analytics.blog_like in share row exclusive mode";
    locking.client.batch_execute(lock).await.unwrap();
    let mut waiting = JoinSet::new();
    let third = envelope([like()]);
    waiting.spawn(async move { drop(apply(&worker, &third).await) });
    let redriving = second.clone();
    waiting.spawn(async move { drop(redrive(&operator, &redriving, 0).await) });
    let numbered = "select count(backend_xid) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'";
    world.until(numbered, 2_i64).await;
    locking.client.batch_execute("commit").await.unwrap();
    waiting.join_all().await;
    world.assert_consistent().await;
}
