//! The one process that is never killed: it sends requests and records the result of each.
//!
//! Its senders are closed loops with a pause after each request ([`load::Terms`]). A connection that breaks leaves its request
//! unknown. A request with a key is sent again until it is accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use load::{Pace, Script, Sent, Terms};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio_util::sync::CancellationToken;

use crate::request::{self, Ground, Request, Requests};
use crate::tally::{Fate, Tally};

/// Timeout of a request, after which its outcome is unknown.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Tolerated delay of an answer after its deadline.
const LATE_AFTER: Duration = Duration::from_millis(100);

/// The generator's view of one API, for the conductor.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// Requests that are unanswered now.
    pub(crate) outstanding: AtomicI64,
    /// An even number while nothing between generator and API is slowed down or stopped.
    pub(crate) disturbance: AtomicU64,
}

/// Counters that other tasks may read while it runs.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) accepted: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// The slowest answer since this was last reset to 0, without those slowed down on their way.
    pub(crate) slowest_ms: AtomicU64,
}

/// The load.
pub(crate) struct Generator {
    pub(crate) ground: Arc<Ground>,
    /// The APIs with their doors.
    pub(crate) targets: Vec<(SocketAddr, Arc<Door>)>,
    pub(crate) connections: usize,
    pub(crate) requests_per_s: u32,
    /// The deadline for the answer to a request.
    pub(crate) deadline: Duration,
    pub(crate) seed: u64,
    pub(crate) progress: Arc<Progress>,
}

impl Generator {
    /// Sends until `stop`, and returns the record.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<Tally> {
        let think = Duration::from_secs(1) * u32::try_from(self.connections)? / self.requests_per_s.max(1);
        let mut senders = Vec::with_capacity(self.connections);
        for n in 0..self.connections {
            let (target, door) =
                self.targets.get(n % self.targets.len()).context("a generator needs a target")?;
            let random = SmallRng::seed_from_u64(self.seed.wrapping_add(n as u64));
            let sender = Sender {
                requests: Requests { ground: Arc::clone(&self.ground), random, host: *target },
                door: Arc::clone(door),
                progress: Arc::clone(&self.progress),
                late_after: self.deadline + LATE_AFTER,
                disturbance: 0,
                current: None,
                tally: Tally::default(),
            };
            senders.push((*target, sender));
        }
        let terms = Terms {
            pace: Pace::Closed { think },
            duration: None,
            answer_max: ANSWER_MAX,
            refused_pause: Duration::ZERO,
        };
        let ran = terms.run(senders, &stop).await?;
        let mut total = Tally::default();
        ran.scripts.into_iter().for_each(|sender| total.merge(sender.end()));
        Ok(total)
    }
}

struct Sender {
    requests: Requests,
    door: Arc<Door>,
    progress: Arc<Progress>,
    late_after: Duration,
    /// The state of the door when the request was sent.
    disturbance: u64,
    current: Option<Current>,
    tally: Tally,
}

/// A request that is being sent, or will be sent again.
struct Current {
    request: Request,
    /// The result according to the answers so far.
    known: Option<Fate>,
}

impl Script for Sender {
    fn next(&mut self) -> &[u8] {
        self.door.outstanding.fetch_add(1, Ordering::Relaxed);
        self.disturbance = self.door.disturbance.load(Ordering::Relaxed);
        let requests = &mut self.requests;
        &self.current.get_or_insert_with(|| Current { request: requests.next(), known: None }).request.bytes
    }

    fn record(&mut self, sent: Sent<'_>) {
        self.door.outstanding.fetch_sub(1, Ordering::Relaxed);
        let Some(Current { request, known }) = self.current.take() else { return };
        let fate = match sent.answer {
            Err(_) => Fate::Unknown,
            Ok(answer) => {
                self.time(sent.ended.duration_since(sent.began));
                request::fate(answer, sent.body, request.events.len()).unwrap_or_else(|said| {
                    *self.tally.strange.entry(said).or_default() += 1;
                    Fate::Unknown
                })
            }
        };
        // Once it may have been accepted, a later refusal does not change that.
        let fate = match (known, fate) {
            (Some(Fate::Unknown), Fate::Refused) => Fate::Unknown,
            (_, fate) => fate,
        };
        if request.keyed && fate != Fate::Accepted {
            self.current = Some(Current { request, known: Some(fate) });
        } else {
            self.settle(&request, fate);
        }
    }
}

impl Sender {
    /// Records how long an answer took, if nothing on its way was slowed down.
    fn time(&mut self, took: Duration) {
        let undisturbed = self.disturbance;
        if undisturbed.is_multiple_of(2) && self.door.disturbance.load(Ordering::Relaxed) == undisturbed {
            self.tally.late += u64::from(took > self.late_after);
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.tally.slowest_ms = self.tally.slowest_ms.max(took_ms);
            self.progress.slowest_ms.fetch_max(took_ms, Ordering::Relaxed);
        }
    }

    fn settle(&mut self, request: &Request, fate: Fate) {
        self.tally.record(&request.events, fate);
        let count = match fate {
            Fate::Accepted => &self.progress.accepted,
            Fate::Refused => &self.progress.refused,
            Fate::Unknown => &self.progress.unknown,
        };
        count.fetch_add(request.events.len() as u64, Ordering::Relaxed);
    }

    /// The final record.
    fn end(mut self) -> Tally {
        if let Some(Current { request, known: Some(fate) }) = self.current.take() {
            self.settle(&request, fate);
        }
        self.tally
    }
}
