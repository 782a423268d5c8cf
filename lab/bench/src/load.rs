//! Requests over keep-alive connections; each view is by a visitor that was never there before.
//!
//! In a closed loop every connection sends its next request when it has the answer to the last. That finds the most that
//! a server takes, but its latencies flatter: while the server stalls nobody asks, so a stall is one slow request and not
//! the hundreds that users would have sent. In an open loop ([`Pace::Open`]) requests are due at fixed times whatever
//! becomes of those before them, and latency counts from when a request was due, not from when a connection was free for
//! it: what Gil Tene calls coordinated omission does not happen.
//!
//! At the end the last answers are waited for: no request is abandoned, so each is accepted (2xx), refused (any other
//! answer) or unknown (the connection broke, the answer did not come in time, or it leaves open what was done), and accepted can
//! be held against the tables.

mod turns;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::WritePath;
use hdrhistogram::Histogram;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::turns::Turns;
use crate::connection::{Answer, Broken, Connection};
use crate::spread::{Draw, Spread};

const CONNECTIONS_MAX: usize = 4096;
/// After this time without an answer a request is given up as unknown.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Pause before a connection that could not be opened is tried again.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);
const PER_S_MAX: f64 = 1_000_000.0;
/// Three digits are kept of every latency.
const DIGITS: u8 = 3;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// That a view of a blog be counted, by this path.
    View(WritePath),
    /// Nothing: a batch without events, as long as a view and accepted like it, so that all the server does for a request
    /// but the writing is done.
    Nothing,
    /// A blog, to read.
    Blog,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each connection asks again so long after its answer; zero: as fast as answers come.
    Closed {
        /// On average.
        think: Duration,
    },
    /// So many in a second, evenly, whatever becomes of them; latency counts from when each was due.
    Open {
        /// Requests in a second.
        per_s: f64,
    },
}

/// What to send, and where.
#[derive(Debug, Clone)]
pub struct Load {
    /// The Blogs API; an address of this machine's loopback.
    pub target: SocketAddr,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// How long new requests are sent.
    pub duration: Duration,
    /// What is asked for.
    pub ask: Ask,
    /// When.
    pub pace: Pace,
    /// The blogs, the most popular first.
    pub blogs: Vec<i64>,
    /// How the requests are spread over them.
    pub spread: Spread,
    /// Whether to keep when each accepted request was due and answered.
    pub keep_times: bool,
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
    #[error("{0} connections; between 1 and {CONNECTIONS_MAX} are possible")]
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

/// What became of the requests.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Answers of 2xx.
    pub accepted: u64,
    /// All other answers that leave nothing open, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests without an answer, or with one that leaves it open; they may have been served or not.
    pub unknown: u64,
    /// Connections that could not be opened.
    pub unopened: u64,
    /// Requests of an open loop that were due but were not sent long after the load's end.
    pub unsent: u64,
    /// Why the outcome of the last of the unknown requests is not known.
    pub broken: Option<String>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// When each accepted request was due and when it was answered, where that is kept; in no order.
    pub times: Vec<(Instant, Instant)>,
    /// Microseconds from request to answer, of the accepted.
    latency_us: Histogram<u64>,
}

impl Tally {
    /// Accepted requests in a second.
    #[must_use]
    pub fn accepted_per_second(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency that this share of the accepted requests stayed within (0.99: p99; 1.0: the longest).
    #[must_use]
    pub fn latency(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency_us.value_at_quantile(quantile))
    }

    /// Requests that were refused.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(crate) fn new() -> Self {
        let longest_us = ANSWER_MAX.as_secs() * 1_000_000;
        let latency_us = Histogram::new_with_bounds(1, longest_us, DIGITS)
            .unwrap_or_else(|_| unreachable!("the bounds are constants, and good"));
        Self {
            accepted: 0,
            refused: BTreeMap::new(),
            unknown: 0,
            unopened: 0,
            unsent: 0,
            broken: None,
            elapsed: Duration::ZERO,
            times: Vec::new(),
            latency_us,
        }
    }

    fn record(&mut self, answer: &Result<Answer, Broken>, took: Duration) {
        match answer {
            Ok(Answer { status: 200..=299, .. }) => {
                self.accepted += 1;
                self.latency_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            Ok(Answer { status, .. }) => *self.refused.entry(*status).or_default() += 1,
            Err(error) => {
                self.unknown += 1;
                self.broken = Some(error.to_string());
            }
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        for (status, n) in other.refused {
            *self.refused.entry(status).or_default() += n;
        }
        self.unknown += other.unknown;
        self.unopened += other.unopened;
        self.times.extend(other.times);
        self.broken = other.broken.or(self.broken.take());
        if self.latency_us.add(&other.latency_us).is_err() {
            unreachable!("all histograms have the same bounds");
        }
    }
}

impl Load {
    /// Sends for the whole duration, or until `stop`, and then waits for the last answers.
    ///
    /// # Errors
    /// When the load is refused before a request is sent (see [`LoadError`]). What goes wrong later is in the
    /// tally.
    pub async fn run(&self, stop: &CancellationToken) -> Result<Tally, LoadError> {
        self.check()?;
        let draw = Arc::new(Draw::new(self.spread, self.blogs.len()));
        let blogs: Arc<[i64]> = self.blogs.as_slice().into();
        let stop = stop.child_token();
        let turns = Turns::new(self.pace, self.duration, self.connections);
        let clock = turns.start_clock(&stop).map_err(LoadError::Clock)?;
        let begin = turns.begin();
        let mut connections = JoinSet::new();
        for _ in 0..self.connections {
            let requests = Requests {
                host: self.target,
                ask: self.ask,
                blogs: Arc::clone(&blogs),
                draw: Arc::clone(&draw),
                random: rand::make_rng(),
                bytes: Vec::with_capacity(512),
            };
            connections.spawn(connection(requests, turns.clone(), self.keep_times, stop.clone()));
        }
        let mut total = Tally::new();
        let all = async {
            while let Some(tally) = connections.join_next().await {
                total.add(tally?);
            }
            Ok::<_, LoadError>(())
        };
        // The end of an open loop is in its turns; the time here is the patience with a server that cannot keep up.
        let time = async {
            tokio::time::sleep(turns.longest()).await;
            stop.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = all => ended?,
            () = time => {}
        }
        stop.cancel();
        drop(clock);
        total.unsent = turns.left();
        total.elapsed = begin.elapsed();
        Ok(total)
    }

    fn check(&self) -> Result<(), LoadError> {
        if !self.target.ip().is_loopback() {
            return Err(LoadError::NotLoopback(self.target));
        }
        if self.blogs.is_empty() {
            return Err(LoadError::NoBlogs);
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return Err(LoadError::Connections(self.connections));
        }
        if let Pace::Open { per_s } = self.pace
            && !(per_s > 0.0 && per_s <= PER_S_MAX)
        {
            return Err(LoadError::Rate(per_s));
        }
        match self.spread {
            Spread::Zipf(exponent) if !exponent.is_finite() || exponent < 0.0 => Err(LoadError::Exponent),
            _ => Ok(()),
        }
    }
}

/// Sends one request for each of its turns; a connection that ends is opened anew.
async fn connection(
    mut requests: Requests,
    turns: Turns,
    keep_times: bool,
    stop: CancellationToken,
) -> Tally {
    let mut tally = Tally::new();
    let mut open: Option<Connection> = None;
    while let Some(due) = turns.next(&stop).await {
        let connection = match &mut open {
            Some(connection) => connection,
            None => match Connection::open(requests.host).await {
                Ok(connection) => open.insert(connection),
                Err(_) => {
                    tally.unopened += 1;
                    tokio::time::sleep(REOPEN_PAUSE).await;
                    continue;
                }
            },
        };
        let request = requests.next();
        let answer = match tokio::time::timeout(ANSWER_MAX, connection.exchange(request)).await {
            Ok(Ok(answer)) if connection.leaves_open(answer) => {
                Err(Broken::Unsupported("leaves open whether it is counted"))
            }
            Ok(answer) => answer,
            Err(_) => Err(Broken::Unsupported("did not come in time")),
        };
        let answered = Instant::now();
        tally.record(&answer, answered.saturating_duration_since(due));
        if keep_times && matches!(answer, Ok(Answer { status: 200..=299, .. })) {
            tally.times.push((due, answered));
        }
        if !matches!(answer, Ok(Answer { last: false, .. })) {
            open = None;
        }
        turns.think(&mut requests.random, &stop).await;
    }
    tally
}

/// Makes requests, one after the other in the same buffer.
#[derive(Debug)]
struct Requests {
    host: SocketAddr,
    ask: Ask,
    blogs: Arc<[i64]>,
    draw: Arc<Draw>,
    random: SmallRng,
    bytes: Vec<u8>,
}

impl Requests {
    fn next(&mut self) -> &[u8] {
        let blog = self.blogs.get(self.draw.draw(&mut self.random)).copied().unwrap_or_default();
        let host = self.host;
        self.bytes.clear();
        let written = match self.ask {
            // 46 is the length of the body: 32 digits and what stands around them.
            Ask::View(path) => write!(
                self.bytes,
                "POST /v1/blogs/{blog}/views HTTP/1.1\r\nhost: {host}\r\nx-write-path: {}\r\n\
                 content-type: application/json\r\ncontent-length: 46\r\n\r\n{{\"visitor\":\"{:032x}\"}}",
                path.name(),
                self.random.random::<u128>(),
            ),
            Ask::Nothing => write!(
                self.bytes,
                "POST /v1/engagement HTTP/1.1\r\nhost: {host}\r\nx-write-path: message\r\n\
                 content-type: application/json\r\ncontent-length: 46\r\n\r\n[{:44}]",
                "",
            ),
            Ask::Blog => {
                write!(self.bytes, "GET /v1/blogs/{blog} HTTP/1.1\r\nhost: {host}\r\n\r\n")
            }
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
