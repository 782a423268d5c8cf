//! Checks whether a peer moves enough bytes while the server waits for it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The rate is measured over this much waiting time. The kernel wakes a writer only when a third of the send buffer is free,
/// so progress becomes visible in steps. A step may fall into the next window, so a peer has credit for one step.
pub const WINDOW: Duration = Duration::from_secs(8);

/// Measures the rate of a peer over the time that the server waited for it. A peer is never too slow while the server does
/// not wait. Costs nothing before the first wait.
#[derive(Debug)]
pub struct Pace {
    bytes_min: u64,
    step: u64,
    /// The surplus of earlier windows over the minimum rate, at most one step.
    credit: u64,
    moved: u64,
    waited: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// For a peer that must move at least `rate_min` bytes a second and whose progress is visible in steps of up to `step`
    /// bytes.
    #[must_use]
    pub fn new(rate_min: u32, step: usize) -> Self {
        let bytes_min = u64::from(rate_min).saturating_mul(WINDOW.as_secs());
        let step = u64::try_from(step).unwrap_or(u64::MAX);
        Self { bytes_min, step, credit: step, moved: 0, waited: Duration::ZERO, since: None, timer: None }
    }

    /// Records that the peer has moved this many bytes. The wait is over.
    pub fn moved(&mut self, bytes: usize) {
        if self.since.is_some() || !self.waited.is_zero() {
            self.moved_at(Instant::now(), bytes);
        }
    }

    fn moved_at(&mut self, now: Instant, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.waited += now - since;
        }
        self.moved += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// When the current window of a wait ends; `None` if the peer was too slow over a whole window.
    fn ends(&mut self, now: Instant) -> Option<Instant> {
        let since = *self.since.get_or_insert(now);
        let ends = since + WINDOW.saturating_sub(self.waited);
        if now < ends {
            return Some(ends);
        }
        let rest = self.moved.saturating_add(self.credit).checked_sub(self.bytes_min)?;
        self.credit = rest.min(self.step);
        (self.moved, self.waited, self.since) = (0, Duration::ZERO, Some(now));
        Some(now + WINDOW)
    }

    /// Records that the server waits for the peer. Ready if the peer was too slow over a whole window.
    pub fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(ends) = self.ends(Instant::now()) else { return Poll::Ready(()) };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(ends)));
            if timer.deadline() != ends {
                timer.as_mut().reset(ends);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_only_while_the_server_waits_for_the_peer() {
        let (mut pace, begin) = (Pace::new(100, 0), Instant::now());
        assert_eq!(pace.ends(begin), Some(begin + WINDOW));
        pace.moved_at(begin + WINDOW / 2, 1);
        let later = begin + 10 * WINDOW;
        assert_eq!(pace.ends(later), Some(later + WINDOW / 2));
        assert_eq!(pace.ends(later + WINDOW / 2), None);
    }

    #[test]
    fn a_peer_at_the_minimum_rate_is_fast_enough_and_a_slower_one_is_not() {
        let (mut pace, mut now) = (Pace::new(100, 0), Instant::now());
        for _ in 0..20 {
            assert!(pace.ends(now).is_some());
            now += WINDOW / 2;
            pace.moved_at(now, 450);
        }
        let is_waited_for = (0..4).map(|_| {
            let is_waited_for = pace.ends(now).is_some();
            now += WINDOW / 2;
            pace.moved_at(now, 350);
            is_waited_for
        });
        assert!(is_waited_for.collect::<Vec<_>>().contains(&false));
    }
    #[test]
    fn a_peer_that_moves_in_steps_must_reach_the_minimum_rate() {
        // One step is as many bytes as the minimum rate moves in one window. At nine tenths of that rate, it takes 8.9 s.
        let (rate, step) = (100, 800);
        let lasts = |milliseconds_a_step: u64| {
            let (mut pace, mut now) = (Pace::new(rate, step), Instant::now());
            (0..200).all(|_| {
                let arrives = now + Duration::from_millis(milliseconds_a_step);
                while let Some(ends) = pace.ends(now) {
                    if ends > arrives {
                        now = arrives;
                        pace.moved_at(now, step);
                        return true;
                    }
                    now = ends;
                }
                false
            })
        };
        assert!(lasts(8000) && lasts(5000));
        assert!(!lasts(8900));
    }
}
