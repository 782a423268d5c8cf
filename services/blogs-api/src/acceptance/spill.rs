//! The spill: what RabbitMQ has not confirmed in time is kept in the outbox, and accepted because of that.
//!
//! The publisher hands overdue envelopes over with everybody who waits for them, and goes on trying; this task
//! puts what has arrived into the outbox, one insert at a time, as the same bytes under the same id. When that
//! commits everybody is answered. Inserts follow each other at a distance, so that envelopes fill: the outbox is
//! bounded by their number, and the relay has to send each of them. A confirm may come first, or afterwards, or the
//! envelope may have been taken without one: then it is published a second time by the relay, and the ledger
//! ignores the second copy.
//!
//! An insert that fails is tried again until nobody waits for its envelopes any more. So nothing here can fall
//! behind: the hand-over is bounded, and while it is full the publisher keeps what it has, within its own bounds.

use std::time::Duration;

use broker::Overdue;
use database::{Error, Pool};
use deadpool_postgres::Object;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::settings::{Settings, SpillSettings};
use crate::outbox::Outbox;

/// The task, ready to run.
pub(crate) struct Spill {
    settings: SpillSettings,
    insert_timeout: Duration,
    pool: Pool,
    outbox: Outbox,
    overdue: mpsc::Receiver<Overdue>,
    metrics: Metrics,
}

impl Spill {
    /// Registers the metrics. `overdue` is what [`SpillSettings::open`] made.
    #[must_use]
    pub(crate) fn new(
        settings: &Settings,
        pool: Pool,
        outbox: Outbox,
        overdue: mpsc::Receiver<Overdue>,
        registry: &mut Registry,
    ) -> Self {
        // Whoever waited for half of its time before it came here has left after so long.
        let insert_timeout = Duration::from_millis(settings.accept_timeout_ms) / 2;
        let metrics = Metrics::register(registry);
        Self { settings: settings.spill.clone(), insert_timeout, pool, outbox, overdue, metrics }
    }

    /// Keeps what is handed over until the publisher has ended and nothing of it is left.
    pub(crate) async fn run(mut self) {
        let mut waiting = Vec::new();
        let mut failing = false;
        while self.gather(&mut waiting).await {
            let next = Instant::now() + Duration::from_millis(self.settings.insert_every_ms);
            match self.keep(&waiting).await {
                Ok(()) => {
                    #[cfg(feature = "fail-points")]
                    fail::fail_point!("api-after-spill");
                    failing = false;
                    self.outbox.report(None);
                    waiting.drain(..).for_each(Overdue::kept);
                    sleep_until(next).await;
                }
                Err(error) => {
                    self.metrics.failures.inc();
                    self.outbox.report(Some(error.to_string()));
                    // Logged when it begins; each further try would say the same.
                    if !std::mem::replace(&mut failing, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "events can be neither confirmed nor kept");
                    }
                    sleep(Duration::from_millis(self.settings.retry_pause_ms)).await;
                }
            }
        }
    }

    /// Lets go of the envelopes that nobody waits for any more and adds what has been handed over, as far as one
    /// insert takes it; waits until there is something. False when there is nothing and will be nothing.
    async fn gather(&mut self, waiting: &mut Vec<Overdue>) -> bool {
        let most = self.settings.insert_envelopes_max;
        loop {
            waiting.retain(Overdue::is_waited_for);
            while waiting.len() < most
                && let Ok(next) = self.overdue.try_recv()
            {
                if next.is_waited_for() {
                    waiting.push(next);
                }
            }
            if !waiting.is_empty() {
                return true;
            }
            match self.overdue.recv().await {
                Some(next) => waiting.push(next),
                None => return false,
            }
        }
    }

    async fn keep(&self, waiting: &[Overdue]) -> Result<(), Failed> {
        if self.outbox.is_full() {
            return Err(Failed::Full);
        }
        let until = Instant::now() + self.insert_timeout;
        let client = timeout_at(until, self.pool.get()).await.map_err(|_| Failed::TimedOut)??;
        let envelopes: Vec<_> = waiting.iter().map(Overdue::envelope).collect();
        let began = Instant::now();
        let Ok(kept) = timeout_at(until, self.outbox.spill(&client, &envelopes)).await else {
            // Whoever took this connection from the pool next would wait behind the statement.
            drop(Object::take(client));
            return Err(Failed::TimedOut);
        };
        kept?;
        self.metrics.insert_seconds.observe(began.elapsed().as_secs_f64());
        self.metrics.envelopes.inc_by(envelopes.len() as u64);
        self.metrics.events.inc_by(envelopes.iter().map(|envelope| envelope.events as u64).sum());
        Ok(())
    }
}

/// Why envelopes were not kept, this time.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the outbox takes nothing")]
    Database(#[from] Error),
    #[error("the outbox did not answer in time")]
    TimedOut,
    #[error("the outbox holds as many envelopes as it may (engagement.spill.outbox_envelopes_max)")]
    Full,
}

#[derive(Debug)]
struct Metrics {
    envelopes: Counter,
    events: Counter,
    failures: Counter,
    insert_seconds: Histogram,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            envelopes: Counter::default(),
            events: Counter::default(),
            failures: Counter::default(),
            // Half a millisecond to four seconds.
            insert_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
        };
        for (name, meaning, counter) in [
            ("engagement_spilled_envelopes", "Envelopes put into the outbox", &metrics.envelopes),
            ("engagement_spilled_events", "Events in these envelopes", &metrics.events),
            ("engagement_spill_failures", "Inserts into the outbox that failed", &metrics.failures),
        ] {
            registry.register(name, meaning, counter.clone());
        }
        registry.register_with_unit(
            "engagement_spill_insert",
            "Time to put envelopes into the outbox and commit",
            Unit::Seconds,
            metrics.insert_seconds.clone(),
        );
        metrics
    }
}
