//! The requests of the generator, and the meaning of their answers.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use load::Answer;
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::tally::{Event, Fate, Kind};

/// Events of one request to the batch endpoint.
const BATCH_EVENTS: usize = 20;

/// The blogs and accounts of the requests, shared by all senders.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Blogs for many events.
    pub(crate) shared: Vec<i64>,
    /// Blogs for one event each.
    pub(crate) alone: Vec<i64>,
    pub(crate) next_alone: AtomicUsize,
    /// Bearer tokens of accounts.
    pub(crate) tokens: Vec<String>,
}

impl Ground {
    fn take_alone(&self) -> Option<i64> {
        self.alone.get(self.next_alone.fetch_add(1, Ordering::Relaxed)).copied()
    }
}

/// A request, which its sender can send repeatedly.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) events: Vec<Event>,
    /// True if it has a key: it counts once, so its sender repeats it until it is accepted.
    pub(crate) keyed: bool,
}

/// Makes requests, one after the other.
pub(crate) struct Requests {
    pub(crate) ground: Arc<Ground>,
    pub(crate) random: SmallRng,
    pub(crate) host: SocketAddr,
}

impl Requests {
    pub(crate) fn next(&mut self) -> Request {
        match self.random.random_range(0..100) {
            0..20 => self.batch(),
            20..23 => self.alone(Kind::Like, false),
            23..30 => self.alone(Kind::Share, true),
            30..34 => self.alone(Kind::View, false),
            34..60 => self.shared(Kind::View),
            _ => self.shared(Kind::Share),
        }
        .unwrap_or_default()
    }

    fn shared(&mut self, kind: Kind) -> Option<Request> {
        let blog = self.shared_blog()?;
        Some(self.single(Event { kind, blog, alone: false }, false))
    }

    /// A blog of its own for the event, while there are any left.
    fn alone(&mut self, kind: Kind, keyed: bool) -> Option<Request> {
        match self.ground.take_alone() {
            Some(blog) => Some(self.single(Event { kind, blog, alone: true }, keyed)),
            None => self.shared(Kind::Share),
        }
    }

    fn shared_blog(&mut self) -> Option<i64> {
        let at = self.random.random_range(0..self.ground.shared.len());
        self.ground.shared.get(at).copied()
    }

    fn single(&mut self, event: Event, keyed: bool) -> Request {
        let blog = event.blog;
        let (method, place, body) = match event.kind {
            Kind::View => {
                ("POST", "views", format!(r#"{{"visitor":"{:032x}"}}"#, self.random.random::<u128>()))
            }
            Kind::Like => ("PUT", "like", String::new()),
            Kind::Share => ("POST", "shares", r#"{"channel":"link"}"#.to_owned()),
        };
        let mut headers = String::new();
        if event.kind == Kind::Like {
            let at = self.random.random_range(0..self.ground.tokens.len());
            let token = self.ground.tokens.get(at).map_or("", String::as_str);
            headers = format!("authorization: Bearer {token}\r\n");
        }
        if keyed {
            headers.push_str(&format!("idempotency-key: {:032x}\r\n", self.random.random::<u128>()));
        }
        let bytes = self.bytes(method, &format!("/v1/blogs/{blog}/{place}"), &headers, &body);
        Request { bytes, events: vec![event], keyed }
    }

    fn batch(&mut self) -> Option<Request> {
        let mut events = Vec::with_capacity(BATCH_EVENTS);
        let mut body = String::from("[");
        for n in 0..BATCH_EVENTS {
            let own = if n == 0 { self.ground.take_alone() } else { None };
            let alone = own.is_some();
            let blog = own.or_else(|| self.shared_blog())?;
            let kind = if n % 2 == 0 { Kind::Share } else { Kind::View };
            let separator = if n == 0 { "" } else { "," };
            body.push_str(&match kind {
                Kind::View => format!(
                    r#"{separator}{{"type":"blog.viewed","blog_id":{blog},"visitor":"{:032x}"}}"#,
                    self.random.random::<u128>()
                ),
                Kind::Like | Kind::Share => {
                    format!(r#"{separator}{{"type":"blog.shared","blog_id":{blog},"channel":"link"}}"#)
                }
            });
            events.push(Event { kind, blog, alone });
        }
        body.push(']');
        Some(Request { bytes: self.bytes("POST", "/v1/engagement", "", &body), events, keyed: false })
    }

    fn bytes(&self, method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256 + body.len());
        let written = write!(
            bytes,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}content-type: application/json\r\ncontent-length: \
             {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        bytes
    }
}

/// The outcome of the events for an answer, or the text of an unexpected answer.
pub(crate) fn fate(answer: Answer, body: &[u8], events: usize) -> Result<Fate, String> {
    let said = String::from_utf8_lossy(body);
    match answer.status {
        202 if events == 1 || said.contains(&format!("\"accepted\":{events},\"")) => Ok(Fate::Accepted),
        503 if answer.leaves_open(body) => Ok(Fate::Unknown),
        503 => Ok(Fate::Refused),
        status => Err(format!("{status} {}", said.chars().take(200).collect::<String>())),
    }
}
