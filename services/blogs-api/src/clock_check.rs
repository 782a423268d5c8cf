//! Compares this process's clock with the database's, and decides when engagement must be refused.
//!
//! A like carries the time of its acceptance, and the newest one decides. A process whose clock is off by more than
//! [`CLOCK_SKEW_MAX`] would override the others or be overridden by them. It therefore accepts no engagement while the
//! skew is *known*: the last [`SAMPLES`] comparisons, all within a minute, exceed the limit, and the uncertainty of
//! each (half its round trip) is below that limit. One bad comparison does not cause a refusal, and one good one ends
//! it. While Postgres is down, the skew is unknown and the process accepts.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use database::{CLOCK_SKEW_MAX, ClockSkew, Pool};
use events::Clock;
use jiff::SignedDuration;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Number of comparisons that must agree before the skew is known.
const SAMPLES: usize = 3;
/// How long a comparison stays valid.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(60);

/// The comparisons of a process; clones share them.
#[derive(Debug, Clone)]
pub struct ClockCheck {
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Whether a known skew refuses engagement.
    refuses: bool,
    known: Mutex<Known>,
    is_refusing: AtomicBool,
    skew_seconds: Gauge<f64, AtomicU64>,
}

/// The newest comparisons, oldest first.
#[derive(Debug, Default)]
struct Known(VecDeque<(Instant, SignedDuration)>);

impl ClockCheck {
    /// Creates a check without comparisons.
    pub(crate) fn register(clock: Clock, refuses: bool, registry: &mut Registry) -> Self {
        let skew_seconds = Gauge::default();
        let meaning = "How far this process's clock is ahead of the database's";
        registry.register_with_unit("clock_skew", meaning, Unit::Seconds, skew_seconds.clone());
        let (known, is_refusing) = (Mutex::default(), AtomicBool::new(false));
        Self { clock, shared: Arc::new(Shared { refuses, known, is_refusing, skew_seconds }) }
    }

    /// The clock that is checked.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the skew is known to be too large.
    pub(crate) fn is_refusing(&self) -> bool {
        self.shared.is_refusing.load(Ordering::Relaxed)
    }

    /// Compares the clocks once. Returns true if this comparison exceeded the limit and another one should follow soon.
    ///
    /// # Errors
    /// The database could not be queried.
    pub(crate) async fn compare(&self, pool: &Pool) -> Result<bool, database::Error> {
        let compared = database::clock_skew(pool, || self.clock.time_of_day()).await;
        let mut known = self.shared.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut again = false;
        if let Ok(skew) = &compared {
            self.shared.skew_seconds.set(skew.ahead.as_secs_f64());
            let exceeds = skew.ahead.unsigned_abs() > CLOCK_SKEW_MAX;
            if !exceeds {
                self.clock.agrees();
            }
            let undecided = known.take(skew, Instant::now());
            again = exceeds && undecided;
        }
        let refusing = self.shared.refuses && known.skew(Instant::now()).is_some();
        self.shared.is_refusing.store(refusing, Ordering::Relaxed);
        compared.map(|_| again)
    }

    /// The reason for refusing engagement, if there is one.
    ///
    /// # Errors
    /// A sentence that states the difference between the clocks.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        if !self.is_refusing() {
            return Ok(());
        }
        let known = self.shared.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.skew(Instant::now()).map_or(Ok(()), |skew| database::in_step(skew, CLOCK_SKEW_MAX))
    }
}

impl Known {
    /// Adds a comparison, unless its round trip makes it too uncertain. Returns true while there are too few to decide.
    fn take(&mut self, skew: &ClockSkew, now: Instant) -> bool {
        if skew.round_trip / 2 < CLOCK_SKEW_MAX {
            if self.0.len() >= SAMPLES {
                self.0.pop_front();
            }
            self.0.push_back((now, skew.ahead));
        }
        self.skew(now).is_none()
    }

    /// The smallest of the newest skews, if all are recent and exceed the limit.
    fn skew(&self, now: Instant) -> Option<SignedDuration> {
        let exceeding = self.0.iter().filter(|(at, ahead)| {
            now.saturating_duration_since(*at) <= SAMPLE_AGE_MAX && ahead.unsigned_abs() > CLOCK_SKEW_MAX
        });
        if exceeding.clone().count() < SAMPLES {
            return None;
        }
        exceeding.map(|(_, ahead)| *ahead).min_by_key(|ahead| ahead.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skew(ahead_s: i64, round_trip_ms: u64) -> ClockSkew {
        ClockSkew {
            ahead: SignedDuration::from_secs(ahead_s),
            round_trip: Duration::from_millis(round_trip_ms),
        }
    }

    fn known_after(samples: &[(u64, ClockSkew)], now_s: u64) -> Option<i64> {
        let start = Instant::now();
        let mut known = Known::default();
        for (at_s, skew) in samples {
            known.take(skew, start + Duration::from_secs(*at_s));
        }
        known.skew(start + Duration::from_secs(now_s)).map(|skew| skew.as_secs())
    }

    #[test]
    fn skew_is_known_after_three_recent_comparisons_above_the_limit() {
        let ahead = |at_s| (at_s, skew(3600, 2));
        assert_eq!(known_after(&[ahead(0), ahead(1)], 1), None, "too few");
        assert_eq!(known_after(&[ahead(0), ahead(1), ahead(2)], 2), Some(3600));
        assert_eq!(known_after(&[(0, skew(-3601, 2)), (1, skew(-3600, 2)), ahead(2)], 2), Some(-3600));
        assert_eq!(known_after(&[ahead(0), ahead(1), ahead(2)], 61), None, "the first is too old");
        assert_eq!(known_after(&[ahead(0), (1, skew(5, 2)), ahead(2)], 2), None, "within the limit");
        assert_eq!(known_after(&[ahead(0), ahead(1), ahead(2), (3, skew(0, 2))], 3), None, "back in step");
    }

    #[test]
    fn slow_comparison_is_ignored() {
        let slow = (2, skew(3600, 10_000));
        assert_eq!(known_after(&[(0, skew(3600, 2)), (1, skew(3600, 2)), slow], 2), None);
    }
}
