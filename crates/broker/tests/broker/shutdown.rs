//! Shutdown is the end of the input: waiting items are still sent while a caller waits for them.

use std::time::Duration;

use broker::{PublishError, State};
use tokio::time::{Instant, timeout};

use crate::fixture::*;
use proxy::{Mode, Proxy};

#[tokio::test]
async fn shutdown_sends_waiting_items_and_refuses_new_publishes() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let publishing = Publishing::start(&through(&settings, proxy.address()));
    let publisher = publishing.publisher.clone();
    let waiting = publisher.publish(event(1), late());
    let after = async {
        publishing.shutdown.cancel();
        // Until the task has seen the shutdown, it accepts and sends these events. Then it refuses them.
        let refused = timeout(PATIENCE, async {
            while publisher.publish(event(2), Instant::now() + Duration::from_millis(1)).await
                != Err(PublishError::Closed)
            {
                tokio::task::yield_now().await;
            }
        });
        refused.await.expect("new publishes are refused");
        proxy.set(Mode::Open);
    };
    let (sent, ()) = tokio::join!(waiting, after);
    let id = sent.unwrap().as_uuid();
    publishing.stop().await;
    let arrived = drain(&settings).await;
    assert_eq!(numbers(&arrived[&id][0]), [1]);
}

#[tokio::test]
async fn publisher_without_a_broker_ends_when_no_caller_waits() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Refuse).await.unwrap();
    let publishing = Publishing::start(&through(&settings, proxy.address()));
    let publisher = publishing.publisher.clone();
    let deadline = Instant::now() + Duration::from_millis(500);
    let (outcome, ()) = tokio::join!(publisher.publish(event(1), deadline), publishing.stop());
    assert_eq!(outcome, Err(PublishError::TimedOut));
    assert!(Instant::now() >= deadline, "it ended while a caller waited");
}

#[tokio::test]
async fn a_silent_broker_does_not_delay_the_shutdown() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let through = broker::Settings { answer_timeout_ms: 300, ..through(&settings, proxy.address()) };
    let publishing = Publishing::start(&through);
    publishing.connected().await;
    proxy.set(Mode::Silent);
    let publisher = publishing.publisher.clone();
    let deadline = Instant::now() + Duration::from_millis(500);
    let outcome = tokio::join!(publisher.publish(event(1), deadline), publishing.stop()).0;
    assert_eq!(outcome, Err(PublishError::TimedOut));
}

#[tokio::test]
async fn the_publisher_ends_when_every_handle_is_dropped() {
    let Publishing { publisher, tasks, .. } = {
        let publishing = Publishing::start(&settings().await);
        publishing.connected().await;
        publishing
    };
    let mut state = publisher.state();
    drop(publisher);
    tasks.close();
    timeout(PATIENCE, tasks.wait()).await.expect("the task ends");
    assert_eq!(*state.borrow_and_update(), State::Disconnected("shut down".to_owned()));
}
