//! From the queue to the tables: batches, retries, acks. The loop around them is [`broker::consume`].
//!
//! A batch that could not be applied for so long that RabbitMQ would soon take it back ends the epoch: its deliveries go back
//! into the queue.

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

/// How long the first try to apply a batch may go without an end: no statement of it is given more than half of that by
/// Postgres. A server that hangs keeps connections open and ends nothing.
const TRY_MAX: Duration = Duration::from_secs(60);
/// Longest wait for what nothing depends on: a look at what was parked lately, a try that is to be forgotten.
const LOOK_MAX: Duration = Duration::from_secs(3);

/// What a consuming task needs.
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

/// Why a batch is given up, and the epoch with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GivenUp {
    #[error("a batch could not be applied for {0} s, its deliveries go back into the queue")]
    TooLong(u64),
    #[error("the last batch could not be applied before the end of the time for shutting down")]
    Drained,
    #[error("RabbitMQ did not take an ack, the deliveries come again")]
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
        // While one is tried that may be what ends workers nothing else is read: it alone is to be blamed.
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
        // It ends with the commit.
        drop(span);
        #[cfg(feature = "fail-points")]
        fail::fail_point!("worker-after-commit");
        // Only now that it is committed may RabbitMQ forget it.
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

    /// A database that does not answer has its own ways to show.
    async fn verdict(&self) -> Option<String> {
        let verdict = match database::within(LOOK_MAX, self.poison.verdict()).await {
            Ok(verdict) => verdict,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "what was parked lately cannot be looked at");
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

    /// Sees a batch through to its commit. True when something of it was parked.
    async fn commit(&self, batch: &mut Batch) -> Result<bool, GivenUp> {
        match batch.suspect {
            _ if self.queue == Queue::EngagementDead => self.park_dead(batch).await,
            Some(id) => self.try_suspect(batch, id).await,
            None => self.apply(batch).await,
        }
    }

    /// Applies a batch, and tries again for as long as the database is the reason that it cannot be. True when
    /// something of it was parked.
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

    /// An envelope that came back again and again, alone. That it is tried is committed before its body is read, and
    /// forgotten when the try ends in whatever way but the end of this process.
    async fn try_suspect(&self, batch: &mut Batch, id: EnvelopeId) -> Result<bool, GivenUp> {
        self.metrics.suspects.inc();
        let number = Uuid::now_v7();
        match self.again_and_again(async || Ok(self.poison.begin(id, number).await?)).await? {
            Suspect::Applied => {
                // Its worker ended after the commit: nobody will ask for this row again.
                self.again_and_again(async || Ok(self.poison.end(id).await?)).await?;
                return Ok(false);
            }
            Suspect::Try => batch.read_suspect(),
            Suspect::Deadly(attempts) => {
                let reason = format!("{attempts} workers ended while they applied it alone");
                let whole = batch.deliveries.iter().map(|delivery| gather::whole(delivery, reason.clone()));
                batch.unreadable = whole.map(|body| ParkedBody { attempts, unfit: false, ..body }).collect();
            }
        }
        let settled = self.apply(batch).await;
        if settled.is_ok() {
            // Before the ack, after which nobody would come to forget it.
            self.again_and_again(async || Ok(self.poison.end(id).await?)).await?;
        } else if let Err(error) = database::within(LOOK_MAX, self.poison.end(id)).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, %id, "the try of an envelope that came back often could not be forgotten");
        }
        settled
    }

    /// What the broker itself gave up is set aside whole, where it can be listed.
    async fn park_dead(&self, batch: &Batch) -> Result<bool, GivenUp> {
        let reason =
            |reason: Option<&str>| format!("given up by the broker: {}", reason.unwrap_or("unknown reason"));
        let bodies: Vec<_> = batch
            .deliveries
            .iter()
            .map(|delivery| gather::whole(delivery, reason(delivery.death_reason.as_deref())))
            .collect();
        self.again_and_again(|| self.engagement.park_bodies(&bodies)).await?;
        Ok(true)
    }

    /// Tries until it is done, or until there is no more time for it. A try that is cut short may have been committed: then
    /// the next one, here or by whoever gets the deliveries next, finds that in the tables.
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
                // Finding the bad among thousands of events takes many statements; such a batch must end some day.
                limit *= 2;
            }
            self.metrics.retries.inc();
            // Logged when it begins; afterwards the health says it, and each try would say the same.
            if self.health.status().parts.get("batches").is_none_or(|part| part.works) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a batch cannot be applied, trying again"
                );
            }
            self.health.report("batches", Err(format!("a batch cannot be applied: {error}")));
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Waits until what is being tried must be given up.
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
