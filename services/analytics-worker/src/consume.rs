//! Moves events from the queue to the tables: batches, retries, acks. [`broker::consume`] has the loop around it.
//!
//! If RabbitMQ would soon redeliver a batch that still cannot be applied, the worker ends the epoch, which returns the
//! batch's deliveries to the queue.

use std::time::{Duration, Instant};

use broker::{Backoff, Consumer, ConsumerState, EpochEnd, Queue, Subscription, Worker};
use engagement::{Engagement, OnBadEvent, Outcome, ParkedBody};
use events::EnvelopeId;
use jiff::Timestamp;
use runtime::health::Health;
use runtime::traces;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::gather::{self, Batch, Gather};
use crate::metrics::Metrics;
use crate::poison::{Poison, Suspect};
use crate::settings::Settings;

/// Timeout of the first attempt to apply a batch. Postgres ends each of its statements after at most half of that. A
/// server that hangs keeps connections open and never ends anything by itself.
const TRY_MAX: Duration = Duration::from_secs(60);
/// Timeout for queries that nothing depends on: reading recently parked events, deleting a recorded attempt.
const LOOK_MAX: Duration = Duration::from_secs(3);

/// What the consuming task needs.
#[derive(Clone)]
pub(crate) struct Consuming {
    pub(crate) queue: Queue,
    pub(crate) settings: Settings,
    pub(crate) engagement: Engagement,
    pub(crate) poison: Poison,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

/// Why a batch, and with it the epoch, is given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GivenUp {
    #[error("could not apply a batch within {0} s; its deliveries return to the queue")]
    TooLong(u64),
    #[error("could not apply the last batch before the shutdown deadline")]
    Drained,
    #[error("RabbitMQ did not accept an ack; RabbitMQ will redeliver the messages")]
    Ack(#[source] broker::Error),
}

impl Worker for Consuming {
    type Batches = Gather;
    type Failure = GivenUp;

    fn batches(&self, consumer: Consumer) -> Gather {
        Gather::new(consumer, &self.settings)
    }

    async fn settle(&self, gather: &mut Gather, mut batch: Batch) -> Result<(), EpochEnd<GivenUp>> {
        let messages = batch.deliveries.iter();
        let messages = messages.map(|delivery| (delivery.traceparent.as_deref(), delivery.message_id));
        let span = traces::batch(self.queue.name(), messages);
        // While a suspect is tried, nothing else is read, so that only the suspect can be to blame if the worker dies.
        let is_tried_alone = batch.suspect.is_some();
        let committed = tokio::select! {
            biased;
            committed = self.commit(&mut batch).instrument(span.clone()) => committed,
            never = gather.read_ahead(), if !is_tried_alone => match never {},
        };
        let parked = match committed {
            Ok(parked) => parked,
            Err(given_up) => {
                traces::failed(&span);
                return Err(EpochEnd::Worker(given_up));
            }
        };
        // The span ends with the commit.
        drop(span);
        #[cfg(feature = "fail-points")]
        fail::fail_point!("worker-after-commit");
        // RabbitMQ may drop the deliveries only after the commit.
        if let Some(last) = batch.deliveries.last()
            && let Err(error) = last.ack_through().await
        {
            self.metrics.acks_lost.inc();
            return Err(EpochEnd::Worker(GivenUp::Ack(error)));
        }
        #[cfg(feature = "fail-points")]
        fail::fail_point!("worker-after-ack");
        if parked && let Some(reason) = self.verdict().await {
            return Err(EpochEnd::Halted(reason));
        }
        Ok(())
    }

    fn verdict_interval(&self) -> Option<Duration> {
        Some(self.settings.poison.check_interval())
    }

    /// The reason to stop consuming, if there is one. A database that does not respond is reported elsewhere.
    async fn verdict(&self) -> Option<String> {
        let verdict = match database::within(LOOK_MAX, self.poison.verdict()).await {
            Ok(verdict) => verdict,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "could not read recently parked events");
                return None;
            }
        };
        self.health.report("parking", verdict.clone().map_or(Ok(()), Err));
        verdict
    }

    fn report(&self, state: ConsumerState) {
        let part = if self.queue == Queue::EngagementDead { "rabbitmq-dead-letters" } else { "rabbitmq" };
        match state {
            ConsumerState::Consuming => self.health.report(part, Ok(())),
            ConsumerState::Away(reason) => self.health.report(part, Err(reason)),
            ConsumerState::Ended(reason) => {
                self.metrics.epochs_ended.inc();
                self.health.report(part, Err(reason));
            }
            ConsumerState::NewerWire(reason) => self.health.report("wire", Err(reason)),
        }
    }
}

impl Consuming {
    /// Consumes its queue until shutdown.
    pub(crate) async fn run(self) {
        let subscription = Subscription {
            settings: self.settings.broker.clone(),
            queue: self.queue,
            prefetch: self.settings.worker.prefetch,
            app_id: "analytics-worker",
            backoff: self.backoff(),
        };
        broker::consume(&subscription, &self, &self.shutdown).await;
    }

    /// Retries a batch until it is committed. Returns true if an event was parked.
    async fn commit(&self, batch: &mut Batch) -> Result<bool, GivenUp> {
        match batch.suspect {
            _ if self.queue == Queue::EngagementDead => self.park_dead(batch).await,
            Some(id) => self.try_suspect(batch, id).await,
            None => self.apply(batch).await,
        }
    }

    /// Applies a batch, retrying while the failure is the database's. Returns true if an event was parked.
    async fn apply(&self, batch: &Batch) -> Result<bool, GivenUp> {
        self.metrics.arrived(batch);
        self.again_and_again(|| async {
            let began = Instant::now();
            let mut parked = !batch.unreadable.is_empty();
            if !batch.unreadable.is_empty() {
                self.engagement.park_bodies(&batch.unreadable).await?;
            }
            if !batch.envelopes.is_empty() {
                let applied = self.engagement.apply(&batch.envelopes, OnBadEvent::Park).await?;
                self.metrics.applied(batch, &applied, began.elapsed(), Timestamp::now());
                parked |= applied.outcomes.iter().flatten().any(|outcome| *outcome == Outcome::Parked);
            }
            Ok(parked)
        })
        .await
    }

    /// Applies a suspect, an envelope that was redelivered again and again, by itself. The attempt is committed before
    /// its body is read, and deleted when it ends in any way other than the death of this process.
    async fn try_suspect(&self, batch: &mut Batch, id: EnvelopeId) -> Result<bool, GivenUp> {
        self.metrics.suspects.inc();
        let number = Uuid::now_v7();
        match self.again_and_again(async || Ok(self.poison.begin(id, number).await?)).await? {
            Suspect::Applied => {
                // A worker committed the envelope and died before it deleted the recorded attempts. Nothing else would delete
                // them.
                self.again_and_again(async || Ok(self.poison.end(id).await?)).await?;
                return Ok(false);
            }
            Suspect::Try => batch.read_suspect(),
            Suspect::Deadly(attempts) => {
                let reason = format!("{attempts} workers died while applying it by itself");
                let whole = batch.deliveries.iter().map(|delivery| gather::whole(delivery, reason.clone()));
                batch.unreadable = whole.map(|body| ParkedBody { attempts, unfit: false, ..body }).collect();
            }
        }
        let settled = self.apply(batch).await;
        if settled.is_ok() {
            // Before the ack: an acked envelope is not delivered again, so nothing else would delete the recorded attempts.
            self.again_and_again(async || Ok(self.poison.end(id).await?)).await?;
        } else if let Err(error) = database::within(LOOK_MAX, self.poison.end(id)).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, %id, "could not delete the recorded attempt of a suspect envelope");
        }
        settled
    }

    /// Parks messages that the broker dead-lettered, unread, so that operators can list them.
    async fn park_dead(&self, batch: &Batch) -> Result<bool, GivenUp> {
        let reason = |reason: Option<&str>| {
            format!("dead-lettered by the broker: {}", reason.unwrap_or("unknown reason"))
        };
        let bodies: Vec<_> = batch
            .deliveries
            .iter()
            .map(|delivery| gather::whole(delivery, reason(delivery.death_reason.as_deref())))
            .collect();
        self.again_and_again(|| self.engagement.park_bodies(&bodies)).await?;
        Ok(true)
    }

    /// Retries until the attempt succeeds or its time is over. An attempt that timed out may have been committed; the
    /// next attempt, here or in the worker that gets the deliveries next, finds that in the tables.
    async fn again_and_again<F, T>(&self, attempt: impl Fn() -> F) -> Result<T, GivenUp>
    where
        F: Future<Output = Result<T, engagement::Error>>,
    {
        tokio::select! {
            biased;
            done = self.until_done(attempt) => Ok(done),
            end = self.out_of_time() => Err(end),
        }
    }

    async fn until_done<F, T>(&self, attempt: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, engagement::Error>>,
    {
        let mut backoff = self.backoff();
        let mut limit = TRY_MAX;
        loop {
            let error = match database::within(limit, attempt()).await {
                Ok(done) => {
                    self.health.report("batches", Ok(()));
                    return done;
                }
                Err(error) => error,
            };
            if let engagement::Error::Database(database::Error::NoAnswer(_)) = error {
                // Isolating one bad event among thousands takes many statements; such a batch must end eventually.
                limit *= 2;
            }
            self.metrics.retries.inc();
            // Only the first failure is logged. After that, the health check reports it; every retry would repeat it.
            if self.health.status().parts.get("batches").is_none_or(|part| part.works) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "could not apply a batch; retrying"
                );
            }
            self.health.report("batches", Err(format!("a batch cannot be applied: {error}")));
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Waits until the current attempt must be given up.
    async fn out_of_time(&self) -> GivenUp {
        let worker = &self.settings.worker;
        let drained = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(Duration::from_secs(worker.drain_timeout_s)).await;
        };
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(worker.give_up_after_s)) => {
                GivenUp::TooLong(worker.give_up_after_s)
            }
            () = drained => GivenUp::Drained,
        }
    }

    fn backoff(&self) -> Backoff {
        let worker = &self.settings.worker;
        let [min, max] = [worker.retry_pause_min_ms, worker.retry_pause_max_ms].map(Duration::from_millis);
        Backoff::new(min, max)
    }
}
