//! Senders: each has one connection, opened again when it breaks, and one request at a time.
//!
//! In a closed loop every sender sends its next request when it has the answer to the last. That finds the most that
//! a server takes, but its latencies flatter: while the server stalls nobody asks, so a stall is one slow request and not
//! the hundreds that users would have sent. In an open loop ([`Pace::Open`]) requests are due at fixed times whatever
//! becomes of those before them, and latency counts from when a request was due, not from when a connection was free for
//! it: what Gil Tene calls coordinated omission does not happen.
//!
//! No request is abandoned: at the end the last answers are waited for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connection::{Answer, Broken, Connection};
use crate::turns::{Pace, Turns};

const SENDERS_MAX: usize = 4096;
/// Pause before a connection that could not be opened is tried again.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);
const PER_S_MAX: f64 = 1_000_000.0;

/// What one sender sends, and its account of the answers.
pub trait Script: Send + 'static {
    /// The next request; it is sent at once.
    fn next(&mut self) -> &[u8];
    /// Takes down what became of it.
    fn record(&mut self, sent: Sent<'_>);
    /// A connection could not be opened; in an open loop a request that was due is not sent.
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
    /// The answer; an error if there was none, in which case the request may have been served.
    pub answer: Result<Answer, Broken>,
    /// The answer's body.
    pub body: &'a [u8],
}

/// How senders send.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// When requests are sent.
    pub pace: Pace,
    /// How long new requests are sent; without it until they are told to stop.
    pub duration: Option<Duration>,
    /// After this time without an answer a request is given up.
    pub answer_max: Duration,
    /// A sender's pause after an answer other than 2xx.
    pub refused_pause: Duration,
}

/// Senders that have ended.
#[derive(Debug)]
pub struct Ran<S> {
    /// What they sent, with their accounts.
    pub scripts: Vec<S>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Requests of an open loop that were due but were not sent long after the load's end.
    pub unsent: u64,
}

/// The load cannot be run as it is.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Load is sent to this machine only.
    #[error("{0} is not a loopback address; the load generator sends to this machine only")]
    NotLoopback(SocketAddr),
    /// There is nothing to view.
    #[error("a load needs at least one blog")]
    NoBlogs,
    /// Too few or too many connections.
    #[error("{0} connections; between 1 and {SENDERS_MAX} are possible")]
    Connections(usize),
    /// Nothing, or more than one in a microsecond.
    #[error("{0} requests a second; more than 0 and at most 1000000 are possible")]
    Rate(f64),
    /// The thread that says when requests are due could not be started.
    #[error("starting the clock of the load")]
    Clock(#[source] std::io::Error),
    /// The exponent is not a number, or negative.
    #[error("the exponent of the spread must be a number from 0 up")]
    Exponent,
    /// A task of the generator panicked.
    #[error("the load generator failed")]
    Task(#[from] tokio::task::JoinError),
}

impl Terms {
    /// Runs a sender for each address and script, for the whole duration or until `stop`, and then waits for the last
    /// answers.
    ///
    /// # Errors
    /// When the load is refused before a request is sent (see [`LoadError`]). What goes wrong later is in the accounts.
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
        // The end of an open loop is in its turns; the time here is the patience with a server that cannot keep up.
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
        let answer = answer.unwrap_or(Err(Broken::Unsupported("did not come in time")));
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
