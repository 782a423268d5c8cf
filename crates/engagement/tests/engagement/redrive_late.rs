//! Redriving events of envelopes that are older than the ledger's days: when the ledger can hold the day again, when a copy
//! has arrived, and when an operator decides to count them.

use engagement::{InDoubt, OnBadEvent, Outcome, Redriven};
use events::EnvelopeId;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use test_servers::Database;
use uuid::Uuid;

use crate::redrive::{
    MEND, REFUSE, apply, envelope, old_envelope, one, operator, redrive, reopen_day, share, shares, worker,
};

#[tokio::test]
async fn a_late_event_waits_for_its_day_or_for_a_decision() {
    let world = Database::new().await;
    let blog = world.blogs(1).await[0];
    let (worker, operator) = (worker(&world), operator(&world));
    let (held, decided) = (old_envelope(30, blog, 3), old_envelope(40, blog, 2));
    assert_eq!(apply(&worker, &held).await, [Outcome::Parked; 3]);
    assert_eq!(apply(&worker, &decided).await, [Outcome::Parked; 2]);
    let doubtful = redrive(&operator, &held, 1).await;
    let day = held.id.made_at().to_zoned(TimeZone::UTC).date().to_string();
    assert!(matches!(&doubtful, Redriven::Doubtful { reason } if reason.contains(&day)), "{doubtful:?}");
    assert_eq!(shares(&world).await, 0);

    // The ledger can hold its day again: the envelope is inserted with all its waiting events.
    reopen_day(&world, &held).await;
    assert_eq!(redrive(&operator, &held, 1).await, one(Outcome::Counted));
    world.assert_consistent().await;
    let known = "select count(*) from analytics.parked where in_ledger and redriven_at is null";
    assert_eq!(world.value::<i64>(known, &[]).await, 2);
    // A copy that was still on its way changes nothing.
    assert_eq!(apply(&worker, &held).await, [Outcome::Replayed; 3]);
    assert_eq!(redrive(&operator, &held, 0).await, one(Outcome::Counted));
    assert_eq!(shares(&world).await, 2);
    world.assert_consistent().await;

    // An operator decided: it is counted under a new id, so the equation holds without an exception.
    let before = Timestamp::now();
    let counted = operator.redrive(decided.id.as_uuid(), 0, InDoubt::Count).await.unwrap();
    assert_eq!(counted, one(Outcome::Counted));
    assert_eq!(redrive(&operator, &decided, 0).await, Redriven::NotWaiting);
    let newest: Uuid =
        world.value("select id from analytics.envelope_ledger order by id desc limit 1", &[]).await;
    let newest = EnvelopeId::try_from(newest).unwrap().made_at();
    assert!(newest.as_millisecond() >= before.as_millisecond(), "{newest} is of the decision, {before}");
    assert_eq!(shares(&world).await, 3);
    world.assert_consistent().await;

    // The counted event is not counted again when its day comes back; its neighbour is counted.
    reopen_day(&world, &decided).await;
    assert_eq!(redrive(&operator, &decided, 1).await, one(Outcome::Counted));
    assert_eq!(redrive(&operator, &decided, 0).await, Redriven::NotWaiting);
    assert_eq!(shares(&world).await, 4);
    world.assert_consistent().await;
}

#[tokio::test]
async fn a_late_event_whose_copy_was_counted_adds_nothing() {
    let world = Database::new().await;
    let blog = world.blogs(1).await[0];
    let (worker, operator) = (worker(&world), operator(&world));
    let late = old_envelope(30, blog, 2);
    assert_eq!(apply(&worker, &late).await, [Outcome::Parked; 2]);
    reopen_day(&world, &late).await;
    assert_eq!(apply(&worker, &late).await, [Outcome::Counted; 2]);
    assert_eq!(redrive(&operator, &late, 0).await, one(Outcome::Replayed));
    let in_doubt = operator.redrive(late.id.as_uuid(), 1, InDoubt::Count).await.unwrap();
    assert_eq!(in_doubt, one(Outcome::Replayed), "there is no doubt");
    assert_eq!(shares(&world).await, 2);
    world.assert_consistent().await;
}

#[tokio::test]
async fn a_late_event_whose_copy_is_refused_waits_in_the_ledger() {
    let world = Database::new().await;
    let blog = world.blogs(1).await[0];
    let (worker, operator) = (worker(&world), operator(&world));
    let late = old_envelope(30, blog, 2);
    // The same envelope twice in one batch, and again.
    let twice = worker.apply(&[late.clone(), late.clone()], OnBadEvent::Park).await.unwrap();
    assert_eq!(twice.outcomes, [[Outcome::Parked; 2]; 2]);
    assert_eq!(apply(&worker, &late).await, [Outcome::Parked; 2]);
    let decided = operator.redrive(late.id.as_uuid(), 0, InDoubt::Count).await.unwrap();
    assert_eq!(decided, one(Outcome::Counted));
    reopen_day(&world, &late).await;
    world
        .run("alter table analytics.blog_share add constraint no_link check (channel <> 'link') not valid")
        .await;
    assert_eq!(apply(&worker, &late).await, [Outcome::Parked; 2]);
    world.assert_consistent().await;
    world.run("alter table analytics.blog_share drop constraint no_link").await;
    assert_eq!(redrive(&operator, &late, 1).await, one(Outcome::Counted));
    // This one was counted on an operator's decision and has arrived again: it waits for another decision.
    assert_eq!(redrive(&operator, &late, 0).await, one(Outcome::Counted));
    assert_eq!(shares(&world).await, 3);
    world.assert_consistent().await;
}

/// Three days ago a share was refused, and its client's retry under the same key was counted.
#[tokio::test]
async fn a_keyed_event_whose_retry_was_counted_is_a_repeat_however_late_it_is_redriven() {
    let world = Database::new().await;
    let blog = world.blogs(1).await[0];
    let (worker, operator) = (worker(&world), operator(&world));
    let (key, then) = (Uuid::new_v4(), Timestamp::now() - SignedDuration::from_hours(72));
    let keyed = || {
        let mut event = share(blog);
        (event.key, event.time) = (Some(key), then);
        envelope([event])
    };
    world.run(REFUSE).await;
    let parked = keyed();
    assert_eq!(apply(&worker, &parked).await, [Outcome::Parked]);
    world.run(MEND).await;
    assert_eq!(apply(&worker, &keyed()).await, [Outcome::Counted]);
    // Two days later the key has expired, and the next day a maintenance round forgets expired keys. It keeps this one,
    // because the parked event waits.
    world.run("update analytics.event_key set expires_at = now() - interval '1 day'").await;
    let forget = "select analytics.forget_event_keys(100)";
    world.value::<i64>(forget, &[]).await;
    assert_eq!(redrive(&operator, &parked, 0).await, one(Outcome::Repeat));
    assert_eq!(shares(&world).await, 1);
    // No parked event needs the key now.
    assert_eq!(world.value::<i64>(forget, &[]).await, 1);
    world.assert_consistent().await;
}

/// The row does not hold the key: it was parked before rows contained keys, or it is a whole message.
#[tokio::test]
async fn a_keyed_event_whose_key_was_not_kept_waits_for_a_decision() {
    let world = Database::new().await;
    let blog = world.blogs(1).await[0];
    let (worker, operator) = (worker(&world), operator(&world));
    let of = |hours: i64, key: Option<Uuid>| {
        let mut event = share(blog);
        (event.key, event.time) = (key, Timestamp::now() - SignedDuration::from_hours(hours));
        event
    };
    world.run(REFUSE).await;
    // The key of the second is still remembered, and the third has none.
    let parked = envelope([of(72, Some(Uuid::new_v4())), of(1, Some(Uuid::new_v4())), of(72, None)]);
    assert_eq!(apply(&worker, &parked).await, [Outcome::Parked; 3]);
    world.run(MEND).await;
    world.run("update analytics.parked set key = null").await;
    let doubtful = redrive(&operator, &parked, 0).await;
    assert!(matches!(&doubtful, Redriven::Doubtful { reason } if reason.contains("key")), "{doubtful:?}");
    assert_eq!(redrive(&operator, &parked, 1).await, one(Outcome::Counted));
    assert_eq!(redrive(&operator, &parked, 2).await, one(Outcome::Counted));
    let decided = operator.redrive(parked.id.as_uuid(), 0, InDoubt::Count).await.unwrap();
    assert_eq!(decided, one(Outcome::Counted));
    assert_eq!(shares(&world).await, 3);
    world.assert_consistent().await;
}
