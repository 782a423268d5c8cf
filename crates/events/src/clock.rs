//! The clock that timestamps events and envelopes.
//!
//! A process reads the time of day from its machine, whose clock can be wrong briefly or permanently. Two rules limit the
//! effect of a wrong clock:
//!
//! - Timestamps and ids are unique and ascending within a process, but never more than [`LEAD_MAX`] ahead of the clock. If
//!   the clock steps back further than that, they follow it back.
//! - For [`ANCHOR_AGE_MAX`] after the clock was found to agree with the database's ([`Clock::agrees`]), a jump of the time of
//!   day is checked against the monotonic clock, which cannot be set. While the two differ by more than [`LEAD_MAX`], the
//!   monotonic clock is used.
//!
//! A clock that is wrong from the start cannot be corrected here. The Blogs API is not ready if the skew is known, and
//! workers clamp times when they apply events.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use uuid::{ContextV7, Uuid};

/// How far timestamps and ids may run ahead of the clock to stay unique and ascending.
pub const LEAD_MAX: Duration = Duration::from_secs(1);
/// How long after a comparison with the database the monotonic clock can override the time of day.
pub const ANCHOR_AGE_MAX: Duration = Duration::from_secs(60);

const LEAD_MAX_US: i64 = 1_000_000;

/// Reads the time of day and issues timestamps and ids. Clones share their state.
#[derive(Clone)]
pub struct Clock(Arc<Parts>);

struct Parts {
    time_of_day: Box<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    anchor: Option<Anchor>,
    last_stamp_us: i64,
    last_id_us: i64,
    ids: ContextV7,
}

/// A moment at which the time of day was right.
#[derive(Clone, Copy)]
struct Anchor {
    time: Timestamp,
    at: Instant,
}

impl Clock {
    /// The clock of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(Timestamp::now)
    }

    /// A clock that reads the time of day from a function.
    #[must_use]
    pub fn from_fn(time_of_day: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(Parts { time_of_day: Box::new(time_of_day), state: Mutex::default() }))
    }

    /// The machine's time of day, right or wrong.
    #[must_use]
    pub fn time_of_day(&self) -> Timestamp {
        (self.0.time_of_day)()
    }

    /// Records that the time of day agrees with the database's. From now on a jump of the clock can be detected.
    pub fn agrees(&self) {
        self.state().anchor = Some(Anchor { time: self.time_of_day(), at: Instant::now() });
    }

    /// The time, to the microsecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let time = self.time_of_day();
        self.state().checked(time)
    }

    /// A unique timestamp in microseconds. A later call gets a later time, unless the clock has stepped back by more than
    /// [`LEAD_MAX`] between the calls.
    #[must_use]
    pub fn stamp(&self) -> Timestamp {
        let time = self.time_of_day();
        let mut state = self.state();
        let now = state.checked(time);
        state.last_stamp_us = after(state.last_stamp_us, now.as_microsecond());
        Timestamp::from_microsecond(state.last_stamp_us).unwrap_or(now)
    }

    /// A new `UUIDv7`. A later call gets a greater id, unless the clock has stepped back by more than [`LEAD_MAX`] between
    /// the calls.
    #[must_use]
    pub fn id(&self) -> Uuid {
        let time = self.time_of_day();
        let mut state = self.state();
        let now_us = state.checked(time).as_microsecond();
        if state.last_id_us.saturating_sub(now_us) > LEAD_MAX_US {
            // The context of the `uuid` crate never goes back, so start a new one.
            state.ids = ContextV7::new();
            state.last_id_us = now_us;
        }
        state.last_id_us = state.last_id_us.max(now_us);
        let now_us = u64::try_from(now_us).unwrap_or_default();
        let nanos = u32::try_from(now_us % 1_000_000 * 1000).unwrap_or_default();
        Uuid::new_v7(uuid::Timestamp::from_unix(&state.ids, now_us / 1_000_000, nanos))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The time of day, or the time derived from the monotonic clock.
    fn checked(&self, time: Timestamp) -> Timestamp {
        let Some(anchor) = self.anchor else { return time };
        let passed = anchor.at.elapsed();
        if passed > ANCHOR_AGE_MAX {
            return time;
        }
        let expected =
            SignedDuration::try_from(passed).ok().and_then(|passed| anchor.time.checked_add(passed).ok());
        match expected {
            Some(expected) if time.duration_since(expected).unsigned_abs() > LEAD_MAX => expected,
            _ => time,
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

/// Now, or one microsecond after the last timestamp if that is not too far ahead of now.
fn after(last_us: i64, now_us: i64) -> i64 {
    if last_us.saturating_sub(now_us) > LEAD_MAX_US { now_us } else { now_us.max(last_us.saturating_add(1)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use proptest::prelude::*;

    const NOON_US: i64 = 1_795_348_800_000_000;
    const HOUR_US: i64 = 3_600_000_000;

    /// A clock whose time of day is set by hand.
    fn by_hand(time_us: i64) -> (Clock, Arc<AtomicI64>) {
        let time = Arc::new(AtomicI64::new(time_us));
        let read = Arc::clone(&time);
        let clock =
            Clock::from_fn(move || Timestamp::from_microsecond(read.load(Ordering::Relaxed)).unwrap());
        (clock, time)
    }

    fn id_us(clock: &Clock) -> i64 {
        clock.envelope_id().made_at().as_microsecond()
    }

    proptest! {
        #[test]
        fn stamps_ascend_and_stay_within_a_second_of_the_clock(
            steps in proptest::collection::vec(-2 * HOUR_US..2 * HOUR_US, 1..50),
        ) {
            let (clock, time) = by_hand(NOON_US);
            let mut last_us = 0;
            for step_us in steps {
                let now_us = NOON_US + step_us;
                time.store(now_us, Ordering::Relaxed);
                let stamp_us = clock.stamp().as_microsecond();
                prop_assert!((now_us..=now_us + LEAD_MAX_US + 1).contains(&stamp_us));
                prop_assert!(stamp_us > last_us || last_us - now_us > LEAD_MAX_US);
                last_us = stamp_us;
            }
        }

        #[test]
        fn ids_follow_the_clock_back(steps in proptest::collection::vec(-2 * HOUR_US..2 * HOUR_US, 1..50)) {
            let (clock, time) = by_hand(NOON_US);
            for step_us in steps {
                let now_us = NOON_US + step_us;
                time.store(now_us, Ordering::Relaxed);
                let id_us = id_us(&clock);
                // An id contains the time to the millisecond.
                prop_assert!((now_us - 1000..=now_us + LEAD_MAX_US + 1000).contains(&id_us));
            }
        }
    }

    #[test]
    fn stamps_and_ids_of_one_moment_ascend() {
        let (clock, time) = by_hand(NOON_US);
        let mut stamps = Vec::new();
        let mut ids = Vec::new();
        for back_us in [0, 0, 400_000, 900_000, 0] {
            time.store(NOON_US - back_us, Ordering::Relaxed);
            stamps.push(clock.stamp());
            ids.push(clock.id());
        }
        assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "{stamps:?}");
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    }

    #[test]
    fn a_jump_after_an_agreement_is_ignored() {
        let (clock, time) = by_hand(NOON_US);
        clock.agrees();
        for jump_us in [HOUR_US, -HOUR_US, 70 * 24 * HOUR_US] {
            time.store(NOON_US + jump_us, Ordering::Relaxed);
            for stamped_us in [clock.now().as_microsecond(), clock.stamp().as_microsecond(), id_us(&clock)] {
                assert!((stamped_us - NOON_US).abs() < 60_000_000, "{jump_us}: {stamped_us}");
            }
        }
        // The database has the new time as well.
        clock.agrees();
        assert!(clock.now().as_microsecond() >= NOON_US + 70 * 24 * HOUR_US);
    }

    #[test]
    fn threads_never_share_a_stamp() {
        let clock = Clock::system();
        let each = || {
            let times: Vec<_> = (0..2000).map(|_| clock.stamp()).collect();
            assert!(times.is_sorted());
            times
        };
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(each)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
