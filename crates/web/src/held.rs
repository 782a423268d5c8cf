//! What requests hold in memory: their bodies, counted as they arrive, and large answers until they are sent.
//!
//! All of it shares `requests.held_bytes_max`, of which one client address may take `requests.held_bytes_per_address_max`.
//! Clients are counted in a fixed number of shares, chosen by a keyed hash, as rate limits are: nothing here grows, and no
//! client can aim at the share of another. A body is counted until its request is answered, because its bytes live on in
//! whatever the handler read them into.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use runtime::http::{Pace, household};

use crate::problem::Problem;

/// Shares that addresses are counted in: 32 KiB.
const SHARES: usize = 4096;
/// What a piece of a body costs besides its bytes.
const PIECE_BYTES: usize = 64;
/// Answers from this size on are counted.
const LARGE: usize = 64 * 1024;
/// Of a body that was refused, so much is still read and thrown away, for so long: a client that is sending cannot read
/// the answer when its connection is reset.
const DISCARDED_BYTES_MAX: usize = 4 << 20;
const DISCARDING_MAX: Duration = Duration::from_secs(1);

/// Why a body is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("requests hold as much memory as they may")]
    Full,
    #[error("the client's requests hold as much memory as one address may")]
    Share,
    #[error("the body arrives too slowly")]
    Slow,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => {
                Self::unavailable("too many bytes of requests are under way; nothing was promised", 1)
            }
            Refusal::Share => Self::too_many(Duration::from_secs(1)),
            Refusal::Slow => Self::request_timeout("the body arrives more slowly than this API waits for"),
        }
    }
}

/// The bytes that requests hold; clones share them.
#[derive(Clone)]
pub(crate) struct Held(Arc<Counts>);

struct Counts {
    bytes_max: usize,
    share_max: usize,
    bytes: AtomicUsize,
    shares: Box<[AtomicUsize]>,
    hash: RandomState,
}

impl Held {
    pub(crate) fn new(bytes_max: usize, share_max: usize) -> Self {
        let shares = (0..SHARES).map(|_| AtomicUsize::new(0)).collect();
        let (bytes, hash) = (AtomicUsize::new(0), RandomState::new());
        Self(Arc::new(Counts { bytes_max, share_max, bytes, shares, hash }))
    }

    /// Counts what the client at this address will hold; nothing yet.
    fn of(&self, client: IpAddr) -> Hold {
        let share = self.0.hash.hash_one(household(client)) % (SHARES as u64);
        let share = usize::try_from(share).unwrap_or_default();
        Hold { counts: Arc::clone(&self.0), share, bytes: AtomicUsize::new(0) }
    }

    /// Wraps the body of a request, which must not be over yet.
    pub(crate) fn body(&self, client: IpAddr, body_rate_min: u32, incoming: Incoming) -> (Body, Reading) {
        let reading = Arc::new(Shared { hold: self.of(client), rest: Mutex::new(None) });
        let counted = Counted {
            incoming: Some(incoming),
            shared: Arc::clone(&reading),
            pace: Pace::new(body_rate_min),
            is_first: true,
        };
        (Body::new(counted), Reading(reading))
    }

    /// Counts a large answer until it is sent. An answer that does not fit is replaced by a refusal if nothing has
    /// happened that it tells of.
    pub(crate) fn answer(
        &self,
        client: IpAddr,
        may_refuse: bool,
        response: Response,
    ) -> Result<Response, Refusal> {
        let size = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
        if size < LARGE {
            return Ok(response);
        }
        let hold = self.of(client);
        match hold.take(size) {
            Err(refusal) if may_refuse => Err(refusal),
            _ => Ok(response.map(|body| Body::new(Answer { body, _hold: hold }))),
        }
    }
}

/// Bytes of one request, until it is dropped.
struct Hold {
    counts: Arc<Counts>,
    share: usize,
    bytes: AtomicUsize,
}

impl Hold {
    fn take(&self, bytes: usize) -> Result<(), Refusal> {
        let counts = &*self.counts;
        let share = counts.shares.get(self.share);
        let of_share = share.map_or(0, |share| share.fetch_add(bytes, Ordering::Relaxed));
        let of_all = counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let refusal = if of_share.saturating_add(bytes) > counts.share_max {
            Refusal::Share
        } else if of_all.saturating_add(bytes) > counts.bytes_max {
            Refusal::Full
        } else {
            return Ok(());
        };
        self.give_back(bytes);
        Err(refusal)
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.counts.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(share) = self.counts.shares.get(self.share) {
            share.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.give_back(self.bytes.load(Ordering::Relaxed));
    }
}

/// A body that is being read, from the outside: its bytes are counted until this is dropped.
pub(crate) struct Reading(Arc<Shared>);

struct Shared {
    hold: Hold,
    /// What the handler has left unread.
    rest: Mutex<Option<Incoming>>,
}

impl Reading {
    /// Reads what the handler has left of the body, within bounds, so that the client can read its answer.
    pub(crate) async fn discard_rest(self, expects: Option<&HeaderValue>) {
        let rest = self.0.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A client that waits to be asked for its body has not sent it.
        let Some(mut rest) = rest.filter(|_| expects.is_none()) else { return };
        if rest.size_hint().lower() > DISCARDED_BYTES_MAX as u64 {
            return;
        }
        let discard = async {
            let mut left = DISCARDED_BYTES_MAX;
            while let Some(Ok(frame)) =
                std::future::poll_fn(|context| Pin::new(&mut rest).poll_frame(context)).await
            {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let Some(less) = left.checked_sub(bytes) else { return };
                left = less;
            }
        };
        // Too slow, and the connection is reset.
        let _ = tokio::time::timeout(DISCARDING_MAX, discard).await;
    }
}

/// Why reading a body failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Refused(Refusal),
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
}

/// A body whose bytes are counted as they arrive, and which must arrive in time. Time in which the handler does not ask
/// for it does not count.
struct Counted {
    /// Until it is refused.
    incoming: Option<Incoming>,
    shared: Arc<Shared>,
    pace: Pace,
    is_first: bool,
}

impl Counted {
    /// A piece shares the connection's read buffer, many times its size when pieces are small. One is the head's buffer,
    /// which is there anyway; of the others the bytes alone are kept.
    fn piece(&mut self, data: Bytes) -> Result<Bytes, Refusal> {
        self.pace.moved(data.len());
        self.shared.hold.take(data.len().saturating_add(PIECE_BYTES))?;
        let is_first = std::mem::replace(&mut self.is_first, false);
        Ok(if is_first { data } else { Bytes::copy_from_slice(&data) })
    }

    fn give_up(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        if !incoming.is_end_stream() {
            *self.shared.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(incoming);
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(context) else {
            ready!(this.pace.poll_too_slow(context));
            // A body that does not come is not waited for again.
            this.incoming = None;
            return Poll::Ready(Some(Err(BodyError::Refused(Refusal::Slow))));
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let data = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => data,
            Ok(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
            Err(error) => return Poll::Ready(Some(Err(error.into()))),
        };
        Poll::Ready(Some(match this.piece(data) {
            Ok(data) => Ok(Frame::data(data)),
            Err(refusal) => {
                this.give_up();
                Err(BodyError::Refused(refusal))
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// The body of a large answer.
struct Answer {
    body: Body,
    _hold: Hold,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_all_have_the_whole() {
        let held = Held::new(100, 60);
        let of = |text: &str| held.of(text.parse().unwrap());
        let (first, second) = (of("2001:db8::1"), of("2001:db8::2"));
        assert_eq!(first.take(60), Ok(()));
        assert_eq!(second.take(1), Err(Refusal::Share));
        // Which of them shares the first one's by chance is not known.
        let others = [of("192.0.2.1"), of("192.0.2.2"), of("192.0.2.3")];
        let full = others.iter().map(|other| other.take(41)).collect::<Vec<_>>();
        assert!(full.contains(&Err(Refusal::Full)) && !full.contains(&Ok(())), "{full:?}");
        drop(first);
        assert_eq!(second.take(60), Ok(()));
        drop((second, others));
        assert_eq!(held.0.bytes.load(Ordering::Relaxed), 0);
        assert!(held.0.shares.iter().all(|share| share.load(Ordering::Relaxed) == 0));
    }
}
