//! The spill: stores envelopes that RabbitMQ has not confirmed in time in the outbox, so that they can be accepted.
//!
//! The publisher hands overdue envelopes over, together with their waiting requests, and keeps trying to publish them.
//! This task inserts what has arrived into the outbox, one insert at a time, with the same bytes and the same id. Once
//! the insert commits, all these requests are answered. Inserts are spaced out so that envelopes fill up: the outbox is
//! bounded by their number, and the relay must send each of them. RabbitMQ may confirm an envelope before or after the
//! insert, or take it without a confirm. The relay then publishes it a second time, and the ledger ignores the second
//! copy.
//!
//! A failed insert is retried until no request waits for its envelopes any more. No backlog can build up here: the
//! hand-over is bounded, and while it is full the publisher keeps its envelopes, within its own bounds.

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
    /// Registers the metrics. `overdue` comes from [`SpillSettings::open`].
    #[must_use]
    pub(crate) fn new(
        settings: &Settings,
        pool: Pool,
        outbox: Outbox,
        overdue: mpsc::Receiver<Overdue>,
        registry: &mut Registry,
    ) -> Self {
        // A request that waited half of its time before the hand-over has given up after this timeout.
        let insert_timeout = Duration::from_millis(settings.accept_timeout_ms) / 2;
        let metrics = Metrics::register(registry);
        Self { settings: settings.spill.clone(), insert_timeout, pool, outbox, overdue, metrics }
    }

    /// Stores what is handed over until the publisher has ended and nothing is left.
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
                    // Only the first failure is logged; every retry would repeat it.
                    if !std::mem::replace(&mut failing, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "events can neither be confirmed nor stored; retrying");
                    }
                    sleep(Duration::from_millis(self.settings.retry_pause_ms)).await;
                }
            }
        }
    }

    /// Drops envelopes whose requests have given up, and adds handed-over ones up to the size of one insert; waits
    /// until there is at least one. Returns false when there is none and the publisher has ended.
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
            // Do not return this connection to the pool: the statement is still running on it.
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

/// Why envelopes could not be stored this time.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("cannot write to the outbox")]
    Database(#[from] Error),
    #[error("the outbox did not answer in time")]
    TimedOut,
    #[error("the outbox is full (engagement.spill.outbox_envelopes_max)")]
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
            // From 0.5 ms to 4 s.
            insert_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
        };
        for (name, meaning, counter) in [
            ("engagement_spilled_envelopes", "Envelopes stored in the outbox", &metrics.envelopes),
            ("engagement_spilled_events", "Events in spilled envelopes", &metrics.events),
            ("engagement_spill_failures", "Inserts into the outbox that failed", &metrics.failures),
        ] {
            registry.register(name, meaning, counter.clone());
        }
        registry.register_with_unit(
            "engagement_spill_insert",
            "Time to store envelopes in the outbox and commit",
            Unit::Seconds,
            metrics.insert_seconds.clone(),
        );
        metrics
    }
}
