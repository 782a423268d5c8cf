//! The time at which an event is accepted, in microseconds, and never the same twice in a process.
//!
//! Whether an account likes a blog is decided by the newest event. Two clicks of one reader may fall into one
//! microsecond, or the clock may step back between them; the later one must win all the same.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Gives out times, each later than the one before.
#[derive(Debug, Default)]
pub(super) struct AcceptedAt {
    last_us: AtomicI64,
}

impl AcceptedAt {
    /// Now, or one microsecond after the last one given out.
    pub(super) fn next(&self) -> Timestamp {
        let now = Timestamp::now();
        let now_us = now.as_microsecond();
        let mut last_us = self.last_us.load(Ordering::Relaxed);
        loop {
            let next_us = after(last_us, now_us);
            match self.last_us.compare_exchange_weak(last_us, next_us, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Timestamp::from_microsecond(next_us).unwrap_or(now),
                Err(newer_us) => last_us = newer_us,
            }
        }
    }
}

fn after(last_us: i64, now_us: i64) -> i64 {
    now_us.max(last_us.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_the_clock_does_times_rise(clock in proptest::collection::vec(0..2_000_000_000_000_000_i64, 1..50)) {
            let mut last_us = 0;
            for now_us in clock {
                let next_us = after(last_us, now_us);
                prop_assert!(next_us > last_us);
                prop_assert!(next_us >= now_us);
                last_us = next_us;
            }
        }
    }

    #[test]
    fn threads_never_share_a_time() {
        let accepted_at = AcceptedAt::default();
        let each = || {
            let times: Vec<_> = (0..2000).map(|_| accepted_at.next()).collect();
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
