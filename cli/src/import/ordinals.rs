//! Numbers equal lines: the first one has ordinal 0.
//!
//! Two requests of the same reader for the same page within a second leave equal lines, and both are views. Their order
//! within the file tells them apart, and it is the same every time the file is read. This requires remembering earlier
//! lines, in bounded memory: only lines within an hour of the newest time in the file, and at most 1,000,000 of them. When
//! there are more, the oldest second is forgotten first. Logs are in order of time to within seconds, so in practice
//! nothing is forgotten too early. If it is, the line gets ordinal 0 again and therefore the key of a line that was
//! counted: two views then count once, but one view never counts twice. The same applies to equal lines in two files, as
//! at the edge of a rotation.

use std::collections::{BTreeMap, HashMap};

const AGE_MAX_S: i64 = 3600;
const LINES_MAX: usize = 1_000_000;

/// The ordinals of one file's lines.
#[derive(Debug)]
pub(super) struct Ordinals {
    /// How often each line was seen, by second and hash.
    seconds: BTreeMap<i64, HashMap<u128, u32>>,
    lines: usize,
    lines_max: usize,
}

impl Default for Ordinals {
    fn default() -> Self {
        Self { seconds: BTreeMap::new(), lines: 0, lines_max: LINES_MAX }
    }
}

impl Ordinals {
    /// The number of remembered lines that equal this one.
    pub(super) fn next(&mut self, second: i64, line: u128) -> u32 {
        let newest = self.seconds.last_key_value().map_or(second, |(&newest, _)| newest.max(second));
        let mut oldest = newest.saturating_sub(AGE_MAX_S);
        if second < oldest {
            self.seconds.clear();
            (self.lines, oldest) = (0, second);
        }
        let seen = self.seconds.entry(second).or_default().entry(line).or_insert_with(|| {
            self.lines += 1;
            0
        });
        let ordinal = *seen;
        *seen = seen.saturating_add(1);
        while let Some(first) = self.seconds.first_entry()
            && (*first.key() < oldest || self.lines > self.lines_max)
        {
            self.lines -= first.remove().len();
        }
        ordinal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_within_an_hour_are_numbered() {
        let mut ordinals = Ordinals::default();
        assert_eq!(
            [(10, 1), (10, 1), (10, 2), (11, 1), (10, 1)].map(|(at, line)| ordinals.next(at, line)),
            [0, 1, 0, 0, 2]
        );
        assert_eq!(ordinals.next(10 + AGE_MAX_S, 1), 0);
        assert_eq!(ordinals.next(10, 1), 3, "an hour before the newest");
        assert_eq!(ordinals.next(11 + AGE_MAX_S, 1), 0);
        assert_eq!(ordinals.next(10, 1), 0, "more than an hour: starts at 0 again");
        assert_eq!(ordinals.next(10, 1), 1, "and remembered from there");
        assert_eq!(ordinals.lines, 1);
    }

    #[test]
    fn older_lines_after_newer_ones_are_numbered_like_a_new_file() {
        const DAY_S: i64 = 24 * 3600;
        let day = |day: i64| {
            let lines = [(1, 7), (1, 7), (2, 7), (4000, 8), (4000, 8), (4000, 9), (80_000, 7), (80_000, 7)];
            lines.map(|(second, line)| (day * DAY_S + second, line))
        };
        let alone = |day: [(i64, u128); 8]| {
            let mut ordinals = Ordinals::default();
            day.map(|(second, line)| ordinals.next(second, line))
        };
        let days = [2, 1, 0].map(day);
        let mut ordinals = Ordinals::default();
        // A line from the future changes nothing for those that follow.
        assert_eq!(ordinals.next(1000 * DAY_S, 7), 0);
        for day in days {
            assert_eq!(day.map(|(second, line)| ordinals.next(second, line)), alone(day));
        }
        assert_eq!(alone(days[0]), [0, 1, 0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_second_goes_first() {
        let mut ordinals = Ordinals { lines_max: 3, ..Ordinals::default() };
        for line in 0..1000 {
            assert_eq!(ordinals.next(20, line), 0);
            assert!(ordinals.lines <= 3);
        }
        let mut ordinals = Ordinals { lines_max: 3, ..Ordinals::default() };
        assert_eq!(
            [(10, 1), (11, 1), (11, 2), (12, 1)].map(|(at, line)| ordinals.next(at, line)),
            [0, 0, 0, 0]
        );
        assert_eq!(ordinals.next(11, 1), 1);
        assert_eq!(ordinals.next(10, 1), 0, "forgotten");
    }
}
