//! Decides the size of a chunk and the pause after it.
//!
//! A chunk should end soon, because other fan-outs wait for their turn, and it should not take the disk away from other
//! transactions. For the first goal, its size follows the duration of the last chunk. For the second, the worker
//! measures its own commits, because they take as long as everyone else's. A slow commit halves the chunk and begins or
//! doubles a pause; each quick one halves the pause and lets the chunk grow again.

use std::time::Duration;

use crate::settings::FanOutSettings;

/// The minimum pause; a shorter one is dropped.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// What is known about the speed of the database.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    settings: FanOutSettings,
    rows: i64,
    pause: Duration,
}

impl Pace {
    /// Begins with the smallest chunk.
    pub(crate) fn new(settings: FanOutSettings) -> Self {
        Self { settings, rows: settings.chunk_rows_min, pause: Duration::ZERO }
    }

    /// Number of followers in the next chunk.
    pub(crate) fn rows(&self) -> i64 {
        self.rows
    }

    /// The pause before it.
    pub(crate) fn pause(&self) -> Duration {
        self.pause
    }

    /// Learns from a chunk: the followers processed, its total duration, and the duration of its commit.
    pub(crate) fn learn(&mut self, looked_at: i64, took: Duration, commit: Duration) {
        let FanOutSettings { chunk_rows_min, chunk_rows_max, pause_max_ms, .. } = self.settings;
        let under_pressure = commit > Duration::from_millis(self.settings.commit_slow_ms);
        let wanted = if under_pressure {
            self.rows / 2
        } else if looked_at < self.rows {
            // The end of a fan-out: the duration of a full chunk is unknown.
            self.rows
        } else {
            let target_us = u128::from(self.settings.chunk_target_ms) * 1000;
            let rows = u128::from(self.rows.unsigned_abs()) * target_us / took.as_micros().max(1);
            // At most half or double: a single chunk may be an outlier.
            i64::try_from(rows).unwrap_or(i64::MAX).clamp(self.rows / 2, self.rows.saturating_mul(2))
        };
        self.rows = wanted.clamp(chunk_rows_min, chunk_rows_max);
        self.pause = if under_pressure {
            (self.pause * 2).max(commit).min(Duration::from_millis(pause_max_ms))
        } else {
            Some(self.pause / 2).filter(|pause| *pause >= PAUSE_MIN).unwrap_or_default()
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: FanOutSettings = FanOutSettings {
        chunk_rows_min: 100,
        chunk_rows_max: 10_000,
        chunk_target_ms: 200,
        commit_slow_ms: 40,
        pause_max_ms: 1000,
        poll_ms: 500,
        find_interval_ms: 10_000,
    };
    const QUICK: Duration = Duration::from_millis(3);
    const SLOW: Duration = Duration::from_millis(41);

    proptest! {
        #[test]
        fn pace_stays_within_its_bounds(
            chunks in proptest::collection::vec((0_i64..20_000, 0_u64..10_000, 0_u64..10_000), 1..100)
        ) {
            let mut pace = Pace::new(SETTINGS);
            for (looked_at, took, commit) in chunks {
                pace.learn(looked_at, Duration::from_millis(took), Duration::from_millis(commit));
                prop_assert!((100..=10_000).contains(&pace.rows()));
                prop_assert!(pace.pause() <= Duration::from_millis(1000));
            }
        }
    }

    #[test]
    fn chunk_size_converges_to_the_target_duration() {
        let mut pace = Pace::new(SETTINGS);
        // 20 rows per millisecond: 4000 rows take 200 ms.
        for _ in 0..20 {
            let took = Duration::from_micros(u64::try_from(pace.rows()).unwrap() * 50);
            pace.learn(pace.rows(), took, QUICK);
        }
        assert_eq!((pace.rows(), pace.pause()), (4000, Duration::ZERO));
        // Suddenly ten times slower.
        for _ in 0..20 {
            let took = Duration::from_micros(u64::try_from(pace.rows()).unwrap() * 500);
            pace.learn(pace.rows(), took, QUICK);
        }
        assert_eq!(pace.rows(), 400);
    }

    #[test]
    fn slow_commits_add_pauses_and_quick_ones_remove_them() {
        let mut pace = Pace::new(SETTINGS);
        for _ in 0..20 {
            pace.learn(pace.rows(), QUICK, QUICK);
        }
        assert_eq!(pace.rows(), 10_000);
        let mut before = (pace.rows(), pace.pause());
        for _ in 0..4 {
            pace.learn(pace.rows(), Duration::from_millis(100), SLOW);
            let now = (pace.rows(), pace.pause());
            assert!(now.0 < before.0 && now.1 > before.1, "{now:?} after {before:?}");
            before = now;
        }
        for _ in 0..20 {
            pace.learn(pace.rows(), Duration::from_millis(100), SLOW);
        }
        assert_eq!((pace.rows(), pace.pause()), (100, Duration::from_millis(1000)));
        for _ in 0..20 {
            pace.learn(pace.rows(), QUICK, QUICK);
        }
        assert_eq!((pace.rows(), pace.pause()), (10_000, Duration::ZERO));
    }

    #[test]
    fn last_chunk_of_a_fan_out_does_not_change_the_size() {
        let mut pace = Pace::new(SETTINGS);
        pace.learn(pace.rows(), QUICK, QUICK);
        let rows = pace.rows();
        pace.learn(10, QUICK, QUICK);
        assert_eq!(pace.rows(), rows);
    }
}
