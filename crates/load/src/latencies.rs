//! Counts latencies in buckets: exact below two milliseconds, accurate to a thousandth of the value above.

use std::time::Duration;

/// Values in the same bucket differ by at most one part in this number.
const STEPS: u64 = 1 << STEPS_BITS;
const STEPS_BITS: u32 = 10;
/// Longer latencies count as this.
const LONGEST_US: u64 = 10 * 60 * 1_000_000;

/// The latencies of responses.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    /// The count per bucket, up to the longest latency.
    counts: Vec<u64>,
    total: u64,
}

impl Latencies {
    /// Counts one latency.
    pub fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US).min(LONGEST_US);
        let bucket = bucket(us);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.total += 1;
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// The number of latencies counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency at this quantile (0.99: p99; 1.0: the maximum); zero if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = share * self.total as f64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            seen += count;
            if seen as f64 >= wanted {
                return Duration::from_micros(highest(bucket));
            }
        }
        Duration::ZERO
    }
}

/// The bucket of a value. Every doubling of the value has the same number of buckets.
fn bucket(us: u64) -> usize {
    let doublings = (us / (2 * STEPS)).checked_ilog2().map_or(0, |doublings| doublings + 1);
    let bucket = u64::from(doublings) * STEPS + (us >> doublings);
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The highest value of a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket / STEPS).saturating_sub(1);
    ((bucket - doublings * STEPS + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_bucket_whose_bounds_hold_it() {
        for us in (0..5000).chain([65_535, 65_536, 1_000_000, 59_999_999, LONGEST_US]) {
            let bucket = bucket(us);
            assert!(us <= highest(bucket), "{us}");
            assert!(bucket == 0 || us > highest(bucket - 1), "{us}");
            assert!(highest(bucket) - us <= us / STEPS, "{us}");
        }
    }

    #[test]
    fn quantiles_cover_all_added_latencies() {
        let mut all = Latencies::default();
        assert_eq!(all.quantile(0.5), Duration::ZERO);
        for part in [1..=50, 51..=100] {
            let mut latencies = Latencies::default();
            part.for_each(|ms| latencies.record(Duration::from_millis(ms)));
            all.add(&latencies);
        }
        assert_eq!(all.total(), 100);
        for (share, ms) in [(0.5, 50), (0.99, 99), (1.0, 100)] {
            let (found, exact) = (all.quantile(share), Duration::from_millis(ms));
            assert!(found >= exact && found - exact <= exact / 1000, "{share}: {found:?}");
        }
    }
}
