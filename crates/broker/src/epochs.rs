//! Consuming, epoch after epoch: the loop of every worker.
//!
//! An epoch is one connection. It ends when its stream ends, an ack is not taken, or the worker gives a batch up; then the
//! next begins, after a pause. At shutdown the subscription is cancelled. Its stream then ends after what has arrived; the same
//! loop has the worker settle that, closes the connection and returns.

use std::time::Duration;

use events::WIRE_VERSION;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, rest};
use crate::{Consumer, Delivery, Error, Queue, Settings};

/// What a worker consumes, and how.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The broker.
    pub settings: Settings,
    /// The queue.
    pub queue: Queue,
    /// Most deliveries that the broker hands out before the first of them is acked.
    pub prefetch: u16,
    /// Names the connection for the broker's operator.
    pub app_id: &'static str,
    /// Pauses before the next epoch.
    pub backoff: Backoff,
}

/// What a worker does with what it consumes.
pub trait Worker: Sync {
    /// How it cuts the deliveries of an epoch into batches.
    type Batches: Batches;
    /// Why it gives a batch up, and with it the epoch.
    type Failure: std::error::Error + Send + 'static;

    /// Begins an epoch.
    fn batches(&self, consumer: Consumer) -> Self::Batches;

    /// Works on a batch until that is committed, and acks it afterwards.
    fn settle(
        &self,
        batches: &mut Self::Batches,
        batch: <Self::Batches as Batches>::Batch,
    ) -> impl Future<Output = Result<(), EpochEnd<Self::Failure>>> + Send;

    /// How often [`Worker::verdict`] is asked for while the worker consumes; never, if this is none.
    fn verdict_interval(&self) -> Option<Duration> {
        None
    }

    /// Why nothing should be consumed, if nothing should.
    fn verdict(&self) -> impl Future<Output = Option<String>> + Send {
        async { None }
    }

    /// Takes note of the connection's state, for health and metrics.
    fn report(&self, state: ConsumerState);
}

/// The state of a worker's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerState {
    /// An epoch has begun.
    Consuming,
    /// None can begin, for this reason.
    Away(String),
    /// An epoch ended without a shutdown, for this reason.
    Ended(String),
    /// A message speaks a newer version of the wire. Nothing is consumed until the worker is upgraded.
    NewerWire(String),
}

/// The deliveries of one consumer, cut into batches.
pub trait Batches: Send {
    /// Deliveries that are settled together.
    type Batch: Send;

    /// The next batch. Nothing is lost when this is dropped while it waits.
    fn next(&mut self) -> impl Future<Output = Result<Self::Batch, StreamEnd>> + Send;

    /// The consumer.
    fn consumer(&self) -> &Consumer;

    /// Gives the consumer back. What has arrived and is in no batch comes again.
    fn into_consumer(self) -> Consumer;
}

/// Without a bound of its own: a batch is whatever has arrived.
impl Batches for Consumer {
    type Batch = Vec<Delivery>;

    async fn next(&mut self) -> Result<Vec<Delivery>, StreamEnd> {
        let first = Self::next(self).await.ok_or(StreamEnd::Ended)??;
        let mut arrived = vec![first];
        arrived.extend(std::iter::from_fn(|| self.try_next()));
        match arrived.iter().find_map(Delivery::newer_wire) {
            Some(version) => Err(StreamEnd::NewerWire(version)),
            None => Ok(arrived),
        }
    }

    fn consumer(&self) -> &Consumer {
        self
    }

    fn into_consumer(self) -> Consumer {
        self
    }
}

/// Why there are no more batches from a consumer.
#[derive(Debug, thiserror::Error)]
pub enum StreamEnd {
    /// The stream ended: cancelled by us at shutdown, or by the broker.
    #[error("the stream of deliveries ended")]
    Ended,
    /// The connection or its channel failed.
    #[error("consuming")]
    Broken(#[from] Error),
    /// A publisher speaks a newer wire than this worker.
    #[error(
        "a message speaks version {0} of the wire and this worker {WIRE_VERSION}: upgrade the workers first"
    )]
    NewerWire(i32),
}

/// Why an epoch ended.
#[derive(Debug, thiserror::Error)]
pub enum EpochEnd<F: std::error::Error + 'static> {
    /// There are no more batches.
    #[error(transparent)]
    Stream(#[from] StreamEnd),
    /// The worker's verdict is that nothing should be consumed.
    #[error("{0}")]
    Halted(String),
    /// The worker gave a batch up.
    #[error(transparent)]
    Worker(F),
}

impl<F: std::error::Error + 'static> From<Error> for EpochEnd<F> {
    fn from(error: Error) -> Self {
        StreamEnd::Broken(error).into()
    }
}

/// Consumes until shutdown, and settles what has arrived by then.
pub async fn consume<W: Worker>(subscription: &Subscription, worker: &W, shutdown: &CancellationToken) {
    let Subscription { settings, queue, prefetch, app_id, backoff } = subscription;
    let mut backoff = backoff.clone();
    while !shutdown.is_cancelled() {
        if worker.verdict().await.is_some() {
            let pause = worker.verdict_interval().unwrap_or_else(|| backoff.pause());
            rest(pause, shutdown).await;
            continue;
        }
        match Consumer::open(settings, *queue, *prefetch, app_id).await {
            Ok(consumer) => {
                worker.report(ConsumerState::Consuming);
                backoff.reset();
                let end = epoch(worker, consumer, shutdown).await;
                if let EpochEnd::Stream(StreamEnd::NewerWire(_)) = end {
                    // The process stays up and consumes nothing, so that its readiness tells operators what to do.
                    tracing::error!(?queue, "{end}");
                    worker.report(ConsumerState::NewerWire(end.to_string()));
                    return shutdown.cancelled().await;
                }
                if !shutdown.is_cancelled() {
                    let error = &end as &dyn std::error::Error;
                    tracing::warn!(error, ?queue, "an epoch of consuming ended");
                    worker.report(ConsumerState::Ended(end.to_string()));
                }
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, ?queue, "cannot consume yet");
                worker.report(ConsumerState::Away(error.to_string()));
            }
        }
        backoff.rest(shutdown).await;
    }
}

async fn epoch<W: Worker>(
    worker: &W,
    consumer: Consumer,
    shutdown: &CancellationToken,
) -> EpochEnd<W::Failure> {
    let mut batches = worker.batches(consumer);
    let mut cancelled = false;
    let mut looks = worker.verdict_interval().map(looks);
    loop {
        let batch = tokio::select! {
            batch = batches.next() => match batch {
                Ok(batch) => batch,
                Err(end) => {
                    if matches!(end, StreamEnd::Ended) {
                        close(batches.into_consumer()).await;
                    }
                    return end.into();
                }
            },
            // Ends the stream; what has arrived still comes out of `next`, and then `StreamEnd::Ended`.
            () = shutdown.cancelled(), if !cancelled => {
                cancelled = true;
                if let Err(error) = batches.consumer().cancel().await {
                    return error.into();
                }
                continue;
            }
            () = look(&mut looks), if !cancelled => match worker.verdict().await {
                Some(reason) => return EpochEnd::Halted(reason),
                None => continue,
            },
        };
        if let Err(end) = worker.settle(&mut batches, batch).await {
            return end;
        }
    }
}

fn looks(interval: Duration) -> Interval {
    let mut looks = tokio::time::interval(interval);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// Waits until it is time for a look, or for ever if there is none.
async fn look(looks: &mut Option<Interval>) {
    match looks {
        Some(looks) => drop(looks.tick().await),
        None => std::future::pending().await,
    }
}

/// Ends the connection in order, so that the last ack arrives before its end.
async fn close(consumer: Consumer) {
    if let Err(error) = consumer.close().await {
        tracing::info!(%error, "the connection ended without a goodbye; what was acked last may come again");
    }
}
