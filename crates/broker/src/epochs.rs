//! The consume loop that all workers share.
//!
//! An epoch is one connection. It ends when its stream ends, an ack fails, or the worker gives up a batch. After a pause the
//! next epoch begins. At shutdown the loop cancels the subscription, and the stream ends after the deliveries that have
//! arrived. The same loop lets the worker settle them, closes the connection and returns.

use std::time::Duration;

use events::WIRE_VERSION;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, rest};
use crate::{Consumer, Delivery, Error, Queue, Settings};

/// Which queue a worker consumes, and how.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The broker's settings.
    pub settings: Settings,
    /// The queue.
    pub queue: Queue,
    /// Maximum number of unacked deliveries.
    pub prefetch: u16,
    /// The connection's name in the broker's management tools.
    pub app_id: &'static str,
    /// Pauses before the next epoch.
    pub backoff: Backoff,
}

/// How a worker processes deliveries.
pub trait Worker: Sync {
    /// How it groups the deliveries of an epoch into batches.
    type Batches: Batches;
    /// Why it gives up a batch, which ends the epoch.
    type Failure: std::error::Error + Send + 'static;

    /// Begins an epoch.
    fn batches(&self, consumer: Consumer) -> Self::Batches;

    /// Processes a batch until it is committed, then acks it.
    fn settle(
        &self,
        batches: &mut Self::Batches,
        batch: <Self::Batches as Batches>::Batch,
    ) -> impl Future<Output = Result<(), EpochEnd<Self::Failure>>> + Send;

    /// How often [`Worker::verdict`] is called while the worker consumes; `None` means never.
    fn verdict_interval(&self) -> Option<Duration> {
        None
    }

    /// The reason to stop consuming, if there is one.
    fn verdict(&self) -> impl Future<Output = Option<String>> + Send {
        async { None }
    }

    /// Receives the connection's state, for health and metrics.
    fn report(&self, state: ConsumerState);
}

/// The state of a worker's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerState {
    /// An epoch has begun.
    Consuming,
    /// No epoch can begin, for this reason.
    Away(String),
    /// An epoch ended without a shutdown, for this reason.
    Ended(String),
    /// A message uses a newer version of the wire format. The worker consumes nothing until it is upgraded.
    NewerWire(String),
}

/// The deliveries of one consumer, grouped into batches.
pub trait Batches: Send {
    /// A group of deliveries that are settled together.
    type Batch: Send;

    /// Waits for the next batch. Dropping the future while it waits loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Self::Batch, StreamEnd>> + Send;

    /// The consumer.
    fn consumer(&self) -> &Consumer;

    /// Returns the consumer. Deliveries that have arrived but are in no batch are delivered again.
    fn into_consumer(self) -> Consumer;
}

/// Without a size limit: a batch contains all deliveries that have arrived.
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
    /// The stream ended: this side cancelled it at shutdown, or the broker did.
    #[error("the stream of deliveries ended")]
    Ended,
    /// The connection or its channel failed.
    #[error("cannot consume")]
    Broken(#[from] Error),
    /// A publisher uses a newer wire format than this worker.
    #[error(
        "a message uses version {0} of the wire format, but this worker knows only {WIRE_VERSION}: upgrade the workers first"
    )]
    NewerWire(i32),
}

/// Why an epoch ended.
#[derive(Debug, thiserror::Error)]
pub enum EpochEnd<F: std::error::Error + 'static> {
    /// There are no more batches.
    #[error(transparent)]
    Stream(#[from] StreamEnd),
    /// The worker's verdict was to stop consuming.
    #[error("{0}")]
    Halted(String),
    /// The worker gave up a batch.
    #[error(transparent)]
    Worker(F),
}

impl<F: std::error::Error + 'static> From<Error> for EpochEnd<F> {
    fn from(error: Error) -> Self {
        StreamEnd::Broken(error).into()
    }
}

/// Consumes until shutdown, then settles the deliveries that have arrived.
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
                    // Stay up without consuming, so that `/readyz` tells operators what to do.
                    tracing::error!(?queue, "{end}");
                    worker.report(ConsumerState::NewerWire(end.to_string()));
                    return shutdown.cancelled().await;
                }
                if !shutdown.is_cancelled() {
                    let error = &end as &dyn std::error::Error;
                    tracing::warn!(error, ?queue, "consuming was interrupted; reconnecting after a pause");
                    worker.report(ConsumerState::Ended(end.to_string()));
                }
            }
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    ?queue,
                    "cannot start consuming yet"
                );
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
            // Ends the stream: `next` still returns the deliveries that have arrived, then `StreamEnd::Ended`.
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

/// Waits until the next verdict is due; forever if there is no interval.
async fn look(looks: &mut Option<Interval>) {
    match looks {
        Some(looks) => drop(looks.tick().await),
        None => std::future::pending().await,
    }
}

/// Closes the connection with the AMQP handshake, so that RabbitMQ receives the last ack before the connection ends.
async fn close(consumer: Consumer) {
    if let Err(error) = consumer.close().await {
        tracing::info!(%error, "the connection was not closed cleanly; the last acked messages may be delivered again");
    }
}
