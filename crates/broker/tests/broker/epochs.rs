//! The workers' consume loop: epochs, halts, and shutdown.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::{
    Backoff, Consumer, ConsumerState, Delivery, EpochEnd, Queue, Settings, Subscription, Worker, queue_depth,
};
use proxy::{Mode, Proxy};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fixture::*;

/// Settles the allowed number of batches one after another, and records them.
struct Recorder {
    allowed: Semaphore,
    halted: AtomicBool,
    begun: watch::Sender<usize>,
    settled: watch::Sender<Vec<usize>>,
    states: watch::Sender<Vec<ConsumerState>>,
}

impl Recorder {
    fn new(allowed: usize) -> Arc<Self> {
        Arc::new(Self {
            allowed: Semaphore::new(allowed),
            halted: AtomicBool::new(false),
            begun: watch::Sender::new(0),
            settled: watch::Sender::default(),
            states: watch::Sender::default(),
        })
    }

    async fn settled(&self, count: usize) {
        let mut settled = self.settled.subscribe();
        timeout(PATIENCE, settled.wait_for(|settled| settled.len() >= count)).await.unwrap().unwrap();
    }

    async fn reported(&self, wanted: impl Fn(&ConsumerState) -> bool) {
        let mut states = self.states.subscribe();
        let is_there = |states: &Vec<ConsumerState>| states.iter().any(&wanted);
        timeout(PATIENCE, states.wait_for(is_there)).await.unwrap().unwrap();
    }
}

impl Worker for Recorder {
    type Batches = Consumer;
    type Failure = Infallible;

    fn batches(&self, consumer: Consumer) -> Consumer {
        consumer
    }

    async fn settle(&self, _: &mut Consumer, batch: Vec<Delivery>) -> Result<(), EpochEnd<Infallible>> {
        self.begun.send_modify(|begun| *begun += 1);
        self.allowed.acquire().await.unwrap().forget();
        if let Some(last) = batch.last() {
            last.ack_through().await?;
        }
        let numbers = batch.iter().flat_map(|delivery| numbers(&delivery.body));
        self.settled.send_modify(|settled| settled.extend(numbers));
        Ok(())
    }

    fn verdict_interval(&self) -> Option<Duration> {
        Some(Duration::from_millis(20))
    }

    async fn verdict(&self) -> Option<String> {
        self.halted.load(Ordering::SeqCst).then(|| "halted".to_owned())
    }

    fn report(&self, state: ConsumerState) {
        self.states.send_modify(|states| states.push(state));
    }
}

/// A running worker.
struct Running {
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    fn start(settings: &Settings, prefetch: u16, worker: &Arc<Recorder>) -> Self {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
        let (settings, queue, app_id) = (settings.clone(), Queue::Engagement, "test");
        let subscription = Subscription { settings, queue, prefetch, app_id, backoff };
        let (worker, shutdown) = (Arc::clone(worker), CancellationToken::new());
        let (ends, mut tasks) = (shutdown.clone(), JoinSet::new());
        tasks.spawn(async move { broker::consume(&subscription, &*worker, &ends).await });
        Self { shutdown, tasks }
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.tasks.join_next()).await.expect("it ends").unwrap().unwrap();
    }
}

async fn publish(settings: &Settings, numbers: std::ops::Range<usize>) {
    let publishing = Publishing::start(settings);
    for number in numbers {
        publishing.publisher.publish(event(number), late()).await.unwrap();
    }
    publishing.stop().await;
}

#[tokio::test]
async fn shutdown_settles_arrived_deliveries_and_no_others() {
    let settings = settings().await;
    publish(&settings, 0..5).await;
    let worker = Recorder::new(0);
    let running = Running::start(&settings, 3, &worker);
    let mut begun = worker.begun.subscribe();
    timeout(PATIENCE, begun.wait_for(|begun| *begun == 1)).await.unwrap().unwrap();
    while queue_depth(&settings, Queue::Engagement).await.unwrap() > 2 {}
    running.shutdown.cancel();
    // The first batch contains the deliveries that had arrived. If it is acked before the subscription is cancelled, more
    // deliveries arrive.
    worker.allowed.add_permits(100);
    running.stop().await;
    let settled = worker.settled.borrow().clone();
    let left = queue_depth(&settings, Queue::Engagement).await.unwrap();
    assert_eq!(settled.len() + usize::try_from(left).unwrap(), 5, "{settled:?}");
    assert!(settled.len() >= 3, "{settled:?}");
    assert_eq!(*worker.states.borrow(), [ConsumerState::Consuming], "a shutdown is no failure");
    // Settled deliveries are acked, so only the rest is delivered again.
    let mut again = consume(&settings, Queue::Engagement, 100).await;
    for number in settled.len()..5 {
        assert_eq!(numbers(&next(&mut again).await.body), [number]);
    }
    assert!(again.try_next().is_none());
}

#[tokio::test]
async fn lost_connection_ends_the_epoch_and_the_next_one_consumes() {
    let settings = settings().await;
    let proxy = Proxy::start(upstream(&settings), Mode::Open).await.unwrap();
    let worker = Recorder::new(100);
    let running = Running::start(&through(&settings, proxy.address()), 10, &worker);
    publish(&settings, 0..1).await;
    worker.settled(1).await;
    proxy.set(Mode::Refuse);
    proxy.cut();
    worker.reported(|state| matches!(state, ConsumerState::Away(_))).await;
    proxy.set(Mode::Open);
    publish(&settings, 1..2).await;
    let mut settled = worker.settled.subscribe();
    timeout(PATIENCE, settled.wait_for(|settled| settled.contains(&1))).await.unwrap().unwrap();
    running.stop().await;
    // The ack of event 0 may have been lost in the cut. Then event 0 is delivered again, before event 1.
    let settled = worker.settled.borrow().clone();
    assert!(settled == [0, 1] || settled == [0, 0, 1], "{settled:?}");
    let states = worker.states.borrow().clone();
    let ended = states.iter().filter(|state| matches!(state, ConsumerState::Ended(_))).count();
    let begun = states.iter().filter(|state| **state == ConsumerState::Consuming).count();
    assert_eq!((begun, ended), (2, 1), "{states:?}");
}

#[tokio::test]
async fn nothing_is_consumed_while_the_verdict_is_to_stop() {
    let settings = settings().await;
    let worker = Recorder::new(100);
    let running = Running::start(&settings, 10, &worker);
    worker.reported(|state| *state == ConsumerState::Consuming).await;
    worker.halted.store(true, Ordering::SeqCst);
    worker.reported(|state| *state == ConsumerState::Ended("halted".to_owned())).await;
    publish(&settings, 0..3).await;
    assert_eq!(queue_depth(&settings, Queue::Engagement).await.unwrap(), 3);
    assert!(worker.settled.borrow().is_empty());
    worker.halted.store(false, Ordering::SeqCst);
    worker.settled(3).await;
    running.stop().await;
}
