//! Schedules requests.
//!
//! In an open loop the n-th request is due n periods after the start. A separate thread waits for that time and issues a
//! permit, because a thread can sleep with an accuracy of about ten microseconds and the runtime's timers only to a
//! millisecond. Any free connection takes the permit. If no connection is free, permits accumulate and their requests start
//! late: this is the queue that users would wait in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long after its end an open loop still sends requests that were due before.
const LATE_MAX: Duration = Duration::from_secs(20);
/// The time from creating the turns to the first one.
const LEAD: Duration = Duration::from_millis(5);
/// How often the clock checks whether it must end.
const CLOCK_STEP: Duration = Duration::from_millis(50);

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each connection sends its next request this long after a response; zero means at once.
    Closed {
        /// The average pause.
        think: Duration,
    },
    /// A fixed rate, regardless of responses. Latency counts from the time a request was due.
    Open {
        /// Requests per second.
        per_s: f64,
    },
}

/// The turns of all connections of a load.
#[derive(Debug, Clone)]
pub(crate) enum Turns {
    Closed { begin: Instant, duration: Option<Duration>, think: Duration },
    Open(Arc<Schedule>),
}

/// Requests that are due at fixed times.
#[derive(Debug)]
pub(crate) struct Schedule {
    begin: Instant,
    period_s: f64,
    /// `None` means until the load is stopped.
    total: Option<u64>,
    connections: usize,
    duration: Option<Duration>,
    due: Semaphore,
    next: AtomicU64,
}

impl Turns {
    pub(crate) fn new(pace: Pace, duration: Option<Duration>, connections: usize) -> Self {
        match pace {
            Pace::Closed { think } => Self::Closed { begin: Instant::now(), duration, think },
            Pace::Open { per_s } => Self::Open(Arc::new(Schedule {
                begin: Instant::now() + LEAD,
                period_s: 1.0 / per_s,
                total: duration.map(|duration| requests(duration, per_s)),
                connections,
                duration,
                due: Semaphore::new(0),
                next: AtomicU64::new(0),
            })),
        }
    }

    pub(crate) fn begin(&self) -> Instant {
        match self {
            Self::Closed { begin, .. } => *begin,
            Self::Open(schedule) => schedule.begin,
        }
    }

    /// No new request is sent after this time.
    pub(crate) fn longest(&self) -> Option<Duration> {
        match self {
            Self::Closed { duration, .. } => *duration,
            Self::Open(schedule) => Some(schedule.duration? + LATE_MAX),
        }
    }

    /// Starts the clock of an open loop. It ends when all requests are due, or with `stop`. Dropping it waits for its end.
    pub(crate) fn start_clock(&self, stop: &CancellationToken) -> std::io::Result<Option<Clock>> {
        let Self::Open(schedule) = self else { return Ok(None) };
        let (schedule, stop) = (Arc::clone(schedule), stop.clone());
        let run = move || schedule.tick(&stop);
        thread::Builder::new()
            .name("load clock".to_owned())
            .spawn(run)
            .map(|thread| Some(Clock(Some(thread))))
    }

    /// Waits until the next request is due and returns that time; `None` if there are no more.
    pub(crate) async fn next(&self, stop: &CancellationToken) -> Option<Instant> {
        match self {
            Self::Closed { .. } => (!stop.is_cancelled()).then(Instant::now),
            Self::Open(schedule) => {
                let permit = stop.run_until_cancelled(schedule.due.acquire()).await?;
                permit.ok()?.forget();
                let n = schedule.next.fetch_add(1, Ordering::Relaxed);
                schedule.total.is_none_or(|total| n < total).then(|| schedule.due_at(n))
            }
        }
    }

    /// The pause before the next request of a connection.
    pub(crate) async fn think(&self, random: &mut SmallRng, stop: &CancellationToken) {
        if let Self::Closed { think, .. } = self
            && !think.is_zero()
        {
            // Randomized, so that connections do not synchronize.
            let pause = think.mul_f64(random.random_range(0.5..1.5));
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Requests that were never sent.
    pub(crate) fn left(&self) -> u64 {
        match self {
            Self::Closed { .. } => 0,
            Self::Open(schedule) => {
                let next = schedule.next.load(Ordering::Relaxed);
                schedule.total.map_or(0, |total| total.saturating_sub(next))
            }
        }
    }
}

impl Schedule {
    fn due_at(&self, n: u64) -> Instant {
        self.begin + Duration::from_secs_f64(self.period_s * n as f64)
    }

    fn tick(&self, stop: &CancellationToken) {
        for n in 0..self.total.unwrap_or(u64::MAX) {
            let due = self.due_at(n);
            while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                if stop.is_cancelled() {
                    return;
                }
                thread::sleep(left.min(CLOCK_STEP));
            }
            self.due.add_permits(1);
        }
        // One more for each connection, which tells it that there are no more requests.
        self.due.add_permits(self.connections);
    }
}

/// The thread that waits until requests are due.
#[derive(Debug)]
pub(crate) struct Clock(Option<thread::JoinHandle<()>>);

impl Drop for Clock {
    fn drop(&mut self) {
        // It does not panic. If it did, requests would be missing, which is counted.
        self.0.take().map(thread::JoinHandle::join);
    }
}

/// The number of requests due within a time; at least one.
fn requests(duration: Duration, per_s: f64) -> u64 {
    // The rate is at most a million a second and durations are hours, so the result is exact.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and far below 2^53"
    )]
    let requests = (duration.as_secs_f64() * per_s).round() as u64;
    requests.max(1)
}
