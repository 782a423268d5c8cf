//! The publisher's metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub(super) struct Metrics {
    pub(super) published: Counter,
    pub(super) resent: Counter,
    pub(super) confirmed: Counter,
    pub(super) returned: Counter,
    pub(super) nacked: Counter,
    pub(super) handed_over: Counter,
    pub(super) epochs: Counter,
    pub(super) events: Histogram,
    pub(super) confirm_seconds: Histogram,
    pub(super) waiting: Gauge,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            published: Counter::default(),
            resent: Counter::default(),
            confirmed: Counter::default(),
            returned: Counter::default(),
            nacked: Counter::default(),
            handed_over: Counter::default(),
            epochs: Counter::default(),
            events: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            confirm_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 15)),
            waiting: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("broker");
        for (name, meaning, counter) in [
            ("envelopes_published", "Envelopes published for the first time", &metrics.published),
            ("envelopes_resent", "Envelopes published again after their connection ended", &metrics.resent),
            ("envelopes_confirmed", "Envelopes that RabbitMQ confirmed and routed", &metrics.confirmed),
            (
                "envelopes_returned",
                "Connections that ended because an envelope was not routed to any queue",
                &metrics.returned,
            ),
            (
                "envelopes_nacked",
                "Connections that ended because RabbitMQ rejected an envelope",
                &metrics.nacked,
            ),
            (
                "envelopes_handed_over",
                "Overdue envelopes handed over to be stored in the outbox",
                &metrics.handed_over,
            ),
            ("publisher_epochs", "Publisher connections that became ready to publish", &metrics.epochs),
        ] {
            registry.register(name, meaning, counter.clone());
        }
        registry.register("envelope_events", "Events per published envelope", metrics.events.clone());
        registry.register_with_unit(
            "confirm",
            "Time from publishing an envelope to its confirm",
            Unit::Seconds,
            metrics.confirm_seconds.clone(),
        );
        registry.register(
            "publishes_waiting",
            "Publishes waiting for their confirm",
            metrics.waiting.clone(),
        );
        metrics
    }
}
