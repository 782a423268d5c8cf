//! From the queue to the tables: epochs, batches, retries, acks.
//!
//! An epoch is one connection. It ends when its stream ends, an ack is not taken, or a batch could not be applied
//! for so long that RabbitMQ would soon take it back; then the next one begins, after a pause. At shutdown the
//! stream is cancelled and so ends after what has arrived, and the same loop applies and acks that and returns.

use std::time::{Duration, Instant};

use broker::{Consumer, Queue};
use engagement::{Engagement, OnBadEvent};
use jiff::Timestamp;
use runtime::health::Health;
use tokio_util::sync::CancellationToken;

use crate::gather::{self, Batch, End, Gather};
use crate::metrics::Metrics;
use crate::settings::Settings;

/// What a consuming task needs.
#[derive(Clone)]
pub(crate) struct Consuming {
    pub(crate) settings: Settings,
    pub(crate) engagement: Engagement,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

/// Why an epoch ended.
#[derive(Debug, thiserror::Error)]
enum EpochEnd {
    #[error(transparent)]
    Gather(#[from] End),
    #[error("a batch could not be applied for {0} s, its deliveries go back into the queue")]
    GaveUp(u64),
    #[error("the last batch could not be applied before the end of the time for shutting down")]
    Drained,
    #[error("RabbitMQ did not take an ack, the deliveries come again")]
    Ack(#[source] broker::Error),
}

impl Consuming {
    /// Consumes a queue until shutdown.
    pub(crate) async fn run(self, queue: Queue) {
        let mut pause = self.first_pause();
        while !self.shutdown.is_cancelled() {
            let prefetch = self.settings.worker.prefetch;
            match Consumer::open(&self.settings.broker, queue, prefetch, "analytics-worker").await {
                Ok(consumer) => {
                    self.health.report(part(queue), Ok(()));
                    pause = self.first_pause();
                    let end = self.epoch(consumer, queue).await;
                    if let EpochEnd::Gather(End::NewerWire(_)) = end {
                        // Stay up, take nothing, say why: whoever asks after readiness is told what to do.
                        tracing::error!("{end}");
                        self.health.report("wire", Err(end.to_string()));
                        return self.shutdown.cancelled().await;
                    }
                    if !self.shutdown.is_cancelled() {
                        self.metrics.epochs_ended.inc();
                        tracing::warn!(
                            error = &end as &dyn std::error::Error,
                            ?queue,
                            "an epoch of consuming ended"
                        );
                        self.health.report(part(queue), Err(end.to_string()));
                    }
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, ?queue, "cannot consume yet");
                    self.health.report(part(queue), Err(error.to_string()));
                }
            }
            self.rest(&mut pause).await;
        }
    }

    async fn epoch(&self, consumer: Consumer, queue: Queue) -> EpochEnd {
        let mut gather = Gather::new(consumer, &self.settings.worker);
        let mut cancelled = false;
        loop {
            let batch = tokio::select! {
                batch = gather.next() => match batch {
                    Ok(batch) => batch,
                    Err(end) => return end.into(),
                },
                // Ends the stream; what has arrived still comes out of `next`, and then `End::Stream`.
                () = self.shutdown.cancelled(), if !cancelled => {
                    cancelled = true;
                    if let Err(error) = gather.consumer().cancel().await {
                        return End::Broken(error).into();
                    }
                    continue;
                }
            };
            let applied = if queue == Queue::EngagementDead {
                self.park_dead(&batch).await
            } else {
                self.apply(&batch).await
            };
            if let Err(end) = applied {
                return end;
            }
            // Only now that it is committed may RabbitMQ forget it.
            if let Some(last) = batch.deliveries.last()
                && let Err(error) = last.ack_through().await
            {
                self.metrics.acks_lost.inc();
                return EpochEnd::Ack(error);
            }
        }
    }

    /// Applies a batch, and tries again for as long as the database is the reason that it cannot be.
    async fn apply(&self, batch: &Batch) -> Result<(), EpochEnd> {
        self.metrics.arrived(batch);
        self.again_and_again(|| async {
            let began = Instant::now();
            if !batch.unreadable.is_empty() {
                self.engagement.park_bodies(&batch.unreadable).await?;
            }
            if !batch.envelopes.is_empty() {
                let applied = self.engagement.apply(&batch.envelopes, OnBadEvent::Park).await?;
                self.metrics.applied(batch, &applied, began.elapsed(), Timestamp::now());
            }
            Ok(())
        })
        .await
    }

    /// What the broker itself gave up is set aside whole, where it can be listed.
    async fn park_dead(&self, batch: &Batch) -> Result<(), EpochEnd> {
        let reason =
            |reason: Option<&str>| format!("given up by the broker: {}", reason.unwrap_or("unknown reason"));
        let bodies: Vec<_> = batch
            .deliveries
            .iter()
            .map(|delivery| gather::whole(delivery, reason(delivery.death_reason.as_deref())))
            .collect();
        self.again_and_again(|| self.engagement.park_bodies(&bodies)).await
    }

    async fn again_and_again<F>(&self, attempt: impl Fn() -> F) -> Result<(), EpochEnd>
    where
        F: Future<Output = Result<(), engagement::Error>>,
    {
        let began = Instant::now();
        let mut stopping: Option<Instant> = None;
        let mut pause = self.first_pause();
        loop {
            let Err(error) = attempt().await else {
                self.health.report("batches", Ok(()));
                return Ok(());
            };
            self.metrics.retries.inc();
            // Logged when it begins; afterwards the health says it, and each try would say the same.
            if self.health.status().parts.get("batches").is_none_or(|part| part.works) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a batch cannot be applied, trying again"
                );
            }
            self.health.report("batches", Err(format!("a batch cannot be applied: {error}")));
            if began.elapsed() >= Duration::from_secs(self.settings.worker.give_up_after_s) {
                return Err(EpochEnd::GaveUp(self.settings.worker.give_up_after_s));
            }
            if self.shutdown.is_cancelled() {
                let since = *stopping.get_or_insert_with(Instant::now);
                if since.elapsed() >= Duration::from_secs(self.settings.worker.drain_timeout_s) {
                    return Err(EpochEnd::Drained);
                }
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = self.next_pause(pause);
        }
    }

    fn first_pause(&self) -> Duration {
        Duration::from_millis(self.settings.worker.retry_pause_min_ms)
    }

    fn next_pause(&self, pause: Duration) -> Duration {
        (pause * 2).min(Duration::from_millis(self.settings.worker.retry_pause_max_ms))
    }

    async fn rest(&self, pause: &mut Duration) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(jittered(*pause)) => {}
        }
        *pause = self.next_pause(*pause);
    }
}

fn part(queue: Queue) -> &'static str {
    if queue == Queue::EngagementDead { "rabbitmq-dead-letters" } else { "rabbitmq" }
}

/// Between half and all of the pause, so that workers do not knock together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}
