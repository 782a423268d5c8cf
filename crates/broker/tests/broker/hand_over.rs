//! Overdue envelopes are handed over, and the first side to succeed answers the callers.

use std::time::Duration;

use broker::{Overdue, PublishError, Queue, Settings, State};
use events::{ENVELOPE_EVENTS_MAX, Envelope, EnvelopeId};
use futures_util::future::join_all;
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::fixture::*;
use proxy::{Mode, Proxy};

/// Longer than the broker is away in any test.
const NEVER: Duration = Duration::from_secs(3600);

/// A deadline whose first half passes soon, and whose end is later than any successful step.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(8)
}

/// The next envelope that is handed over, which must arrive.
async fn taken(overdue: &mut mpsc::Receiver<Overdue>) -> Overdue {
    timeout(PATIENCE, overdue.recv()).await.expect("an envelope").expect("an envelope, not the end")
}

#[tokio::test]
async fn waiting_items_are_handed_over_at_once_while_the_broker_is_down_and_not_sent_again() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let away_after = Duration::from_millis(50);
    let (publishing, mut overdue) =
        Publishing::handing_over(&through(&settings, proxy.address()), away_after, 2);
    // Half of this deadline is far away; the envelope is overdue because nothing can be sent.
    let publishes = join_all((0..1500).map(|number| publishing.publisher.publish(event(number), late())));
    let keep = async {
        let mut kept = Vec::new();
        while kept.iter().map(|envelope: &Envelope| envelope.events).sum::<usize>() < 1500 {
            let one = taken(&mut overdue).await;
            assert!(one.is_waited_for());
            kept.push(one.envelope().clone());
            one.kept();
        }
        kept
    };
    let (answers, kept) = tokio::join!(publishes, keep);
    // The envelopes are as they would have been sent: full and in order. Each publish returns the id of its own envelope.
    let events: Vec<usize> = kept.iter().flat_map(|envelope| numbers(&envelope.body)).collect();
    assert_eq!(events, (0..1500).collect::<Vec<_>>());
    assert!(kept.iter().all(|envelope| envelope.events <= ENVELOPE_EVENTS_MAX));
    assert!(kept.iter().all(|envelope| envelope.routing_key == events::ENGAGEMENT));
    assert!(kept.len() <= 5, "{} envelopes for 1500 events that waited together", kept.len());
    let answers: Vec<EnvelopeId> = answers.into_iter().map(Result::unwrap).collect();
    for (number, id) in answers.iter().enumerate() {
        let of = kept.iter().find(|envelope| envelope.id == *id).expect("the id of an envelope");
        assert!(numbers(&of.body).contains(&number));
    }
    assert_eq!(publishing.metric("broker_envelopes_handed_over_total"), kept.len() as u64);

    // The broker is back: only new events are sent.
    proxy.set(Mode::Open);
    let new = publishing.publisher.publish(event(9999), late()).await.unwrap();
    publishing.stop().await;
    let arrived = drain(&settings).await;
    assert_eq!(arrived.keys().copied().collect::<Vec<_>>(), [new.as_uuid()]);
}

#[tokio::test]
async fn an_unconfirmed_envelope_is_handed_over_when_half_of_the_time_has_passed() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let (publishing, mut overdue) = Publishing::handing_over(&through(&settings, proxy.address()), NEVER, 8);
    publishing.connected().await;
    let mut consumer = consume(&settings, Queue::Engagement, 10).await;
    proxy.set(Mode::Swallow);
    let (began, deadline) = (Instant::now(), Instant::now() + Duration::from_secs(6));
    let publish = publishing.publisher.publish(event(7), deadline);
    let keep = async {
        let one = taken(&mut overdue).await;
        assert!(began.elapsed() >= Duration::from_secs(3), "{:?} is not half of it", began.elapsed());
        let envelope = one.envelope().clone();
        one.kept();
        envelope
    };
    let (id, kept) = tokio::join!(publish, keep);
    assert_eq!(id, Ok(kept.id));
    // The broker had received it: the same bytes under the same id.
    let arrived = next(&mut consumer).await;
    assert_eq!((arrived.message_id, &arrived.body), (Some(kept.id.as_uuid()), &kept.body));

    // The publisher has dropped it: it is not published again on the next connection.
    proxy.set(Mode::Refuse);
    proxy.cut();
    publishing.reached(|state| matches!(state, State::Disconnected(_))).await;
    proxy.set(Mode::Open);
    publishing.publisher.publish(event(8), late()).await.unwrap();
    assert_eq!(publishing.metric("broker_envelopes_resent_total"), 0);
    publishing.stop().await;
}

#[tokio::test]
async fn a_late_confirm_answers_when_nobody_else_has() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let (publishing, mut overdue) = Publishing::handing_over(&through(&settings, proxy.address()), NEVER, 8);
    publishing.connected().await;
    proxy.set(Mode::Silent);
    let publish = publishing.publisher.publish(event(1), soon());
    let late = async {
        let one = taken(&mut overdue).await;
        proxy.set(Mode::Open);
        one
    };
    let (id, one) = tokio::join!(publish, late);
    assert_eq!(id, Ok(one.envelope().id));
    assert!(!one.is_waited_for());
    one.kept();
    assert!(overdue.try_recv().is_err(), "it was handed over twice");
    publishing.stop().await;
    assert_eq!(drain(&settings).await.len(), 1);
}

#[tokio::test]
async fn overdue_envelope_that_is_not_stored_is_sent_when_the_broker_is_back() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let (publishing, mut overdue) =
        Publishing::handing_over(&through(&settings, proxy.address()), Duration::ZERO, 8);
    let publish = publishing.publisher.publish(event(1), late());
    let drop_it = async {
        let id = taken(&mut overdue).await.envelope().id;
        proxy.set(Mode::Open);
        id
    };
    let (answer, id) = tokio::join!(publish, drop_it);
    assert_eq!(answer, Ok(id));
    publishing.stop().await;
    assert_eq!(drain(&settings).await.into_keys().collect::<Vec<_>>(), [id.as_uuid()]);
}

#[tokio::test]
async fn envelope_that_is_neither_stored_nor_confirmed_times_out() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let through = through(&settings, proxy.address());
    let (publishing, mut overdue) = Publishing::handing_over(&through, Duration::ZERO, 8);
    let deadline = Instant::now() + Duration::from_secs(2);
    let (answer, one) = tokio::join!(publishing.publisher.publish(event(1), deadline), taken(&mut overdue));
    assert_eq!(answer, Err(PublishError::TimedOut));
    assert!(!one.is_waited_for());
    publishing.stop().await;
}

#[tokio::test]
async fn blocked_connection_hands_over_waiting_items() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let (publishing, mut overdue) =
        Publishing::handing_over(&through(&settings, proxy.address()), Duration::from_millis(50), 8);
    publishing.connected().await;
    proxy.block();
    publishing.reached(|state| matches!(state, State::Blocked(_))).await;
    let keep = async { taken(&mut overdue).await.kept() };
    tokio::join!(publishing.publisher.publish(event(1), late()), keep).0.unwrap();
    assert_eq!(publishing.metric("broker_envelopes_published_total"), 0);

    proxy.unblock();
    publishing.connected().await;
    publishing.publisher.publish(event(2), late()).await.unwrap();
    publishing.stop().await;
    let arrived = drain(&settings).await;
    assert_eq!(arrived.values().flatten().flat_map(|body| numbers(body)).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn repeatedly_refused_envelope_is_handed_over() {
    let settings = settings().await;
    // Publishing is forbidden, which ends each epoch.
    let url = settings.url.expose_secret().to_owned();
    tokio::task::spawn_blocking(move || forbid_publishing(&url)).await.unwrap();
    let (publishing, mut overdue) = Publishing::handing_over(&settings, NEVER, 8);
    let keep = async {
        let one = taken(&mut overdue).await;
        let id = one.envelope().id;
        one.kept();
        id
    };
    let (answer, id) = tokio::join!(publishing.publisher.publish(event(1), soon()), keep);
    assert_eq!(answer, Ok(id));
    assert!(publishing.metric("broker_envelopes_resent_total") > 0, "it is tried again until it is overdue");
    publishing.stop().await;
    assert!(drain(&settings).await.is_empty());
}

/// Revokes the permission to write to the exchange of events, in the vhost of this URL.
fn forbid_publishing(url: &str) {
    let (user, vhost) = (url.split(['/', ':']).nth(3).unwrap(), url.rsplit_once('/').unwrap().1);
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let address = format!("{}/api/permissions/{vhost}/{user}", rabbitmq().management_url());
    let rights = serde_json::json!({"configure": ".*", "write": "^(analytics.*|notification.*|commonplace.dead)$", "read": ".*"});
    agent.put(address).send_json(rights).unwrap();
}

#[tokio::test]
async fn envelopes_wait_while_the_receiver_takes_none_and_the_queue_stays_bounded() {
    const WAITING: usize = 10;
    let settings = Settings { waiting_max: WAITING, ..settings().await };
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let (publishing, mut overdue) =
        Publishing::handing_over(&through(&settings, proxy.address()), Duration::ZERO, 1);
    let publisher = &publishing.publisher;
    // One is handed over and not taken: from now on everything waits.
    let mut first = Box::pin(publisher.publish(event(0), late()));
    tokio::select! {
        answer = &mut first => panic!("{answer:?}"),
        () = async { while publishing.metric("broker_envelopes_handed_over_total") == 0 { tokio::task::yield_now().await } } => {}
    }
    let mut waiting =
        Box::pin(join_all((1..=WAITING + 2).map(|number| publisher.publish(event(number), late()))));
    let full = async {
        let deadline = Instant::now() + PATIENCE;
        while publisher.publish(event(99), Instant::now() + Duration::from_millis(1)).await
            != Err(PublishError::Full)
        {
            assert!(Instant::now() < deadline, "it never fills");
        }
    };
    tokio::select! {
        biased;
        answers = &mut waiting => panic!("{answers:?}"),
        () = full => {}
    }
    assert_eq!(publishing.metric("broker_envelopes_handed_over_total"), 1, "there is room for one");

    // Once it is taken, the waiting items are handed over together, without those whose caller has given up.
    let keep = async {
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < 1 + WAITING {
            let one = taken(&mut overdue).await;
            sizes.push(one.envelope().events);
            one.kept();
        }
        sizes
    };
    let (first, answers, sizes) = tokio::join!(first, waiting, keep);
    first.unwrap();
    assert_eq!(sizes, [1, WAITING]);
    let refused = answers.iter().filter(|answer| **answer == Err(PublishError::Full)).count();
    let kept = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((kept, refused), (WAITING, 2), "{answers:?}");
    publishing.stop().await;
}

#[tokio::test]
async fn a_complete_envelope_is_never_handed_over_and_does_not_hold_up_items_behind_it() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let (publishing, mut overdue) =
        Publishing::handing_over(&through(&settings, proxy.address()), Duration::ZERO, 8);
    let ready = || Envelope {
        id: EnvelopeId::now(),
        routing_key: events::ENGAGEMENT,
        events: 1,
        body: b"[1]".to_vec(),
        traceparent: None,
    };
    let publisher = &publishing.publisher;
    let before = async {
        tokio::join!(publisher.publish_envelope(ready(), late()), publisher.publish_envelope(ready(), late()))
    };
    let behind = async {
        let keep = async {
            let one = taken(&mut overdue).await;
            assert_eq!(numbers(&one.envelope().body), [2]);
            one.kept();
        };
        tokio::join!(publisher.publish(event(2), late()), keep).0.unwrap();
    };
    tokio::select! {
        biased;
        answers = before => panic!("{answers:?}"),
        () = behind => {}
    }
    assert!(overdue.try_recv().is_err());
    publishing.stop().await;
}

#[tokio::test]
async fn shutdown_ends_once_waiting_items_are_stored_elsewhere() {
    // After the first attempt to connect, only the answer can wake the task.
    let settings = Settings { backoff_min_ms: 600_000, backoff_max_ms: 600_000, ..settings().await };
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let (publishing, mut overdue) =
        Publishing::handing_over(&through(&settings, proxy.address()), Duration::ZERO, 8);
    let publisher = publishing.publisher.clone();
    let publish = publisher.publish(event(1), late());
    let end = async {
        let one = taken(&mut overdue).await;
        publishing.reached(|state| *state != State::Disconnected("not connected yet".to_owned())).await;
        publishing.shutdown.cancel();
        // The task has seen the shutdown and continues because a caller waits.
        while publisher.publish(event(2), Instant::now()).await != Err(PublishError::Closed) {
            tokio::task::yield_now().await;
        }
        one.kept();
        publishing.stop().await;
        assert!(overdue.recv().await.is_none(), "the end of the task is the end of the hand-over");
    };
    tokio::join!(publish, end).0.unwrap();
}
