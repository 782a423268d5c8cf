//! Ranges of whole hours or days, and their buckets. Every UTC day has 24 hours, so plain arithmetic is enough.

use jiff::{SignedDuration, Timestamp};

use super::{Bucket, Sums};

const DEFAULT_DAYS: i64 = 7;
const DAY_S: i64 = 86_400;

/// The length of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interval {
    Hour,
    Day,
}

impl Interval {
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Hour, Self::Day].into_iter().find(|interval| interval.name() == name)
    }

    /// The name that the API and the database use.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3600,
            Self::Day => DAY_S,
        }
    }
}

/// One or more whole buckets, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    interval: Interval,
    from_s: i64,
    to_s: i64,
}

impl Range {
    /// The buckets between two moments, rounded outwards; none if the range is empty. By default the range ends with
    /// the current bucket and begins seven days before its end.
    pub(super) fn new(
        interval: Interval,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Self> {
        let step = interval.seconds();
        let down = |second: i64| second.div_euclid(step) * step;
        // Rounds up to the next whole second.
        let up = |moment: Timestamp| {
            let second = moment.as_second() + i64::from(moment.subsec_nanosecond() > 0);
            down(second + step - 1)
        };
        let to_s = to.map_or_else(|| down(now.as_second()) + step, up);
        let from_s = from.map_or_else(|| down(to_s - DEFAULT_DAYS * DAY_S), |from| down(from.as_second()));
        let is_empty = from.zip(to).is_some_and(|(from, to)| from >= to);
        (from_s < to_s && !is_empty).then_some(Self { interval, from_s, to_s })
    }

    pub(super) fn interval(self) -> Interval {
        self.interval
    }

    pub(super) fn from(self) -> Timestamp {
        at(self.from_s)
    }

    pub(super) fn to(self) -> Timestamp {
        at(self.to_s)
    }

    pub(super) fn buckets(self) -> i64 {
        (self.to_s - self.from_s) / self.interval.seconds()
    }

    /// Fills every bucket of the range with what was counted in it. `counted` is sorted by time and holds only starts
    /// of buckets.
    pub(super) fn fill(self, counted: &[(Timestamp, Sums)]) -> Vec<Bucket> {
        let mut counted = counted.iter().peekable();
        (0..self.buckets())
            .map(|place| {
                let at = at(self.from_s + place * self.interval.seconds());
                let sums =
                    counted.next_if(|(start, _)| *start == at).map(|&(_, sums)| sums).unwrap_or_default();
                Bucket { at, sums }
            })
            .collect()
    }
}

impl std::iter::Sum for Sums {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        sums.fold(Self::default(), |sum, next| Self {
            views: sum.views + next.views,
            likes: sum.likes + next.likes,
            unlikes: sum.unlikes + next.unlikes,
            shares: sum.shares + next.shares,
        })
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_secs(second)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moment() -> impl Strategy<Value = Timestamp> {
        (0..4_000_000_000_000_i64).prop_map(|ms| Timestamp::from_millisecond(ms).unwrap())
    }

    fn range() -> impl Strategy<Value = (Timestamp, Timestamp, Option<Range>)> {
        let interval = prop_oneof![Just(Interval::Hour), Just(Interval::Day)];
        (interval, moment(), 0..4_000_000_000_i64).prop_map(|(interval, from, length_ms)| {
            let to = from + SignedDuration::from_millis(length_ms);
            (from, to, Range::new(interval, Some(from), Some(to), Timestamp::UNIX_EPOCH))
        })
    }

    proptest! {
        #[test]
        fn range_is_the_fewest_whole_buckets((from, to, range) in range()) {
            let Some(range) = range else {
                prop_assert!(from >= to);
                return Ok(());
            };
            let step = SignedDuration::from_secs(range.interval().seconds());
            prop_assert!(range.from() <= from && from < range.from() + step);
            prop_assert!(range.to() - step < to && to <= range.to());
            for edge in [range.from(), range.to()] {
                prop_assert_eq!(edge.as_second() % range.interval().seconds(), 0);
                prop_assert_eq!(edge.subsec_nanosecond(), 0);
            }
        }

        #[test]
        fn buckets_are_contiguous_and_complete((_, _, range) in range(), places in proptest::collection::btree_map(0..2000_i64, 1..100_i64, 0..20)) {
            let Some(range) = range else { return Ok(()) };
            let step = range.interval().seconds();
            let counted: Vec<_> = places
                .into_iter()
                .filter(|&(place, _)| place < range.buckets())
                .map(|(place, views)| (at(range.from_s + place * step), Sums { views, ..Sums::default() }))
                .collect();
            let filled = range.fill(&counted);
            prop_assert_eq!(i64::try_from(filled.len()).unwrap(), range.buckets());
            prop_assert_eq!(filled[0].at, range.from());
            prop_assert_eq!(filled[filled.len() - 1].at + SignedDuration::from_secs(step), range.to());
            prop_assert!(filled.windows(2).all(|pair| pair[0].at + SignedDuration::from_secs(step) == pair[1].at));
            let sum: Sums = filled.iter().map(|bucket| bucket.sums).sum();
            prop_assert_eq!(sum, counted.iter().map(|&(_, sums)| sums).sum());
        }
    }
}
