//! Limits the memory that requests use. Bodies are counted as they arrive, and large responses until they are sent.
//!
//! Bodies and responses have separate budgets, so that slow readers of responses do not block bodies. In each budget
//! a client network may use one share, and all networks of one IPv6 /56 together may use [`DELEGATION_FACTOR`]
//! shares. The bytes of each network are counted in one of a fixed number of slots, chosen by a keyed hash, as in the
//! rate limits: memory use is constant, and no client can target another client's slot. A body is counted until its
//! request is answered, because the handler keeps its bytes in the parsed value.
//!
//! Short bodies are always accepted: the first bytes of each body, up to the limit of an ordinary route, are not
//! counted. These uncounted bytes add up to at most this limit times the number of concurrent requests. That much memory
//! is set aside for them, and the budget is what remains.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
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
use runtime::http::{DELEGATION_FACTOR, Pace, delegation, household};

use crate::problem::Problem;
use crate::settings::{LARGE_ANSWER, RequestSettings};

/// Number of slots in a table of byte counts by network. Each of the four tables takes 32 KiB.
const SLOTS: usize = 4096;
/// The memory overhead of a chunk of a body.
const PIECE_BYTES: usize = 64;
/// How much of a refused body is still read and discarded, and for how long. If the connection
/// were closed while the client is still sending, the kernel would reset it, and the client could lose the response.
const DISCARDED_BYTES_MAX: usize = 4 << 20;
const DISCARDING_MAX: Duration = Duration::from_secs(1);

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("requests have reached their memory limit")]
    Full,
    #[error("the client's address has reached its memory limit")]
    Share,
    #[error("the body arrives too slowly")]
    Slow,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => {
                Self::unavailable("the memory for request bodies is used up; nothing was done, try again", 1)
            }
            Refusal::Share => Self::too_many(Duration::from_secs(1)),
            Refusal::Slow => Self::request_timeout("the body arrived too slowly"),
        }
    }
}

/// The bytes that requests hold. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Held {
    bodies: Arc<Budget>,
    answers: Arc<Budget>,
    /// The bytes of each body that are not counted.
    short_body: usize,
}

impl Held {
    pub(crate) fn new(settings: &RequestSettings) -> Self {
        let bodies = Budget::new(settings.long_bodies_max(), settings.held_bytes_per_address_max);
        let answers = Budget::new(settings.answer_bytes_max, settings.answer_share());
        Self { bodies: Arc::new(bodies), answers: Arc::new(answers), short_body: settings.body_bytes_max }
    }

    /// Wraps the body of a request. The body must not have ended yet.
    pub(crate) fn body(&self, client: IpAddr, body_rate_min: u32, incoming: Incoming) -> (Body, Reading) {
        let hold = Hold::new(&self.bodies, client, self.short_body);
        let reading = Arc::new(Shared { hold, rest: Mutex::new(None) });
        let counted = Counted {
            incoming: Some(incoming),
            shared: Arc::clone(&reading),
            pace: Pace::new(body_rate_min, 0),
            is_first: true,
        };
        (Body::new(counted), Reading(reading))
    }

    /// Counts a large response until it is sent. A response that does not fit is replaced by an error, unless it reports a
    /// change that has already happened.
    pub(crate) fn answer(
        &self,
        client: IpAddr,
        may_refuse: bool,
        response: Response,
    ) -> Result<Response, Refusal> {
        let size = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
        if size < LARGE_ANSWER {
            return Ok(response);
        }
        let hold = Hold::new(&self.answers, client, 0);
        // A response larger than a share counts as one share; otherwise no client could receive it.
        match hold.take(size.min(self.answers.share_max)) {
            Err(refusal) if may_refuse => Err(refusal),
            _ => Ok(response.map(|body| Body::new(Answer { body, _hold: hold }))),
        }
    }
}

/// The byte limits for all clients and for each network.
struct Budget {
    bytes_max: usize,
    share_max: usize,
    bytes: AtomicUsize,
    households: Box<[AtomicUsize]>,
    delegations: Box<[AtomicUsize]>,
    hash: RandomState,
}

impl Budget {
    fn new(bytes_max: usize, share_max: usize) -> Self {
        let slots = || (0..SLOTS).map(|_| AtomicUsize::new(0)).collect();
        Self {
            bytes_max,
            share_max,
            bytes: AtomicUsize::new(0),
            households: slots(),
            delegations: slots(),
            hash: RandomState::new(),
        }
    }

    fn slot(&self, network: impl Hash) -> usize {
        usize::try_from(self.hash.hash_one(network) % (SLOTS as u64)).unwrap_or_default()
    }
}

/// The counted bytes of one request, released on drop.
struct Hold {
    budget: Arc<Budget>,
    client: IpAddr,
    /// How many more bytes may arrive before counting starts.
    allowance: AtomicUsize,
    bytes: AtomicUsize,
}

impl Hold {
    fn new(budget: &Arc<Budget>, client: IpAddr, allowance: usize) -> Self {
        Self {
            budget: Arc::clone(budget),
            client,
            allowance: AtomicUsize::new(allowance),
            bytes: AtomicUsize::new(0),
        }
    }

    fn take(&self, bytes: usize) -> Result<(), Refusal> {
        // Only one task reads a body, so nothing changes the allowance between the load and the store.
        let allowance = self.allowance.load(Ordering::Relaxed);
        self.allowance.store(allowance.saturating_sub(bytes), Ordering::Relaxed);
        let bytes = bytes.saturating_sub(allowance);
        if bytes == 0 {
            return Ok(());
        }
        let budget = &*self.budget;
        let delegation_max =
            budget.share_max.saturating_mul(usize::try_from(DELEGATION_FACTOR).unwrap_or(usize::MAX));
        let mut refusal = None;
        let mut add = |count: &AtomicUsize, max: usize, why: Refusal| {
            if count.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > max {
                refusal.get_or_insert(why);
            }
        };
        for (count, max) in self.shares().zip([budget.share_max, delegation_max]) {
            add(count, max, Refusal::Share);
        }
        add(&budget.bytes, budget.bytes_max, Refusal::Full);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let Some(refusal) = refusal else { return Ok(()) };
        self.give_back(bytes);
        Err(refusal)
    }

    /// The counts of the client's network and, for IPv6, of its delegation.
    fn shares(&self) -> impl Iterator<Item = &AtomicUsize> {
        let budget = &*self.budget;
        let household = budget.households.get(budget.slot(household(self.client)));
        let delegation = delegation(self.client).map(|network| budget.slot(network));
        household.into_iter().chain(delegation.and_then(|slot| budget.delegations.get(slot)))
    }

    fn give_back(&self, bytes: usize) {
        for count in self.shares().chain([&self.bytes, &self.budget.bytes]) {
            count.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Most requests have no counted bytes.
        let bytes = self.bytes.load(Ordering::Relaxed);
        if bytes > 0 {
            self.give_back(bytes);
        }
    }
}

/// The server's handle to a body that the handler reads. The body's bytes are counted until this handle is dropped.
pub(crate) struct Reading(Arc<Shared>);

struct Shared {
    hold: Hold,
    /// The part that the handler has not read.
    rest: Mutex<Option<Incoming>>,
}

impl Reading {
    /// Reads the rest of the body up to a limit, so that the client can read the response.
    pub(crate) async fn discard_rest(self, expects: Option<&HeaderValue>) {
        let rest = self.0.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A client that waits for 100 Continue has not sent its body.
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
        // If this times out, the connection is reset.
        let _ = tokio::time::timeout(DISCARDING_MAX, discard).await;
    }
}

/// Why reading a body failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Refused(Refusal),
    #[error("the connection was lost")]
    Broken(#[from] hyper::Error),
}

/// A body whose bytes are counted as they arrive and that must arrive fast enough. Only the time that the handler
/// spends waiting for bytes is measured.
struct Counted {
    /// `None` after the body was refused.
    incoming: Option<Incoming>,
    shared: Arc<Shared>,
    pace: Pace,
    is_first: bool,
}

impl Counted {
    /// A chunk keeps the connection's whole read buffer in memory, even if the chunk is small. The first chunk shares
    /// the head's buffer, which exists anyway. Each later chunk is copied, so that only its own bytes are kept.
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
            // The body is too slow, so `discard_rest` must not wait for it too.
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

/// The body of a large response.
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

    fn hold(budget: &Arc<Budget>, client: &str, allowance: usize) -> Hold {
        Hold::new(budget, client.parse().unwrap(), allowance)
    }

    fn is_empty(budget: &Budget) -> bool {
        let all = budget.households.iter().chain(&budget.delegations).chain([&budget.bytes]);
        all.map(|count| count.load(Ordering::Relaxed)).sum::<usize>() == 0
    }

    #[test]
    fn a_share_limits_one_network_and_the_budget_limits_all() {
        let budget = Arc::new(Budget::new(100, 60));
        let (first, second) = (hold(&budget, "2001:db8::1", 0), hold(&budget, "2001:db8::2", 0));
        assert_eq!(first.take(60), Ok(()));
        assert_eq!(second.take(1), Err(Refusal::Share));
        // Some of them may share the first network's slot by chance.
        let others = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|client| hold(&budget, client, 0));
        let full = others.iter().map(|other| other.take(41)).collect::<Vec<_>>();
        assert!(full.contains(&Err(Refusal::Full)) && !full.contains(&Ok(())), "{full:?}");
        drop(first);
        assert_eq!(second.take(60), Ok(()));
        drop((second, others));
        assert!(is_empty(&budget));
    }

    #[test]
    fn networks_of_one_delegation_have_four_shares() {
        let budget = Arc::new(Budget::new(1000, 10));
        let of = |network: u8| hold(&budget, &format!("2001:db8:0:{network:x}::1"), 0);
        let networks: Vec<_> = (0..8).map(of).collect();
        let taken = networks.iter().filter(|network| network.take(10).is_ok()).count();
        // Two of them may share a slot.
        assert!((1..=4).contains(&taken), "{taken}");
        assert_eq!(networks[7].take(10), Err(Refusal::Share));
        drop(networks);
        assert!(is_empty(&budget));
    }

    #[test]
    fn a_short_body_is_read_while_long_bodies_use_up_the_budget() {
        let budget = Arc::new(Budget::new(100, 100));
        let long = hold(&budget, "192.0.2.1", 16);
        assert_eq!(long.take(116), Ok(()));
        let short = hold(&budget, "192.0.2.1", 16);
        assert_eq!((short.take(10), short.take(6)), (Ok(()), Ok(())));
        assert!(short.take(1).is_err());
        drop((long, short));
        assert!(is_empty(&budget));
    }
}
