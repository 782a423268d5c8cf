//! The freshness of counters: the time from the answer to a view until a reader would see it.
//!
//! Probes view a blog of their own at fixed times. A separate session polls that blog's counter and records when it first
//! saw each value. The k-th answer is compared with the time at which the counter reached k: in whatever order views are
//! counted, a reader of the number sees exactly that, and the mean over all probes is exact. The query and the pause between
//! queries limit the resolution to about two milliseconds.

use std::time::{Duration, Instant};

use database::{Statement, statement};
use tokio_util::sync::CancellationToken;

use super::setting::Place;

const BLOG_VIEWS: Statement = statement!("blog_views.sql");
const PAUSE: Duration = Duration::from_millis(1);

/// The times at which the counter was first seen at each value.
#[derive(Debug, Default)]
pub(super) struct Sightings(Vec<(i64, Instant)>);

/// The time from each probe until it was visible.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Freshness {
    /// Measured from its answer.
    pub(super) accepted: Vec<Duration>,
    /// Measured from the time at which it was due.
    pub(super) due: Vec<Duration>,
}

/// Polls a blog's counter until `enough`, through outages.
pub(super) async fn watch(place: Place, blog: i64, enough: CancellationToken) -> Sightings {
    let mut seen = Sightings::default();
    let looking = async {
        let mut asking = place.asking(BLOG_VIEWS).await;
        loop {
            match asking.one(&[&blog]).await {
                Ok(row) => seen.saw(row.get("views"), Instant::now()),
                Err(_away) => asking = place.asking(BLOG_VIEWS).await,
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    enough.run_until_cancelled(looking).await;
    seen
}

impl Sightings {
    fn saw(&mut self, views: i64, at: Instant) {
        if self.0.last().is_none_or(|&(last, _)| views > last) {
            self.0.push((views, at));
        }
    }

    /// When the counter reached this value.
    fn reached(&self, views: i64) -> Option<Instant> {
        let at = self.0.partition_point(|&(seen, _)| seen < views);
        self.0.get(at).map(|&(_, at)| at)
    }

    /// Compares the due and answer times of the probes with the observed counter. `before` views had been counted
    /// earlier. A probe that was never seen is left out; the check of the tables reports it.
    pub(super) fn freshness(&self, probes: &[(Instant, Instant)], before: i64) -> Freshness {
        let mut due: Vec<Instant> = probes.iter().map(|&(due, _)| due).collect();
        let mut answered: Vec<Instant> = probes.iter().map(|&(_, answered)| answered).collect();
        due.sort();
        answered.sort();
        let mut freshness = Freshness::default();
        for ((due, answered), views) in due.into_iter().zip(answered).zip(before + 1..) {
            let Some(seen) = self.reached(views) else { break };
            // The counter may be seen before the client has its answer.
            freshness.accepted.push(seen.saturating_duration_since(answered));
            freshness.due.push(seen.saturating_duration_since(due));
        }
        freshness
    }
}

/// The percentile by nearest rank; none without values.
pub(super) fn percentile(of: &[Duration], share: f64) -> Option<Duration> {
    let mut sorted = of.to_vec();
    sorted.sort();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length that fits into memory, and not negative"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn probe_is_visible_when_its_number_of_views_is_counted() {
        let begin = Instant::now();
        let at = |after| begin + ms(after);
        let mut seen = Sightings::default();
        for (views, after) in [(5, 0), (5, 8), (7, 20), (8, 50)] {
            seen.saw(views, at(after));
        }
        // Answers in another order than the probes were due.
        let probes = [(at(0), at(30)), (at(10), at(12)), (at(25), at(31)), (at(26), at(33))];
        let freshness = seen.freshness(&probes, 5);
        assert_eq!(freshness.accepted, [ms(8), ms(0), ms(19)], "the fourth was never seen");
        assert_eq!(freshness.due, [ms(20), ms(10), ms(25)]);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let all: Vec<Duration> = (1..=100).rev().map(ms).collect();
        assert_eq!(percentile(&all, 0.5), Some(ms(50)));
        assert_eq!(percentile(&all, 0.99), Some(ms(99)));
        assert_eq!(percentile(&all, 1.0), Some(ms(100)));
        assert_eq!(percentile(&all[..1], 0.01), Some(ms(100)));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
