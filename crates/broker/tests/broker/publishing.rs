//! Published envelopes arrive once, complete and within the limits.

use std::collections::BTreeSet;
use std::time::Duration;

use broker::{PublishError, Queue, State};
use events::{ENVELOPE_BYTES_MAX, ENVELOPE_EVENTS_MAX, Envelope, EnvelopeId};
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::fixture::*;
use proxy::{Mode, Proxy};

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_publish_and_everything_arrives_once() {
    const TASKS: usize = 64;
    const EACH: usize = 100;
    let settings = settings().await;
    let publishing = Publishing::start(&settings);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let publisher = publishing.publisher.clone();
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for number in 0..EACH {
                let id = publisher.publish(event(task * EACH + number), late()).await.unwrap();
                ids.push(id.as_uuid());
            }
            ids
        });
    }
    let ids: BTreeSet<_> = tasks.join_all().await.into_iter().flatten().collect();
    let waiting = publishing.metric("broker_publishes_waiting");
    let (published, confirmed) = (
        publishing.metric("broker_envelopes_published_total"),
        publishing.metric("broker_envelopes_confirmed_total"),
    );
    publishing.stop().await;

    let arrived = drain(&settings).await;
    assert_eq!(arrived.keys().copied().collect::<BTreeSet<_>>(), ids);
    assert!(arrived.values().all(|bodies| bodies.len() == 1), "an envelope came twice");
    let mut events: Vec<usize> = arrived.values().flatten().flat_map(|body| numbers(body)).collect();
    events.sort_unstable();
    assert_eq!(events, (0..TASKS * EACH).collect::<Vec<_>>());
    assert_eq!((waiting, published, confirmed), (0, ids.len() as u64, ids.len() as u64));
    // 64 tasks publish with at most 4 unconfirmed envelopes, so they must share envelopes.
    assert!(ids.len() * 2 < TASKS * EACH, "{} envelopes for {} events", ids.len(), TASKS * EACH);
}

/// The client library attributes confirms by the order in which frames were queued. One task queues them, so envelopes arrive
/// in the order of their ids; if separate tasks published them, some would overtake others.
#[tokio::test(flavor = "multi_thread")]
async fn envelopes_arrive_in_the_order_in_which_their_one_owner_published_them() {
    const TASKS: usize = 8;
    const EACH: usize = 1000;
    let settings = settings().await;
    let publishing = Publishing::start(&settings);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let publisher = publishing.publisher.clone();
        tasks.spawn(async move {
            let mut last = None;
            for number in 0..EACH {
                last = Some(publisher.publish(event(task * EACH + number), late()).await.unwrap());
            }
            last
        });
    }
    tasks.join_all().await;
    let published = publishing.metric("broker_envelopes_published_total");
    publishing.stop().await;
    let mut consumer = consume(&settings, Queue::Engagement, 500).await;
    let mut ids = Vec::new();
    while (ids.len() as u64) < published {
        let delivery = next(&mut consumer).await;
        ids.push(delivery.message_id.unwrap());
        delivery.ack_through().await.unwrap();
    }
    assert!(ids.len() > EACH, "too few to say anything: {}", ids.len());
    assert!(ids.is_sorted());
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn envelopes_fill_up_to_their_bounds_while_the_broker_is_away() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let publishing = Publishing::start(&through(&settings, proxy.address()));
    let publishes = join_all((0..1500).map(|number| publishing.publisher.publish(event(number), late())));
    let opened = async {
        publishing.reached(|state| *state != State::Disconnected("not connected yet".to_owned())).await;
        proxy.set(Mode::Open);
    };
    let (ids, ()) = tokio::join!(publishes, opened);
    let ids: Vec<_> = ids.into_iter().map(|id| id.unwrap().as_uuid()).collect();
    publishing.stop().await;

    let arrived = drain(&settings).await;
    let sizes: Vec<_> = arrived.values().map(|bodies| numbers(&bodies[0]).len()).collect();
    assert_eq!(sizes, [ENVELOPE_EVENTS_MAX, ENVELOPE_EVENTS_MAX, 1500 - 2 * ENVELOPE_EVENTS_MAX]);
    // The events are in the order in which they were published.
    let events: Vec<_> = arrived.values().flat_map(|bodies| numbers(&bodies[0])).collect();
    assert_eq!(events, (0..1500).collect::<Vec<_>>());
    assert!(ids.is_sorted());
}

#[tokio::test]
async fn a_complete_envelope_is_published_unchanged() {
    let settings = settings().await;
    let publishing = Publishing::start(&settings);
    let envelope = Envelope {
        id: EnvelopeId::now(),
        routing_key: events::ENGAGEMENT,
        events: 2,
        body: b"[1,2]".to_vec(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    };
    publishing.publisher.publish_envelope(envelope.clone(), late()).await.unwrap();
    let mut consumer = consume(&settings, Queue::Engagement, 10).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message_id, Some(envelope.id.as_uuid()));
    assert_eq!(delivery.body, envelope.body);
    assert_eq!(delivery.traceparent, envelope.traceparent);
    assert_eq!(delivery.routing_key, "engagement");
    assert_eq!(delivery.message_type.as_deref(), Some("engagement"));
    assert_eq!(delivery.wire_version, Some(events::WIRE_VERSION));
    assert_eq!((delivery.delivery_count, delivery.redelivered, &delivery.death_reason), (0, false, &None));
    delivery.ack_through().await.unwrap();
    publishing.stop().await;
}

#[tokio::test]
async fn an_envelope_carries_the_first_trace_context_that_is_sampled_or_else_the_first() {
    const SAMPLED: [&str; 2] = [
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
    ];
    for (contexts, carried) in [
        (["first", "second", "third"], "first"),
        (["first", SAMPLED[0], SAMPLED[1]], SAMPLED[0]),
        (["first", "second", SAMPLED[1]], SAMPLED[1]),
    ] {
        carries(contexts, carried).await;
    }
}

async fn carries([first, second, third]: [&str; 3], carried: &str) {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let publishing = Publishing::start(&through(&settings, proxy.address()));
    let traced = |number, trace: &str| event(number).with_traceparent(Some(trace.to_owned()));
    let publisher = &publishing.publisher;
    let ids = tokio::join!(
        publisher.publish(event(1), late()),
        publisher.publish(traced(2, first), late()),
        publisher.publish(traced(3, second), late()),
        publisher.publish(traced(4, third), late()),
        async { proxy.set(Mode::Open) },
    );
    assert!(ids.0.is_ok() && ids.0 == ids.1 && ids.1 == ids.2 && ids.2 == ids.3);
    let delivery = next(&mut consume(&settings, Queue::Engagement, 10).await).await;
    assert_eq!(delivery.traceparent.as_deref(), Some(carried));
    publishing.stop().await;
}

#[tokio::test]
async fn a_blog_event_that_no_queue_receives_is_no_error() {
    let publishing = Publishing::start(&settings().await);
    let envelope = Envelope {
        id: EnvelopeId::now(),
        routing_key: "blog.published",
        events: 1,
        body: b"[1]".to_vec(),
        traceparent: None,
    };
    assert_eq!(publishing.publisher.publish_envelope(envelope, late()).await, Ok(()));
    publishing.stop().await;
}

#[tokio::test]
async fn events_larger_than_an_envelope_are_refused() {
    let publishing = Publishing::start(&settings().await);
    let envelope = Envelope {
        id: EnvelopeId::now(),
        routing_key: events::ENGAGEMENT,
        events: 1,
        body: vec![b' '; ENVELOPE_BYTES_MAX + 1],
        traceparent: None,
    };
    let refused = publishing.publisher.publish_envelope(envelope, late()).await;
    assert_eq!(refused, Err(PublishError::TooLarge));
    publishing.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_has_room_again_when_publishes_give_up() {
    const WAITING: usize = 10;
    let mut settings = settings().await;
    settings.waiting_max = WAITING;
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let publishing = Publishing::start(&through(&settings, proxy.address()));
    let publisher = &publishing.publisher;
    // Fills the queue and the task, which has already taken one item, and publishes one more.
    let fill = async |deadline| {
        join_all((0..WAITING + 2).map(|number| publisher.publish(event(number), deadline))).await
    };
    let deadline = Instant::now() + Duration::from_secs(1);
    let results = fill(deadline).await;
    let elapsed = Instant::now() - deadline;
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?} too late");
    let refused = results.iter().filter(|result| **result == Err(PublishError::Full)).count();
    let timed_out = results.iter().filter(|result| **result == Err(PublishError::TimedOut)).count();
    assert!(refused >= 1 && timed_out >= WAITING, "{results:?}");

    // No caller waits, and the broker is still away: the task drops all items.
    let room = timeout(PATIENCE, async {
        while publisher.publish(event(0), Instant::now() + Duration::from_millis(1)).await
            == Err(PublishError::Full)
        {
            tokio::task::yield_now().await;
        }
    });
    room.await.expect("there is room again");
    let (again, ()) = tokio::join!(fill(late()), async { proxy.set(Mode::Open) });
    assert!(again.iter().filter(|result| result.is_ok()).count() >= WAITING, "{again:?}");
    publishing.stop().await;
    let arrived: usize = drain(&settings).await.values().map(|bodies| numbers(&bodies[0]).len()).sum();
    assert!(
        (WAITING..=WAITING + 2).contains(&arrived),
        "{arrived} events: of those that gave up, none is sent"
    );
}

#[tokio::test]
async fn bytes_are_bounded_too() {
    let mut settings = settings().await;
    settings.waiting_bytes_max = ENVELOPE_BYTES_MAX;
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let publishing = Publishing::start(&through(&settings, proxy.address()));
    let large = || broker::EncodedEvents::one(vec![b'1'; ENVELOPE_BYTES_MAX / 2]).unwrap();
    let publish = || publishing.publisher.publish(large(), late());
    let two_that_fit = async { tokio::join!(publish(), publish()) };
    tokio::select! {
        biased;
        answers = two_that_fit => panic!("nothing can take them: {answers:?}"),
        third = publish() => assert_eq!(third, Err(PublishError::Full)),
    }
    publishing.stop().await;
}
