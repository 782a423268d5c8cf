//! Clamps times to the database's clock, and rounds them down to windows and hours that are aligned to UTC midnight. A POSIX
//! day has 86,400 seconds, so a window whose length divides that number is aligned to midnight on every day.

use database::CLOCK_SKEW_MAX;
use jiff::Timestamp;

const HOUR_S: u32 = 3600;

/// The time at which an event or an envelope counts. If its timestamp is ahead of the database's clock by more than the
/// allowed skew, the sender's clock was wrong, and the time of the applying transaction counts instead.
pub(crate) fn clamped(time: Timestamp, now: Timestamp) -> Timestamp {
    let ahead = time.duration_since(now);
    if ahead.is_positive() && ahead.unsigned_abs() > CLOCK_SKEW_MAX { now } else { time }
}

/// The start of the window that contains a time.
pub(crate) fn start(time: Timestamp, window_s: u32) -> Timestamp {
    let seconds = time.as_microsecond().div_euclid(1_000_000);
    let start = seconds - seconds.rem_euclid(i64::from(window_s));
    // A window that starts before the first representable second has no start; the time itself is used instead.
    Timestamp::from_second(start).unwrap_or(time)
}

/// The start of the hour that contains a time.
pub(crate) fn hour(time: Timestamp) -> Timestamp {
    start(time, HOUR_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_window_contains_its_time_and_is_aligned(second in -30_000_000_000_i64..30_000_000_000, nano in 0_i32..1_000_000_000) {
            let time = Timestamp::new(second, nano).unwrap();
            for window_s in [1_u32, 300, 1800, 3600, 86_400] {
                let start = start(time, window_s);
                prop_assert!(start <= time);
                prop_assert!(time.as_second() - start.as_second() <= i64::from(window_s));
                prop_assert_eq!(start.as_second().rem_euclid(i64::from(window_s)), 0);
            }
        }
    }

    #[test]
    fn only_a_time_beyond_the_skew_limit_is_clamped() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let at = |ahead_s| now + jiff::SignedDuration::from_secs(ahead_s);
        for ahead_s in [-86_400, 0, 5] {
            assert_eq!(clamped(at(ahead_s), now), at(ahead_s));
        }
        for ahead_s in [6, 3600, 70 * 86_400] {
            assert_eq!(clamped(at(ahead_s), now), now);
        }
        assert_eq!(clamped(Timestamp::MAX, Timestamp::MIN), Timestamp::MIN);
    }

    #[test]
    fn windows_start_at_utc_midnight() {
        let time: Timestamp = "2026-11-22T23:59:59.999999Z".parse().unwrap();
        assert_eq!(start(time, 1800).to_string(), "2026-11-22T23:30:00Z");
        assert_eq!(start(time, 86_400).to_string(), "2026-11-22T00:00:00Z");
        assert_eq!(hour(time).to_string(), "2026-11-22T23:00:00Z");
    }

    #[test]
    fn the_smallest_and_the_largest_time_do_not_panic() {
        for time in [Timestamp::MIN, Timestamp::MAX] {
            let _ = (start(time, 1800), hour(time));
        }
    }
}
