//! Metrics of accepted and refused events, counted where the confirm or the commit is seen and never derived.

use std::time::Duration;

use events::{EngagementKind, WritePath};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::refusal::Refusal;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Clones count into the same metrics.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    accepted: Family<Labels<2>, Counter>,
    refused: Family<Labels<1>, Counter>,
    accept_time: Family<Labels<1>, Histogram, fn() -> Histogram>,
    transaction_events: Family<Labels<1>, Histogram, fn() -> Histogram>,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            accepted: Family::default(),
            refused: Family::default(),
            // From 0.5 ms to 4 s.
            accept_time: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 2.0, 14))
            }),
            transaction_events: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(1.0, 2.0, 10))
            }),
        };
        // All series exist from the start, so that a rate over one begins at 0.
        for path in WritePath::ALL {
            for kind in EngagementKind::ALL {
                let _ = metrics.accepted.get_or_create(&accepted_labels(path, kind));
            }
            let _ = metrics.accept_time.get_or_create(&[("path", path.name())]);
            if path != WritePath::Message {
                let _ = metrics.transaction_events.get_or_create(&[("path", path.name())]);
            }
        }
        for refusal in Refusal::ALL {
            let _ = metrics.refused.get_or_create(&[("reason", refusal.name())]);
        }
        registry.register("engagement_accepted", "Events answered with a 2xx", metrics.accepted.clone());
        registry.register(
            "engagement_refused",
            "Events answered with another status",
            metrics.refused.clone(),
        );
        registry.register_with_unit(
            "engagement_accept",
            "Time from a valid request to the confirm or commit",
            Unit::Seconds,
            metrics.accept_time.clone(),
        );
        registry.register(
            "engagement_transaction_events",
            "Events per transaction on a direct path; the histogram's count is the number of commits",
            metrics.transaction_events.clone(),
        );
        metrics
    }

    pub(super) fn accepted(&self, path: WritePath, kinds: impl Iterator<Item = EngagementKind>) {
        for kind in kinds {
            self.accepted.get_or_create(&accepted_labels(path, kind)).inc();
        }
    }

    pub(super) fn refused(&self, refusal: Refusal, events: usize) {
        self.refused.get_or_create(&[("reason", refusal.name())]).inc_by(events as u64);
    }

    pub(super) fn committed(&self, path: WritePath, events: usize) {
        let family = self.transaction_events.get_or_create(&[("path", path.name())]);
        family.observe(u32::try_from(events).map_or(f64::MAX, f64::from));
    }

    pub(super) fn took(&self, path: WritePath, time: Duration) {
        self.accept_time.get_or_create(&[("path", path.name())]).observe(time.as_secs_f64());
    }
}

fn accepted_labels(path: WritePath, kind: EngagementKind) -> Labels<2> {
    [("path", path.name()), ("kind", kind.name())]
}
