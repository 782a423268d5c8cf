//! Views and reads of blogs. Each view has a new visitor.
//!
//! A request is accepted (2xx), refused (any other definite response) or unknown (the connection broke, the response timed
//! out, or it does not say whether the view counts). The accepted requests can be compared with the tables.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use events::WritePath;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio_util::sync::CancellationToken;

use crate::connection::{Answer, Broken};
use crate::latencies::Latencies;
use crate::senders::{LoadError, Script, Sent, Terms};
use crate::spread::{Draw, Spread};
use crate::turns::Pace;

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Count a view of a blog on this write path.
    View(WritePath),
    /// A batch without events. It is as long as a view and is accepted like one, so the server does all the work of a request
    /// except writing.
    Nothing,
    /// Read a blog.
    Blog,
}

/// The requests to send, and their target.
#[derive(Debug, Clone)]
pub struct Load {
    /// The Blogs API.
    pub target: SocketAddr,
    /// Whether the Blogs API may be on another machine.
    pub anywhere: bool,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// How long new requests are sent.
    pub duration: Duration,
    /// The kind of requests.
    pub ask: Ask,
    /// The pace.
    pub pace: Pace,
    /// The blogs, the most popular first.
    pub blogs: Vec<i64>,
    /// How the requests are spread over them.
    pub spread: Spread,
    /// The timeout of a request; then its outcome is unknown.
    pub answer_max: Duration,
    /// A connection's pause after a response other than 2xx.
    pub refused_pause: Duration,
    /// Counts the requests while they are sent.
    pub progress: Option<Arc<Progress>>,
    /// Whether to record when each accepted request was due and answered.
    pub keep_times: bool,
}

/// The outcomes of the requests.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Answers of 2xx.
    pub accepted: u64,
    /// Refused requests by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests without a definite response. They may or may not have been processed.
    pub unknown: u64,
    /// Connections that could not be opened.
    pub unopened: u64,
    /// Requests of an open loop that were due but were not sent long after the load's end.
    pub unsent: u64,
    /// Why the outcome of the last unknown request is unknown.
    pub broken: Option<String>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// When each accepted request was due and answered, if recorded; in no particular order.
    pub times: Vec<(Instant, Instant)>,
    /// The first response other than 2xx: its status and body.
    pub refusal: Option<(u16, Vec<u8>)>,
    /// Latencies of the accepted requests.
    latencies: Latencies,
}

/// Requests so far, while a load runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Answers of 2xx.
    pub accepted: AtomicU64,
    /// Requests that were refused or whose outcome is unknown.
    pub failed: AtomicU64,
}

impl Tally {
    /// Accepted requests per second.
    #[must_use]
    pub fn accepted_per_second(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency of the accepted requests at this quantile (0.99: p99; 1.0: the maximum).
    #[must_use]
    pub fn latency(&self, quantile: f64) -> Duration {
        self.latencies.quantile(quantile)
    }

    /// Requests that were refused.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    fn record(&mut self, answer: &Result<Answer, Broken>, body: &[u8], took: Duration) {
        match answer {
            Ok(Answer { status: 200..=299, .. }) => {
                self.accepted += 1;
                self.latencies.record(took);
            }
            Ok(answer) if answer.leaves_open(body) => {
                self.unknown += 1;
                self.broken = Some("the response does not say whether the view is counted".to_owned());
            }
            Ok(Answer { status, .. }) => *self.refused.entry(*status).or_default() += 1,
            Err(error) => {
                self.unknown += 1;
                self.broken = Some(error.to_string());
            }
        }
        if let Ok(Answer { status: status @ (..200 | 300..), .. }) = answer {
            self.refusal.get_or_insert_with(|| (*status, body.to_vec()));
        }
    }

    /// Adds the outcomes of another load.
    pub fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        for (status, n) in other.refused {
            *self.refused.entry(status).or_default() += n;
        }
        self.unknown += other.unknown;
        self.unopened += other.unopened;
        self.times.extend(other.times);
        self.broken = other.broken.or(self.broken.take());
        self.refusal = self.refusal.take().or(other.refusal);
        self.latencies.add(&other.latencies);
    }
}

impl Load {
    /// Sends for the whole duration or until `stop`, and then waits for the last responses.
    ///
    /// # Errors
    /// The load is rejected before a request is sent (see [`LoadError`]). Later failures are in the tally.
    pub async fn run(&self, stop: &CancellationToken) -> Result<Tally, LoadError> {
        self.check()?;
        let draw = Arc::new(Draw::new(self.spread, self.blogs.len()));
        let blogs: Arc<[i64]> = self.blogs.as_slice().into();
        let sender = |_| {
            let requests = Requests {
                host: self.target,
                ask: self.ask,
                blogs: Arc::clone(&blogs),
                draw: Arc::clone(&draw),
                random: rand::make_rng(),
                bytes: Vec::with_capacity(512),
            };
            let (progress, keep_times) = (self.progress.clone(), self.keep_times);
            (self.target, Sender { requests, keep_times, progress, tally: Tally::default() })
        };
        let terms = Terms {
            pace: self.pace,
            duration: Some(self.duration),
            answer_max: self.answer_max,
            refused_pause: self.refused_pause,
        };
        let ran = terms.run((0..self.connections).map(sender).collect(), stop).await?;
        let mut total = Tally { elapsed: ran.elapsed, unsent: ran.unsent, ..Tally::default() };
        ran.scripts.into_iter().for_each(|sender| total.add(sender.tally));
        Ok(total)
    }

    fn check(&self) -> Result<(), LoadError> {
        if !self.anywhere && !self.target.ip().is_loopback() {
            return Err(LoadError::NotLoopback(self.target));
        }
        if self.blogs.is_empty() {
            return Err(LoadError::NoBlogs);
        }
        match self.spread {
            Spread::Zipf(exponent) if !exponent.is_finite() || exponent < 0.0 => Err(LoadError::Exponent),
            _ => Ok(()),
        }
    }
}

/// Sends views or reads, and counts the responses.
#[derive(Debug)]
struct Sender {
    requests: Requests,
    keep_times: bool,
    progress: Option<Arc<Progress>>,
    tally: Tally,
}

impl Script for Sender {
    fn next(&mut self) -> &[u8] {
        self.requests.next()
    }

    fn record(&mut self, sent: Sent<'_>) {
        let is_accepted = matches!(sent.answer, Ok(Answer { status: 200..=299, .. }));
        self.tally.record(&sent.answer, sent.body, sent.ended.saturating_duration_since(sent.due));
        if self.keep_times && is_accepted {
            self.tally.times.push((sent.due, sent.ended));
        }
        if let Some(progress) = &self.progress {
            let count = if is_accepted { &progress.accepted } else { &progress.failed };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn unopened(&mut self) {
        self.tally.unopened += 1;
    }
}

/// Builds requests, one after the other in the same buffer.
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
            // 46 is the length of the body: 32 digits and the JSON around them.
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
