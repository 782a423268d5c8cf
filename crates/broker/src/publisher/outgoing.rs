//! Items that wait, envelopes being published, and the callers waiting for them.

use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use events::{Envelope, EnvelopeId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::events_encoded::EncodedEvents;
use super::gather::Size;

/// One waiting publish.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) load: Load,
    pub(super) waiter: Waiter,
    /// See [`Outgoing::overdue_at`].
    pub(super) overdue_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum Load {
    Events(EncodedEvents),
    Envelope(Envelope),
}

impl Item {
    pub(super) fn size(&self) -> Size {
        match &self.load {
            Load::Events(events) => Size::Events { count: events.count(), bytes: events.bytes().len() },
            Load::Envelope(_) => Size::Whole,
        }
    }

    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiter.answer.is_closed()
    }
}

/// An envelope with all callers waiting for it.
pub(super) struct Outgoing {
    pub(super) envelope: Arc<Envelope>,
    pub(super) waiters: Arc<Waiters>,
    /// Whether it was published before.
    pub(super) sent: bool,
    /// When to hand it over. `None` if it was handed over already, or if the caller provided it as a complete envelope.
    pub(super) overdue_at: Option<Instant>,
}

impl Outgoing {
    /// Answers all callers.
    pub(super) fn confirm(self) {
        self.waiters.answer(self.envelope.id);
    }
}

/// One publish waiting for its answer.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) answer: oneshot::Sender<EnvelopeId>,
    /// Its share of the byte limit, released with the answer.
    _room: OwnedSemaphorePermit,
}

impl Waiter {
    pub(super) fn new(answer: oneshot::Sender<EnvelopeId>, room: OwnedSemaphorePermit) -> Self {
        Self { answer, _room: room }
    }
}

/// All callers waiting for one envelope. The publisher shares them with the receiver of a hand-over.
#[derive(Debug)]
pub(super) struct Waiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    waiters: Vec<Waiter>,
    /// Woken when the other side has answered.
    publisher: Option<Waker>,
}

impl Waiters {
    pub(super) fn new(waiters: Vec<Waiter>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Waiting { waiters, publisher: None })))
    }

    /// Answers all callers. A second call finds none.
    pub(super) fn answer(&self, id: EnvelopeId) {
        let Waiting { waiters, publisher } = take(&mut *self.lock());
        for waiter in waiters {
            // A caller that gave up at the last moment needs no answer.
            let _ = waiter.answer.send(id);
        }
        if let Some(publisher) = publisher {
            publisher.wake();
        }
    }

    pub(super) fn any(&self) -> bool {
        self.lock().waiters.iter().any(|waiter| !waiter.answer.is_closed())
    }

    /// Ready when no caller waits. Only one task may wait for this.
    pub(super) fn poll_abandoned(&self, context: &mut Context<'_>) -> Poll<()> {
        let Waiting { waiters, publisher } = &mut *self.lock();
        while let Some(waiter) = waiters.last_mut() {
            if waiter.answer.poll_closed(context).is_pending() {
                match publisher {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *publisher = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
            waiters.pop();
        }
        Poll::Ready(())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
