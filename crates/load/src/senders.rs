//! Senders: each has one connection, which it reopens when it breaks, and one request at a time.
//!
//! In a closed loop, a sender sends its next request when it has the response to the last. This finds the maximum
//! throughput, but the latencies look too good: while the server stalls no request is sent, so a stall is one slow request
//! instead of the hundreds that users would have sent. In an open loop ([`Pace::Open`]), requests are due at fixed times
//! regardless of earlier ones, and latency counts from the time a request was due, not from the time a connection was free.
//! This avoids what Gil Tene calls coordinated omission.
//!
//! No request is abandoned: at the end the senders wait for the last responses.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connection::{Answer, Broken, Connection};
use crate::turns::{Pace, Turns};

const SENDERS_MAX: usize = 4096;
/// The pause before retrying to open a connection.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);
const PER_S_MAX: f64 = 1_000_000.0;

/// Creates one sender's requests and counts the responses.
pub trait Script: Send + 'static {
    /// The next request; it is sent at once.
    fn next(&mut self) -> &[u8];
    /// Records the outcome of a request.
    fn record(&mut self, sent: Sent<'_>);
    /// Records that a connection could not be opened. In an open loop a due request is then not sent.
    fn unopened(&mut self) {}
}

/// A request that was sent.
#[derive(Debug)]
pub struct Sent<'a> {
    /// When it was due.
    pub due: Instant,
    /// When it was sent.
    pub began: Instant,
    /// When its outcome was known.
    pub ended: Instant,
    /// The response, or an error if there was none; the request may have been processed anyway.
    pub answer: Result<Answer, Broken>,
    /// The answer's body.
    pub body: &'a [u8],
}

/// How senders send.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// When requests are sent.
    pub pace: Pace,
    /// How long new requests are sent; `None` means until the load is stopped.
    pub duration: Option<Duration>,
    /// The timeout of a request.
    pub answer_max: Duration,
    /// A sender's pause after a response other than 2xx.
    pub refused_pause: Duration,
}

/// Senders that have ended.
#[derive(Debug)]
pub struct Ran<S> {
    /// Their scripts, with the counts.
    pub scripts: Vec<S>,
    /// From the first request to the last response.
    pub elapsed: Duration,
    /// Requests of an open loop that were due but had not been sent long after the load's end.
    pub unsent: u64,
}

/// The load cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Load is sent to this machine only.
    #[error("{0} is not a loopback address; the load generator sends to this machine only")]
    NotLoopback(SocketAddr),
    /// There is nothing to view.
    #[error("a load needs at least one blog")]
    NoBlogs,
    /// Too few or too many connections.
    #[error("{0} connections: choose between 1 and {SENDERS_MAX}")]
    Connections(usize),
    /// Nothing, or more than one in a microsecond.
    #[error("{0} requests a second: choose more than 0 and at most 1000000")]
    Rate(f64),
    /// The thread that schedules requests could not be started.
    #[error("cannot start the scheduler of the load")]
    Clock(#[source] std::io::Error),
    /// The exponent is not a number, or negative.
    #[error("the exponent of the spread must be 0 or more")]
    Exponent,
    /// A task of the generator panicked.
    #[error("the load generator failed")]
    Task(#[from] tokio::task::JoinError),
}

impl Terms {
    /// Runs a sender for each address and script, for the whole duration or until `stop`, and then waits for the last
    /// responses.
    ///
    /// # Errors
    /// The load is rejected before a request is sent (see [`LoadError`]). Later failures are in the counts.
    pub async fn run<S: Script>(
        &self,
        senders: Vec<(SocketAddr, S)>,
        stop: &CancellationToken,
    ) -> Result<Ran<S>, LoadError> {
        if !(1..=SENDERS_MAX).contains(&senders.len()) {
            return Err(LoadError::Connections(senders.len()));
        }
        if let Pace::Open { per_s } = self.pace
            && !(per_s > 0.0 && per_s <= PER_S_MAX)
        {
            return Err(LoadError::Rate(per_s));
        }
        let stop = stop.child_token();
        let turns = Turns::new(self.pace, self.duration, senders.len());
        let clock = turns.start_clock(&stop).map_err(LoadError::Clock)?;
        let begin = turns.begin();
        let mut tasks = JoinSet::new();
        for (target, script) in senders {
            tasks.spawn(send(target, script, *self, turns.clone(), stop.clone()));
        }
        let mut scripts = Vec::with_capacity(tasks.len());
        let all = async {
            while let Some(script) = tasks.join_next().await {
                scripts.push(script?);
            }
            Ok::<_, LoadError>(())
        };
        // An open loop ends with its turns; this limit is for a server that cannot keep up.
        let time = async {
            if let Some(longest) = turns.longest() {
                tokio::time::sleep(longest).await;
                stop.cancel();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = all => ended?,
            () = time => {}
        }
        stop.cancel();
        drop(clock);
        Ok(Ran { scripts, elapsed: begin.elapsed(), unsent: turns.left() })
    }
}

/// Sends one request for each turn.
async fn send<S: Script>(
    target: SocketAddr,
    mut script: S,
    terms: Terms,
    turns: Turns,
    stop: CancellationToken,
) -> S {
    let mut random: SmallRng = rand::make_rng();
    let mut open: Option<Connection> = None;
    while let Some(due) = turns.next(&stop).await {
        let connection = match &mut open {
            Some(connection) => connection,
            None => match Connection::open(target).await {
                Ok(connection) => open.insert(connection),
                Err(_) => {
                    script.unopened();
                    tokio::time::sleep(REOPEN_PAUSE).await;
                    continue;
                }
            },
        };
        let request = script.next();
        let began = Instant::now();
        let answer = tokio::time::timeout(terms.answer_max, connection.exchange(request)).await;
        let answer = answer.unwrap_or(Err(Broken::Unsupported("did not arrive in time")));
        let is_open = matches!(answer, Ok(Answer { last: false, .. }));
        let is_accepted = matches!(answer, Ok(Answer { status: 200..=299, .. }));
        let body = if answer.is_ok() { connection.body() } else { &[] };
        script.record(Sent { due, began, ended: Instant::now(), answer, body });
        if !is_open {
            open = None;
        }
        if !is_accepted && !terms.refused_pause.is_zero() {
            stop.run_until_cancelled(tokio::time::sleep(terms.refused_pause)).await;
        }
        turns.think(&mut random, &stop).await;
    }
    script
}
