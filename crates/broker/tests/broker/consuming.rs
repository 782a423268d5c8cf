//! Deliveries, acks and rejections.

use std::time::Duration;

use broker::{Administered, Consumer, Delivery, Queue, Settings, queue_depth};
use lapin::options::{BasicConsumeOptions, BasicRejectOptions};
use tokio::time::{Instant, timeout};

use crate::fixture::*;
use proxy::{Mode, Proxy};

/// Publishes envelopes of one event each, in order.
async fn publish(settings: &Settings, count: usize) {
    let publishing = Publishing::start(settings);
    for number in 0..count {
        publishing.publisher.publish(event(number), late()).await.unwrap();
    }
    publishing.stop().await;
}

async fn take(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for _ in 0..count {
        deliveries.push(next(consumer).await);
    }
    deliveries
}

fn bodies(deliveries: &[Delivery]) -> Vec<usize> {
    deliveries.iter().flat_map(|delivery| numbers(&delivery.body)).collect()
}

#[tokio::test]
async fn an_ack_covers_its_delivery_and_earlier_ones_only() {
    let settings = settings().await;
    publish(&settings, 10).await;
    let mut consumer = consume(&settings, Queue::Engagement, 100).await;
    let deliveries = take(&mut consumer, 10).await;
    deliveries[5].ack_through().await.unwrap();
    consumer.close().await.unwrap();

    let mut consumer = consume(&settings, Queue::Engagement, 100).await;
    let mut again = bodies(&take(&mut consumer, 4).await);
    again.sort_unstable();
    assert_eq!(again, [6, 7, 8, 9]);
    assert!(consumer.try_next().is_none());
    assert_eq!(consumer.queue_depth(Queue::Engagement).await.unwrap(), 0);
}

#[tokio::test]
async fn the_next_batch_arrives_while_the_last_is_acked() {
    let settings = settings().await;
    publish(&settings, 4).await;
    let mut consumer = consume(&settings, Queue::Engagement, 2).await;
    let first = take(&mut consumer, 2).await;
    // The prefetch is used up, so the third can arrive only after the ack.
    let (third, acked) = tokio::join!(next(&mut consumer), first[1].ack_through());
    acked.unwrap();
    assert_eq!(numbers(&third.body), [2]);
}

#[tokio::test]
async fn no_more_than_the_prefetch_arrives() {
    let settings = settings().await;
    publish(&settings, 10).await;
    let mut consumer = consume(&settings, Queue::Engagement, 3).await;
    take(&mut consumer, 3).await;
    // After a round trip on the same channel, all deliveries in transit have arrived.
    assert_eq!(consumer.queue_depth(Queue::Engagement).await.unwrap(), 7);
    assert!(consumer.try_next().is_none());
}

#[tokio::test]
async fn arrived_deliveries_are_returned_without_waiting() {
    let settings = settings().await;
    publish(&settings, 5).await;
    let mut consumer = consume(&settings, Queue::Engagement, 100).await;
    let mut deliveries = vec![next(&mut consumer).await];
    let all_arrive = async { while consumer.queue_depth(Queue::Engagement).await.unwrap() > 0 {} };
    timeout(PATIENCE, all_arrive).await.expect("all of them arrive");
    while let Some(delivery) = consumer.try_next() {
        deliveries.push(delivery);
    }
    assert_eq!(bodies(&deliveries), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn an_ack_on_a_dead_channel_is_an_error() {
    let settings = settings().await;
    publish(&settings, 2).await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let mut consumer = consume(&through(&settings, proxy.address()), Queue::Engagement, 1).await;
    let delivery = next(&mut consumer).await;
    proxy.cut();
    let ended = timeout(PATIENCE, consumer.next()).await.expect("the cut is seen");
    assert!(ended.expect("an error, not just the end").is_err());
    assert!(consumer.next().await.is_none());
    assert!(consumer.try_next().is_none());
    delivery.ack_through().await.unwrap_err();
    delivery.reject().await.unwrap_err();
    consumer.cancel().await.unwrap_err();

    // Both are delivered again, and the earlier delivery is counted.
    let again = take(&mut consume(&settings, Queue::Engagement, 100).await, 2).await;
    let mut counts: Vec<_> = again.iter().map(|delivery| delivery.delivery_count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 1]);
}

#[tokio::test]
async fn an_ack_after_its_consumer_is_gone_is_an_error() {
    let settings = settings().await;
    publish(&settings, 1).await;
    let mut consumer = consume(&settings, Queue::Engagement, 1).await;
    let delivery = next(&mut consumer).await;
    consumer.close().await.unwrap();
    delivery.ack_through().await.unwrap_err();
    let again = next(&mut consume(&settings, Queue::Engagement, 1).await).await;
    assert_eq!(again.message_id, delivery.message_id);
}

#[tokio::test]
async fn a_delivery_is_acked_once() {
    let settings = settings().await;
    publish(&settings, 1).await;
    let mut consumer = consume(&settings, Queue::Engagement, 1).await;
    let delivery = next(&mut consumer).await;
    delivery.ack_through().await.unwrap();
    delivery.ack_through().await.unwrap_err();
}

#[tokio::test]
async fn a_rejected_message_comes_again_and_is_counted() {
    let settings = settings().await;
    publish(&settings, 1).await;
    let mut consumer = consume(&settings, Queue::Engagement, 10).await;
    // More often than RabbitMQ 4 delivers a message by default.
    for count in 0..30 {
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.delivery_count, delivery.redelivered), (count, count > 0));
        delivery.reject().await.unwrap();
    }
}

#[tokio::test]
async fn cancelled_stream_ends_after_arrived_deliveries() {
    let settings = settings().await;
    publish(&settings, 5).await;
    let mut consumer = consume(&settings, Queue::Engagement, 3).await;
    let first = next(&mut consumer).await;
    assert_eq!(consumer.queue_depth(Queue::Engagement).await.unwrap(), 2);
    consumer.cancel().await.unwrap();
    let mut arrived = vec![first];
    while let Some(delivery) = timeout(PATIENCE, consumer.next()).await.expect("the stream ends") {
        arrived.push(delivery.unwrap());
    }
    assert_eq!(bodies(&arrived), [0, 1, 2]);
    arrived[2].ack_through().await.unwrap();
    consumer.close().await.unwrap();
    assert_eq!(queue_depth(&settings, Queue::Engagement).await.unwrap(), 2);
}

#[tokio::test]
async fn a_deleted_queue_ends_the_stream() {
    let settings = settings().await;
    let mut consumer = consume(&settings, Queue::Engagement, 3).await;
    let raw = RawChannel::open(&settings).await;
    raw.channel.queue_delete(Queue::Engagement.name().into(), Default::default()).await.unwrap();
    let ended = timeout(PATIENCE, consumer.next()).await.expect("the stream ends");
    assert!(ended.is_none());
}

#[tokio::test]
async fn dead_lettered_message_is_in_its_queue_with_the_reason() {
    let settings = settings().await;
    publish(&settings, 1).await;
    let mut dead = consume(&settings, Queue::EngagementDead, 10).await;
    let raw = RawChannel::open(&settings).await;
    let (queue, options) = (Queue::Engagement.name().into(), BasicConsumeOptions::default());
    let mut stream = raw.channel.basic_consume(queue, "".into(), options, Default::default()).await.unwrap();
    let taken = futures_util::StreamExt::next(&mut stream).await.unwrap().unwrap();
    assert!(taken.reject(BasicRejectOptions { requeue: false }).await.unwrap());
    let delivery = next(&mut dead).await;
    assert_eq!(delivery.death_reason.as_deref(), Some("rejected"));
    assert_eq!(delivery.message_type.as_deref(), Some("engagement"));
    assert_eq!(numbers(&delivery.body), [0]);
    delivery.ack_through().await.unwrap();
}

#[tokio::test]
async fn repeating_the_administrators_step_changes_nothing() {
    let settings = settings().await;
    publish(&settings, 3).await;
    assert_eq!(administer(&vhost(&settings)).await, Administered::default());
    assert_eq!(queue_depth(&settings, Queue::Engagement).await.unwrap(), 3);
    assert_eq!(queue_depth(&settings, Queue::EngagementDead).await.unwrap(), 0);
}

#[tokio::test]
async fn a_silent_broker_is_given_up_in_time() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Silent).await.unwrap();
    let through = Settings { connect_timeout_ms: 200, ..through(&settings, proxy.address()) };
    let began = Instant::now();
    let error = Consumer::open(&through, Queue::Engagement, 10, "test").await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(error.to_string().contains("no answer within 200ms"), "{error}");
}
