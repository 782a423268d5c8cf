//! The worker's metrics.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use engagement::{Applied, Outcome};
use events::EngagementKind;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::gather::Batch;

/// The counters of a blog.
pub(crate) const KINDS: [&str; 3] = ["views", "likes", "shares"];

/// The kind of an event that cannot be read.
const UNREADABLE: &str = "unreadable";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabel {
    pub(crate) kind: &'static str,
}

/// The metrics of one worker; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) epochs_ended: Counter,
    pub(crate) acks_lost: Counter,
    pub(crate) retries: Counter,
    pub(crate) suspects: Counter,
    pub(crate) clock_skew_seconds: Gauge<f64, AtomicU64>,
    pub(crate) days_ahead: Gauge,
    pub(crate) counter_drift: Family<KindLabel, Gauge>,
    pub(crate) reconciled_blogs: Counter,
    pub(crate) popularity_runs: Counter,
    redelivered: Counter,
    unreadable: Counter,
    events: Family<OutcomeLabel, Counter>,
    batch_events: Histogram,
    batch_envelopes: Histogram,
    apply_seconds: Histogram,
    freshness_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 18));
        let metrics = Self {
            epochs_ended: Counter::default(),
            acks_lost: Counter::default(),
            retries: Counter::default(),
            suspects: Counter::default(),
            clock_skew_seconds: Gauge::default(),
            days_ahead: Gauge::default(),
            counter_drift: Family::default(),
            reconciled_blogs: Counter::default(),
            popularity_runs: Counter::default(),
            redelivered: Counter::default(),
            unreadable: Counter::default(),
            events: Family::default(),
            batch_events: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            batch_envelopes: Histogram::new(exponential_buckets(1.0, 2.0, 8)),
            apply_seconds: seconds(),
            freshness_seconds: seconds(),
        };
        // All series exist from the start: otherwise the first parked event would not show as an increase.
        let kinds = EngagementKind::ALL.map(EngagementKind::name);
        for (kind, outcome) in kinds.iter().flat_map(|kind| Outcome::ALL.map(|outcome| (*kind, outcome))) {
            if outcome != Outcome::Refused {
                let _ = metrics.events.get_or_create(&OutcomeLabel { kind, outcome: outcome.name() });
            }
        }
        let parked = OutcomeLabel { kind: UNREADABLE, outcome: Outcome::Parked.name() };
        let _ = metrics.events.get_or_create(&parked);
        for kind in KINDS {
            let _ = metrics.counter_drift.get_or_create(&KindLabel { kind });
        }
        let registry = registry.sub_registry_with_prefix("commonplace_worker");
        let mut add =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        add("epochs_ended", "Connections to RabbitMQ that ended without a shutdown", &metrics.epochs_ended);
        add("acks_lost", "Batches that were committed but whose ack failed", &metrics.acks_lost);
        add("retries", "Failed attempts to apply a batch", &metrics.retries);
        add("suspects", "Envelopes redelivered so often that they were applied alone", &metrics.suspects);
        add("redelivered_envelopes", "Envelopes that RabbitMQ had delivered before", &metrics.redelivered);
        let looked_at = "Blogs whose counters were compared with the counted events";
        add("reconciled_blogs", looked_at, &metrics.reconciled_blogs);
        add(
            "popularity_runs",
            "Rebuilds of the lists of popular blogs by this worker",
            &metrics.popularity_runs,
        );
        add("unreadable_messages", "Messages that were parked unread", &metrics.unreadable);
        registry.register("events", "Events by kind and outcome", metrics.events.clone());
        registry.register("batch_events", "Events per batch", metrics.batch_events.clone());
        registry.register("batch_envelopes", "Envelopes per batch", metrics.batch_envelopes.clone());
        let clock = "How far this process's clock is ahead of the database's";
        registry.register_with_unit("clock_skew", clock, Unit::Seconds, metrics.clock_skew_seconds.clone());
        registry.register(
            "partitions_ahead",
            "Days for which partitions exist in advance; the minimum over the tables",
            metrics.days_ahead.clone(),
        );
        let drift = "Difference between the counters and the counted events, at each blog's last comparison";
        registry.register("drift", drift, metrics.counter_drift.clone());
        let apply = "Time to apply and commit a batch";
        registry.register_with_unit("apply", apply, Unit::Seconds, metrics.apply_seconds.clone());
        let freshness = "Time from the oldest envelope of a batch to its commit";
        registry.register_with_unit("freshness", freshness, Unit::Seconds, metrics.freshness_seconds.clone());
        metrics
    }

    /// Records a batch that was read from the queue.
    pub(crate) fn arrived(&self, batch: &Batch) {
        self.batch_events.observe(real(batch.events));
        self.batch_envelopes.observe(real(batch.deliveries.len()));
        let redelivered = batch.deliveries.iter().filter(|delivery| delivery.redelivered).count();
        self.redelivered.inc_by(wide(redelivered));
        self.unreadable.inc_by(wide(batch.unreadable.len()));
    }

    /// Records a batch that was committed.
    pub(crate) fn applied(&self, batch: &Batch, applied: &Applied, took: Duration, now: Timestamp) {
        self.apply_seconds.observe(took.as_secs_f64());
        if let Some(oldest) = batch.envelopes.iter().map(|envelope| envelope.id.made_at()).min() {
            self.freshness_seconds.observe(now.duration_since(oldest).as_secs_f64().max(0.0));
        }
        let mut counts = std::collections::BTreeMap::new();
        for (envelope, outcomes) in batch.envelopes.iter().zip(&applied.outcomes) {
            for (event, outcome) in envelope.events.iter().zip(outcomes) {
                let kind = event.as_ref().map_or(UNREADABLE, |event| event.action.kind().name());
                *counts.entry((kind, *outcome)).or_default() += 1;
            }
        }
        for ((kind, outcome), n) in counts {
            self.events.get_or_create(&OutcomeLabel { kind, outcome: Outcome::name(outcome) }).inc_by(n);
        }
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
