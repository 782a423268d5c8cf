//! The generator's record of its requests, for the comparison with the tables.

use std::collections::BTreeMap;

/// The outcome of a request, as its sender knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Answered 2xx: each of its events counts exactly once.
    Accepted,
    /// Refused: none of its events may count.
    Refused,
    /// Unanswered, or answered as unknown: each of its events counts once or not at all.
    Unknown,
}

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    View,
    Like,
    Share,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::View, Self::Like, Self::Share];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::View => "views",
            Self::Like => "likes",
            Self::Share => "shares",
        }
    }
}

/// One event of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    pub(crate) blog: i64,
    /// True if no other event has this blog.
    pub(crate) alone: bool,
}

/// Numbers of events by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: i64,
    pub(crate) refused: i64,
    pub(crate) unknown: i64,
}

impl Counts {
    fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Accepted => self.accepted += 1,
            Fate::Refused => self.refused += 1,
            Fate::Unknown => self.unknown += 1,
        }
    }

    fn merge(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.unknown += other.unknown;
    }
}

/// The record of one sender.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) total: Counts,
    pub(crate) requests: u64,
    /// By blog, then by kind as in [`Kind::ALL`].
    pub(crate) shared: BTreeMap<i64, [Counts; 3]>,
    pub(crate) alone: Vec<(Event, Fate)>,
    /// Unexpected answers by their text.
    pub(crate) strange: BTreeMap<String, u64>,
    /// Answers more than 100 ms after the deadline, without those slowed down on their way.
    pub(crate) late: u64,
    pub(crate) slowest_ms: u64,
}

impl Tally {
    pub(crate) fn record(&mut self, events: &[Event], fate: Fate) {
        self.requests += 1;
        for event in events {
            self.total.add(fate);
            if event.alone {
                self.alone.push((*event, fate));
            } else if let Some(counts) =
                self.shared.entry(event.blog).or_default().get_mut(event.kind as usize)
            {
                counts.add(fate);
            }
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.total.merge(other.total);
        self.requests += other.requests;
        for (blog, counts) in other.shared {
            for (mine, theirs) in self.shared.entry(blog).or_default().iter_mut().zip(counts) {
                mine.merge(theirs);
            }
        }
        self.alone.extend(other.alone);
        for (said, n) in other.strange {
            *self.strange.entry(said).or_default() += n;
        }
        self.late += other.late;
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
    }
}
