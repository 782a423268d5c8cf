//! The broker itself is killed.

use stack::RabbitMq;

use crate::faults::{Load, arrived};
use crate::fixture::*;

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_events_survive_kill_9_of_the_broker() {
    let own = tokio::task::spawn_blocking(|| start("broker-killed")).await.unwrap();
    let settings = settings_for(&own.amqp_url());
    let own = after(own, |own| drop(administer_on(own, "/"))).await;
    // RabbitMQ persists the existence of a quorum queue up to three seconds after the declaration. If it is killed before
    // that, it loses the queue with all confirmed messages. A clean stop makes it persist the queue.
    let mut own = after(own, |own| own.restart().unwrap()).await;

    let publishing = Publishing::start(&settings);
    let load = Load::start(&publishing.publisher, 16);
    load.progress(500).await;
    own = after(own, |own| {
        own.kill_9().unwrap();
        own.restart().unwrap();
    })
    .await;
    load.progress(500).await;
    let accepted = load.stop().await;
    publishing.stop().await;
    assert_eq!(arrived(&settings).await, accepted);
    tokio::task::spawn_blocking(|| own.stop()).await.unwrap().unwrap();
}

async fn after(mut own: RabbitMq, change: impl FnOnce(&mut RabbitMq) + Send + 'static) -> RabbitMq {
    let changed = tokio::task::spawn_blocking(move || {
        change(&mut own);
        own
    });
    changed.await.unwrap()
}
