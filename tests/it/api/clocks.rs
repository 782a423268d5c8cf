//! Wrong clocks, temporary or permanent: of the Blogs API, and in the events that it sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use engagement::{Incoming, OnBadEvent, Outcome};
use events::{Action, Clock, EngagementEvent};
use jiff::{SignedDuration, Timestamp, ToSpan};
use reqwest::{Method, StatusCode};
use serde_json::json;
use test_servers::days::day;
use tests::{Running, World, answer, away_from_midnight, wait_until};

use super::Answer;
use crate::message_path::{publish_incoming, publisher};
use crate::partitions::{engagement, envelope};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const SEVENTY_DAYS: SignedDuration = SignedDuration::from_hours(70 * 24);
const NOTHING_BEGINS_LATER: &str = "select (select count(*) from analytics.blog_hour where hour > now())
     + (select count(*) from analytics.outcome where hour > now())
     + (select count(*) from analytics.blog_like where version_us > extract(epoch from clock_timestamp()) * 1000000)";

/// A clock that is ahead of this machine's, and a function that sets by how much.
fn clock() -> (Clock, impl Fn(SignedDuration)) {
    let ahead_us = Arc::new(AtomicI64::new(0));
    let read = Arc::clone(&ahead_us);
    let clock =
        Clock::from_fn(move || Timestamp::now() + SignedDuration::from_micros(read.load(Ordering::Relaxed)));
    let set = move |ahead: SignedDuration| {
        ahead_us.store(i64::try_from(ahead.as_micros()).unwrap(), Ordering::Relaxed);
    };
    (clock, set)
}

/// A like or unlike that was stamped at this time.
fn decision(time: Timestamp, blog_id: i64, action: Action) -> Incoming {
    let mut incoming = envelope(time, blog_id);
    let id = incoming.id.as_uuid();
    incoming.events = vec![Ok(EngagementEvent { id, blog_id, time, action, key: None, imported: false })];
    incoming
}

async fn like(api: &Running, method: Method, blog: i64, token: &str) -> Answer {
    Answer::to(api.call(method, &format!("/v1/blogs/{blog}/like"), Some(token))).await
}

#[tokio::test]
async fn unlike_wins_over_an_earlier_like_from_a_clock_that_was_ahead() {
    let world = World::new().await;
    let (wrong, set_ahead) = clock();
    let (first, second) = (world.api_with_clock(wrong, |loader| loader).await, world.api().await);
    let _worker = world.worker().await;
    let (_, token) = first.account("ada").await;
    let blog = first.blog(&token, "Liked for a moment").await;
    first.connected().await;
    second.connected().await;
    for ahead in [HOUR, SEVENTY_DAYS] {
        let decided =
            "select coalesce(sum(n), 0)::bigint from analytics.outcome where kind in ('like', 'unlike')";
        let before: i64 = world.value(decided, &[]).await;
        set_ahead(ahead);
        like(&first, Method::PUT, blog, &token).await.is(202);
        set_ahead(SignedDuration::ZERO);
        world.until(decided, before + 1).await;
        like(&second, Method::DELETE, blog, &token).await.is(202);
        world.until(decided, before + 2).await;
        assert_eq!(world.value::<i64>("select total_likes from blogs.blog_counter", &[]).await, 0, "{ahead}");
        // The process whose clock was wrong then works like the others.
        like(&first, Method::PUT, blog, &token).await.is(202);
        world.until("select total_likes from blogs.blog_counter", 1_i64).await;
        like(&second, Method::DELETE, blog, &token).await.is(202);
        world.until("select total_likes from blogs.blog_counter", 0_i64).await;
    }
    assert_eq!(world.value::<i64>("select count(*) from analytics.parked", &[]).await, 0);
    assert_eq!(world.value::<i64>(NOTHING_BEGINS_LATER, &[]).await, 0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn known_skew_refuses_engagement_until_the_clock_is_right() {
    let world = World::new().await;
    let (clock, set_ahead) = clock();
    let api = world.api_with_clock(clock, |loader| loader).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Refused").await;
    api.connected().await;
    for ahead in [HOUR, -HOUR, SEVENTY_DAYS] {
        set_ahead(ahead);
        api.degraded("database", "synchronize them").await;
        assert_eq!(answer(api.request(Method::GET, "/readyz")).await.0, StatusCode::SERVICE_UNAVAILABLE);
        for path in events::WritePath::NAMES {
            let request = api.call(Method::PUT, &format!("/v1/blogs/{blog}/like"), Some(&token));
            let refused = Answer::to(request.header("X-Write-Path", path)).await.refused(503);
            assert!(refused.detail().contains("nothing was promised"), "{refused:?}");
        }
        let batch = json!([{"type": "blog.viewed", "blog_id": blog}]);
        api.post_json("/v1/engagement", None, batch).await.refused(503);
        // Requests that need no timestamp still work.
        api.get(&format!("/v1/blogs/{blog}"), None).await.is(200);
        set_ahead(SignedDuration::ZERO);
        api.ready().await;
        api.view(blog, "reader").await.is(200);
    }
    assert_eq!(world.value::<i64>("select sum(n)::bigint from analytics.outcome", &[]).await, 3);
    assert!(api.metric("engagement_refused_total").await >= 12.0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn setting_accepts_events_despite_skew_and_the_database_stamps_them() {
    let world = World::new().await;
    away_from_midnight().await;
    let (clock, set_ahead) = clock();
    set_ahead(SEVENTY_DAYS);
    let lifted = |loader: runtime::settings::Loader| loader.set("engagement.refuse_on_clock_skew", false);
    let api = world.api_with_clock(clock, lifted).await;
    let _worker = world.worker().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Accepted all the same").await;
    let skewed = wait_until(async || api.metric("clock_skew_seconds").await > 3600.0).await;
    assert!(skewed, "the skew is measured");
    api.ready().await;
    for (method, likes) in [(Method::PUT, 1_i64), (Method::DELETE, 0), (Method::PUT, 1)] {
        like(&api, method, blog, &token).await.is(202);
        world.until("select total_likes from blogs.blog_counter", likes).await;
    }
    let view = api.request(Method::POST, &format!("/v1/blogs/{blog}/views"));
    Answer::to(view.json(&json!({"visitor": "a reader"}))).await.is(202);
    world.until("select total_views from blogs.blog_counter", 1_i64).await;
    api.view(blog, "a reader").await.is(200);
    assert_eq!(world.value::<i64>("select total_views from blogs.blog_counter", &[]).await, 1, "one window");
    assert_eq!(world.value::<i64>("select count(*) from analytics.parked", &[]).await, 0);
    assert_eq!(world.value::<i64>(NOTHING_BEGINS_LATER, &[]).await, 0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn events_from_the_future_count_now_and_once_despite_redelivery() {
    let world = World::new().await;
    away_from_midnight().await;
    let (blog, account) = (world.blogs(1).await[0], world.accounts(1).await[0]);
    let engagement = engagement(&world);
    let apply = async |incoming: &Incoming| {
        engagement.apply(std::slice::from_ref(incoming), OnBadEvent::Park).await.unwrap().outcomes[0][0]
    };
    let now = Timestamp::now();
    let years = SignedDuration::from_hours(24 * 365 * 20);
    for (n, ahead) in [HOUR, 26 * HOUR, SEVENTY_DAYS, years].into_iter().enumerate() {
        let viewed = envelope(now + ahead, blog);
        let liked = decision(now + ahead, blog, Action::Liked { account_id: account });
        assert_eq!(apply(&viewed).await, Outcome::Counted, "{ahead}");
        assert_eq!(apply(&liked).await, Outcome::Counted, "{ahead}");
        // A later event, with a correct clock.
        let unliked = decision(Timestamp::now(), blog, Action::Unliked { account_id: account });
        assert_eq!(apply(&unliked).await, Outcome::Counted, "{ahead}");
        // Redeliveries: at once, and after the days of those ids have been made.
        for again in [&viewed, &liked, &unliked] {
            assert_eq!(apply(again).await, Outcome::Replayed, "{ahead}");
        }
        let views = i64::try_from(n + 1).unwrap();
        assert_eq!(world.value::<i64>("select total_views from blogs.blog_counter", &[]).await, views);
        make_day(&world, day(now + ahead)).await;
        for again in [&viewed, &liked] {
            assert_eq!(apply(again).await, Outcome::Replayed, "{ahead}, its day is there");
        }
    }
    assert_eq!(world.value::<i64>("select total_likes from blogs.blog_counter", &[]).await, 0);
    assert_eq!(world.value::<i64>("select count(*) from analytics.parked", &[]).await, 0);
    assert_eq!(world.value::<i64>(NOTHING_BEGINS_LATER, &[]).await, 0);
    world.assert_consistent().await;
}

/// Makes a day of the ledger with the owner's function.
async fn make_day(world: &World, day: jiff::civil::Date) {
    let (name, next) = (day.strftime("%Y%m%d"), day + 1.day());
    world
        .run(&format!(
            "create table if not exists analytics.envelope_ledger_{name}
             partition of analytics.envelope_ledger for values from ('{day}') to ('{next}')"
        ))
        .await;
}

#[tokio::test]
async fn invalid_event_from_the_future_is_parked_and_redriven_in_the_hour_of_its_arrival() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let engagement = engagement(&world);
    world.run("alter table analytics.blog_share add constraint refused check (shares < 0)").await;
    for ahead in [HOUR, SEVENTY_DAYS] {
        let channel = events::Channel::Link;
        let shared = decision(Timestamp::now() + ahead, blog, Action::Shared(channel));
        let applied = engagement.apply(std::slice::from_ref(&shared), OnBadEvent::Park).await.unwrap();
        assert_eq!(applied.outcomes[0][0], Outcome::Parked);
    }
    world.run("alter table analytics.blog_share drop constraint refused").await;
    let waiting = world.client().query("select envelope_id, index from analytics.parked", &[]).await.unwrap();
    assert_eq!(waiting.len(), 2);
    for row in waiting {
        let redriven = engagement.redrive(row.get(0), row.get(1), engagement::InDoubt::Leave).await.unwrap();
        assert_eq!(redriven, engagement::Redriven::Applied(vec![Outcome::Counted]));
    }
    let negative = "select count(*) from (select sum(n) as n from analytics.outcome group by hour, kind, outcome) o where n < 0";
    assert_eq!(world.value::<i64>(negative, &[]).await, 0, "taken back where it was accounted for");
    assert_eq!(world.value::<i64>(NOTHING_BEGINS_LATER, &[]).await, 0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn workers_continue_after_envelopes_from_seventy_days_ahead() {
    let world = World::new().await;
    away_from_midnight().await;
    let blog = world.blogs(1).await[0];
    let publisher = publisher(&world).await;
    let worker = world.worker().await;
    // More in a row than the number at which a worker stops.
    for _ in 0..250 {
        publish_incoming(&publisher, &envelope(Timestamp::now() + SEVENTY_DAYS, blog)).await;
    }
    world.until("select total_views from blogs.blog_counter", 250_i64).await;
    worker.ready().await;
    assert_eq!(world.value::<i64>("select count(*) from analytics.parked", &[]).await, 0);
    assert_eq!(world.value::<i64>(NOTHING_BEGINS_LATER, &[]).await, 0);
    world.assert_consistent().await;
}
