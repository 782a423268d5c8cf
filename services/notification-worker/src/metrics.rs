//! The worker's metrics.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::chunk::Chunk;

/// The metrics of one worker; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) epochs_ended: Counter,
    pub(crate) settled: Counter,
    pub(crate) found: Counter,
    pub(crate) unreadable: Counter,
    pub(crate) failures: Counter,
    pub(crate) days_ahead: Gauge,
    pub(crate) fan_outs: Gauge,
    pub(crate) followers: Gauge,
    pub(crate) wait_seconds: Gauge<f64, AtomicU64>,
    looked_at: Counter,
    notified: Counter,
    done: Counter,
    chunk_rows: Gauge,
    pause_seconds: Gauge<f64, AtomicU64>,
    chunk_seconds: Histogram,
    commit_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let metrics = Self {
            epochs_ended: Counter::default(),
            settled: Counter::default(),
            found: Counter::default(),
            unreadable: Counter::default(),
            failures: Counter::default(),
            days_ahead: Gauge::default(),
            fan_outs: Gauge::default(),
            followers: Gauge::default(),
            wait_seconds: Gauge::default(),
            looked_at: Counter::default(),
            notified: Counter::default(),
            done: Counter::default(),
            chunk_rows: Gauge::default(),
            pause_seconds: Gauge::default(),
            chunk_seconds: seconds(),
            commit_seconds: seconds(),
        };
        let registry = registry.sub_registry_with_prefix("commonplace_notification");
        let mut counter =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter(
            "epochs_ended",
            "Connections to RabbitMQ that ended without a shutdown",
            &metrics.epochs_ended,
        );
        counter("settled_events", "Blogs checked because of an event", &metrics.settled);
        let found = "Fan-outs begun or resumed by the search, without an event";
        counter("fan_outs_found", found, &metrics.found);
        counter(
            "unreadable_messages",
            "Messages that were dead-lettered because they cannot be read",
            &metrics.unreadable,
        );
        counter(
            "failures",
            "Failed attempts at a chunk, an event or a search for fan-outs",
            &metrics.failures,
        );
        counter("followers_looked_at", "Followers processed in chunks", &metrics.looked_at);
        counter("notifications", "Notifications inserted", &metrics.notified);
        counter("fan_outs_done", "Fan-outs whose last chunk this worker processed", &metrics.done);
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("fan_outs_running", "Running fan-outs, of all workers", &metrics.fan_outs);
        gauge("followers_waiting", "Followers that running fan-outs have yet to process", &metrics.followers);
        gauge("chunk_rows", "Followers in the next chunk", &metrics.chunk_rows);
        gauge(
            "partitions_ahead",
            "Days for which partitions of notifications exist in advance",
            &metrics.days_ahead,
        );
        let pause = "Pause between chunks; above 0 while the database is under pressure";
        registry.register_with_unit("pause", pause, Unit::Seconds, metrics.pause_seconds.clone());
        let wait = "Longest time that a running fan-out has been waiting for its next chunk";
        registry.register_with_unit("fan_out_wait", wait, Unit::Seconds, metrics.wait_seconds.clone());
        let chunk = "Duration of a chunk, including its commit";
        registry.register_with_unit("chunk", chunk, Unit::Seconds, metrics.chunk_seconds.clone());
        let commit = "Duration of a chunk's commit; rises under pressure";
        registry.register_with_unit("commit", commit, Unit::Seconds, metrics.commit_seconds.clone());
        metrics
    }

    /// Records a committed chunk.
    pub(crate) fn taken(&self, chunk: &Chunk) {
        self.looked_at.inc_by(chunk.looked_at.unsigned_abs());
        self.notified.inc_by(chunk.notified);
        self.done.inc_by(u64::from(chunk.is_last));
        self.chunk_seconds.observe(chunk.took.as_secs_f64());
        self.commit_seconds.observe(chunk.commit.as_secs_f64());
    }

    /// Records the size of the next chunk and the pause before it.
    pub(crate) fn pace(&self, rows: i64, pause: Duration) {
        self.chunk_rows.set(rows);
        self.pause_seconds.set(pause.as_secs_f64());
    }
}
