//! Compares the generator's record with the tables: event by event for events with a blog of their own.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::tally::{Counts, Fate, Kind, Tally};

/// The totals of a blog: views, likes, shares.
pub(crate) type Totals = [i64; 3];

/// Events with a blog of their own, by their result in the tables.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Alone {
    /// The number of events compared.
    pub events: u64,
    /// Of these, accepted.
    pub accepted: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Of these, unknown.
    pub unknown: u64,
    /// Accepted and not counted.
    pub lost: u64,
    /// Counted more than once, whatever the answer.
    pub twice: u64,
    /// Refused and counted.
    pub counted_though_refused: u64,
    /// Unknown and counted.
    pub unknown_counted: u64,
}

/// Compares both, and returns each difference as a sentence.
pub(crate) fn compare(tally: &Tally, counters: &BTreeMap<i64, Totals>) -> (Alone, Vec<String>) {
    let mut alone = Alone::default();
    let mut differences = Vec::new();
    for (event, fate) in &tally.alone {
        let totals = counters.get(&event.blog).copied().unwrap_or_default();
        let counted = totals.get(event.kind as usize).copied().unwrap_or_default();
        alone.events += 1;
        alone.twice += u64::from(counted > 1 || totals.iter().sum::<i64>() > 1);
        match fate {
            Fate::Accepted => {
                alone.accepted += 1;
                alone.lost += u64::from(counted < 1);
            }
            Fate::Refused => {
                alone.refused += 1;
                alone.counted_though_refused += u64::from(counted > 0);
            }
            Fate::Unknown => {
                alone.unknown += 1;
                alone.unknown_counted += u64::from(counted > 0);
            }
        }
    }
    for (n, what) in [
        (alone.lost, "accepted and not counted"),
        (alone.twice, "counted more than once"),
        (alone.counted_though_refused, "refused and counted"),
    ] {
        if n > 0 {
            differences.push(format!("of {} events with a blog of their own {n} were {what}", alone.events));
        }
    }
    for (blog, by_kind) in &tally.shared {
        let totals = counters.get(blog).copied().unwrap_or_default();
        for (kind, (counts, total)) in Kind::ALL.into_iter().zip(by_kind.iter().zip(totals)) {
            let Counts { accepted, unknown, .. } = *counts;
            if !(accepted..=accepted + unknown).contains(&total) {
                differences.push(format!(
                    "blog {blog} has {total} {}, of {accepted} accepted and {unknown} unknown",
                    kind.name()
                ));
            }
        }
    }
    (alone, differences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Event;

    fn alone(blog: i64) -> Event {
        Event { kind: Kind::Share, blog, alone: true }
    }

    fn differences(fate: Fate, counted: i64) -> usize {
        let mut tally = Tally::default();
        tally.record(&[alone(1)], fate);
        compare(&tally, &BTreeMap::from([(1, [0, 0, counted])])).1.len()
    }

    #[test]
    fn accepted_counts_once_refused_never_and_unknown_at_most_once() {
        let fates = [Fate::Accepted, Fate::Refused, Fate::Unknown];
        assert_eq!(fates.map(|fate| differences(fate, 0)), [1, 0, 0]);
        assert_eq!(fates.map(|fate| differences(fate, 1)), [0, 1, 0]);
        assert_eq!(fates.map(|fate| differences(fate, 2)), [1, 2, 1]);
    }

    #[test]
    fn shared_blog_counts_accepted_events_and_possibly_unknown_ones() {
        let hot = Event { kind: Kind::View, blog: 7, alone: false };
        let mut tally = Tally::default();
        for fate in [Fate::Accepted, Fate::Accepted, Fate::Unknown, Fate::Refused] {
            tally.record(&[hot], fate);
        }
        let of = |views| compare(&tally, &BTreeMap::from([(7, [views, 0, 0])])).1.len();
        assert_eq!([1, 2, 3, 4].map(of), [1, 0, 0, 1]);
    }
}
