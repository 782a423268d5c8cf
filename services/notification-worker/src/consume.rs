//! Consumes blog events from the queue: retries, acks. [`broker::consume`] has the loop around it.
//!
//! Deliveries are settled blog by blog and then acked. If the worker dies in between, they are redelivered, and
//! settling a blog again changes nothing. A message that cannot be read is dead-lettered for an operator; the parts of
//! it that can be read are settled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Backoff, Consumer, ConsumerState, Delivery, EpochEnd, Queue, Subscription, Worker};
use database::Pool;
use events::codec;
use runtime::health::Health;
use runtime::traces;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::metrics::Metrics;
use crate::settings::{EventSettings, TRY_MAX};
use crate::settle::settle;

/// What the consuming task needs.
pub(crate) struct Consuming {
    pub(crate) broker: broker::Settings,
    pub(crate) settings: EventSettings,
    pub(crate) pool: Pool,
    /// Rung when a blog has been settled.
    pub(crate) bell: Arc<Notify>,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

/// Why an event, and with it the epoch, is given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GivenUp {
    #[error("could not settle an event within {0} s; it returns to the queue")]
    TooLong(u64),
    #[error("could not settle an event before the shutdown deadline")]
    Drained,
}

impl Worker for Consuming {
    type Batches = Consumer;
    type Failure = GivenUp;

    fn batches(&self, consumer: Consumer) -> Consumer {
        consumer
    }

    async fn settle(&self, _: &mut Consumer, arrived: Vec<Delivery>) -> Result<(), EpochEnd<GivenUp>> {
        let messages = arrived.iter();
        let messages = messages.map(|delivery| (delivery.traceparent.as_deref(), delivery.message_id));
        let span = traces::batch(Queue::Blogs.name(), messages);
        let settled = self.work_off(&arrived).instrument(span.clone()).await;
        settled.inspect_err(|_| traces::failed(&span))
    }

    fn report(&self, state: ConsumerState) {
        match state {
            ConsumerState::Consuming => self.health.report("rabbitmq", Ok(())),
            ConsumerState::Away(reason) => self.health.report("rabbitmq", Err(reason)),
            ConsumerState::Ended(reason) => {
                self.metrics.epochs_ended.inc();
                self.health.report("rabbitmq", Err(reason));
            }
            ConsumerState::NewerWire(reason) => self.health.report("wire", Err(reason)),
        }
    }
}

impl Consuming {
    /// Consumes until shutdown.
    pub(crate) async fn run(self) {
        let subscription = Subscription {
            settings: self.broker.clone(),
            queue: Queue::Blogs,
            prefetch: self.settings.prefetch,
            app_id: "notification-worker",
            backoff: self.backoff(),
        };
        broker::consume(&subscription, &self, &self.shutdown).await;
    }

    async fn work_off(&self, arrived: &[Delivery]) -> Result<(), EpochEnd<GivenUp>> {
        let mut blogs = BTreeSet::new();
        let (mut good, mut unreadable) = (None, Vec::new());
        for delivery in arrived {
            match read(delivery, &mut blogs) {
                Ok(()) => good = Some(delivery),
                Err(reason) => unreadable.push((delivery, reason)),
            }
        }
        for blog_id in blogs {
            self.until_settled(blog_id).await.map_err(EpochEnd::Worker)?;
            self.bell.notify_one();
        }
        // Before the ack, which also covers all earlier deliveries that are still unanswered.
        for (delivery, reason) in unreadable {
            self.metrics.unreadable.inc();
            tracing::error!(id = ?delivery.message_id, reason, "cannot read a message; it is dead-lettered");
            delivery.give_up().await?;
        }
        if let Some(last) = good {
            last.ack_through().await?;
        }
        Ok(())
    }

    /// Settles a blog, retrying while the failure is the database's.
    async fn until_settled(&self, blog_id: i64) -> Result<(), GivenUp> {
        let began = Instant::now();
        let mut backoff = self.backoff();
        loop {
            let Err(error) = database::within(TRY_MAX, settle(&self.pool, blog_id)).await else {
                self.metrics.settled.inc();
                self.health.report("events", Ok(()));
                return Ok(());
            };
            self.metrics.failures.inc();
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                blog_id,
                "could not settle an event; retrying"
            );
            self.health.report("events", Err(format!("an event cannot be settled: {error}")));
            if began.elapsed() >= Duration::from_secs(self.settings.give_up_after_s) {
                return Err(GivenUp::TooLong(self.settings.give_up_after_s));
            }
            if self.shutdown.is_cancelled() {
                return Err(GivenUp::Drained);
            }
            backoff.rest(&self.shutdown).await;
        }
    }

    fn backoff(&self) -> Backoff {
        let [min, max] = [self.settings.retry_pause_min_ms, self.settings.retry_pause_max_ms];
        Backoff::new(Duration::from_millis(min), Duration::from_millis(max))
    }
}

/// Adds the blogs that a delivery is about. The error says why the delivery, or a part of it, cannot be read.
fn read(delivery: &Delivery, blogs: &mut BTreeSet<i64>) -> Result<(), String> {
    let events = codec::decode_blog(&delivery.body).map_err(|error| error.to_string())?;
    let mut malformed = None;
    for event in events {
        match event {
            Ok(event) => {
                blogs.insert(event.blog_id);
            }
            Err(error) => malformed = Some(error.reason),
        }
    }
    malformed.map_or(Ok(()), Err)
}
