//! The one process that is never killed: it sends requests and remembers what became of each.
//!
//! Connections are closed loops with a pause after each request. A connection that breaks leaves its request unknown
//! and is opened anew. Nothing is abandoned: at the end the last answers are waited for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bench::{Answer, Connection};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::request::{self, Ground, Request, Requests};
use crate::tally::{Fate, Tally};

/// Without an answer for so long a request is given up as unknown.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Pause before a connection that could not be opened is tried again.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a request with a key is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How much later than its deadline an answer may come.
const LATE_AFTER: Duration = Duration::from_millis(100);

/// What the conductor sees of one API from the generator's side.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// Requests without an answer at this moment.
    pub(crate) outstanding: AtomicI64,
    /// Even while nothing between generator and API is slowed down or stopped.
    pub(crate) disturbance: AtomicU64,
}

/// Counters that everybody may look at while it runs.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) accepted: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// The slowest answer since somebody set this to 0, with nothing slowed down on its way.
    pub(crate) slowest_ms: AtomicU64,
}

/// What is sent, and how.
pub(crate) struct Generator {
    pub(crate) ground: Arc<Ground>,
    /// Where to, with the doors.
    pub(crate) targets: Vec<(SocketAddr, Arc<Door>)>,
    pub(crate) connections: usize,
    pub(crate) requests_per_s: u32,
    /// When a request should be answered, at the latest.
    pub(crate) deadline: Duration,
    pub(crate) seed: u64,
    pub(crate) progress: Arc<Progress>,
}

impl Generator {
    /// Sends until `stop`, and returns what is known then.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<Tally> {
        let mut senders = JoinSet::new();
        let pause = Duration::from_secs(1) * u32::try_from(self.connections)? / self.requests_per_s.max(1);
        for n in 0..self.connections {
            let (target, door) =
                self.targets.get(n % self.targets.len()).context("a generator needs a target")?;
            let random = SmallRng::seed_from_u64(self.seed.wrapping_add(n as u64));
            let sender = Sender {
                requests: Requests { ground: Arc::clone(&self.ground), random, host: *target },
                door: Arc::clone(door),
                progress: Arc::clone(&self.progress),
                pause,
                late_after: self.deadline + LATE_AFTER,
                connection: None,
                tally: Tally::default(),
            };
            senders.spawn(sender.run(stop.clone()));
        }
        let mut total = Tally::default();
        while let Some(tally) = senders.join_next().await {
            total.merge(tally?);
        }
        Ok(total)
    }
}

struct Sender {
    requests: Requests,
    door: Arc<Door>,
    progress: Arc<Progress>,
    pause: Duration,
    late_after: Duration,
    connection: Option<Connection>,
    tally: Tally,
}

impl Sender {
    async fn run(mut self, stop: CancellationToken) -> Tally {
        while !stop.is_cancelled() {
            let request = self.requests.next();
            if let Some(fate) = self.settle(&request, &stop).await {
                self.tally.record(&request.events, fate);
                let events = request.events.len() as u64;
                match fate {
                    Fate::Accepted => self.progress.accepted.fetch_add(events, Ordering::Relaxed),
                    Fate::Refused => self.progress.refused.fetch_add(events, Ordering::Relaxed),
                    Fate::Unknown => self.progress.unknown.fetch_add(events, Ordering::Relaxed),
                };
            }
            let pause = self.pause.mul_f64(self.requests.random.random_range(0.0..2.0));
            tokio::time::sleep(pause).await;
        }
        self.tally
    }

    /// Sends a request; one with a key until it is accepted, or until the end. Nothing if it was never sent.
    async fn settle(&mut self, request: &Request, stop: &CancellationToken) -> Option<Fate> {
        let mut known = None;
        loop {
            let fate = self.send(request, stop).await;
            // Once it may have been taken, a later refusal does not take that back.
            known = match (known, fate) {
                (known, None) => known,
                (_, Some(Fate::Accepted)) => return Some(Fate::Accepted),
                (Some(Fate::Unknown), Some(_)) => Some(Fate::Unknown),
                (_, fate) => fate,
            };
            if !request.keyed || stop.is_cancelled() {
                return known;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn send(&mut self, request: &Request, stop: &CancellationToken) -> Option<Fate> {
        let mut connection = loop {
            match self.connection.take() {
                Some(connection) => break connection,
                None => match Connection::open(self.requests.host).await {
                    Ok(connection) => break connection,
                    Err(_) if stop.is_cancelled() => return None,
                    Err(_) => tokio::time::sleep(REOPEN_PAUSE).await,
                },
            }
        };
        let (began, undisturbed) = (Instant::now(), self.door.disturbance.load(Ordering::Relaxed));
        self.door.outstanding.fetch_add(1, Ordering::Relaxed);
        let answer = tokio::time::timeout(ANSWER_MAX, connection.exchange(&request.bytes)).await;
        self.door.outstanding.fetch_sub(1, Ordering::Relaxed);
        let Ok(Ok(answer)) = answer else { return Some(Fate::Unknown) };
        let took = began.elapsed();
        if undisturbed % 2 == 0 && self.door.disturbance.load(Ordering::Relaxed) == undisturbed {
            self.tally.late += u64::from(took > self.late_after);
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.tally.slowest_ms = self.tally.slowest_ms.max(took_ms);
            self.progress.slowest_ms.fetch_max(took_ms, Ordering::Relaxed);
        }
        Some(self.understand(request, connection, answer))
    }

    fn understand(&mut self, request: &Request, connection: Connection, answer: Answer) -> Fate {
        let fate = request::fate(answer, &connection, request.events.len());
        if !answer.last {
            self.connection = Some(connection);
        }
        fate.unwrap_or_else(|said| {
            *self.tally.strange.entry(said).or_default() += 1;
            Fate::Unknown
        })
    }
}
