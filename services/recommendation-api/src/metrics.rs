//! The metrics of learning; the `web` crate counts requests.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The metrics of one process; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) learnt_blogs: Counter,
    pub(crate) rebuilt_blogs: Counter,
    pub(crate) rebuilds: Counter,
    pub(crate) failures: Counter,
    pub(crate) chunk_seconds: Histogram,
    pub(crate) age_seconds: Gauge<f64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            learnt_blogs: Counter::default(),
            rebuilt_blogs: Counter::default(),
            rebuilds: Counter::default(),
            failures: Counter::default(),
            chunk_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            age_seconds: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("recommendation");
        let count = |registry: &mut Registry, name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        count(
            registry,
            "learnt_blogs",
            "Blogs whose neighbours were recomputed because their likes changed",
            &metrics.learnt_blogs,
        );
        count(registry, "rebuilt_blogs", "Blogs processed by rebuilds", &metrics.rebuilt_blogs);
        count(registry, "rebuilds", "Rebuilds completed; readers are shown their result", &metrics.rebuilds);
        count(
            registry,
            "learning_failures",
            "Learning steps that failed; each is retried",
            &metrics.failures,
        );
        let chunk = metrics.chunk_seconds.clone();
        registry.register_with_unit("rebuild_chunk", "Duration of a rebuild chunk", Unit::Seconds, chunk);
        let age = "Age of the learnt data that readers are shown";
        registry.register_with_unit("learnt_age", age, Unit::Seconds, metrics.age_seconds.clone());
        metrics
    }
}
