//! Hands over envelopes that the broker does not confirm in time to a receiver that can store them instead.
//!
//! The publisher keeps an envelope that it hands over and continues as before. The first of the two to succeed answers all
//! waiting callers. The other then finds that no caller waits and drops the envelope. So a receiver that fails need not
//! return the envelope, and a late confirm still counts. If both succeed, there are two copies with the same id,
//! which a consumer recognizes.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use events::Envelope;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::outgoing::{Outgoing, Waiters};

/// The target of a publisher's overdue envelopes.
#[derive(Debug)]
pub struct HandOver {
    /// The channel to the receiver. The publisher hands over more only after the receiver has taken everything, so that
    /// envelopes fill in the meantime. What exceeds the channel's capacity stays with the publisher.
    pub to: mpsc::Sender<Overdue>,
    /// If nothing could be sent for this time, because there is no connection or it is blocked, everything that waits is
    /// overdue at once.
    pub away_after: Duration,
}

/// An overdue envelope with all callers waiting for it. Dropping it changes nothing: the publisher still has it.
#[derive(Debug)]
pub struct Overdue {
    envelope: Arc<Envelope>,
    waiters: Arc<Waiters>,
}

impl Overdue {
    /// The envelope to store, with its id and bytes. It may have been sent already, or may still be sent.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whether a caller still waits for it. If none does, the envelope need not be stored.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.waiters.any()
    }

    /// Reports that the envelope is stored and will be published. All callers are answered as if it were confirmed.
    pub fn kept(self) {
        self.waiters.answer(self.envelope.id);
    }
}

/// The publisher's end of the hand-over.
pub(super) struct Lender {
    hand_over: HandOver,
    handed_over: Counter,
}

impl Lender {
    pub(super) fn new(hand_over: HandOver, handed_over: Counter) -> Self {
        Self { hand_over, handed_over }
    }

    /// Hands an envelope over, unless it was handed over before or must not be. Returns `false` if there is no room.
    pub(super) fn lend(&self, outgoing: &mut Outgoing) -> bool {
        if outgoing.overdue_at.is_none() {
            return true;
        }
        let (envelope, waiters) = (Arc::clone(&outgoing.envelope), Arc::clone(&outgoing.waiters));
        if self.hand_over.to.try_send(Overdue { envelope, waiters }).is_err() {
            return false;
        }
        outgoing.overdue_at = None;
        self.handed_over.inc();
        true
    }

    /// Whether the receiver has taken everything and accepts more.
    pub(super) fn is_idle(&self) -> bool {
        let to = &self.hand_over.to;
        !to.is_closed() && to.capacity() == to.max_capacity()
    }

    pub(super) fn has_room(&self) -> bool {
        self.hand_over.to.capacity() > 0
    }

    /// Waits until the receiver has taken everything; forever if the receiver is gone.
    pub(super) async fn idle(&self) {
        let to = &self.hand_over.to;
        if to.reserve_many(to.max_capacity()).await.is_err() {
            pending::<()>().await;
        }
    }

    /// When all waiting items become overdue, if nothing could be sent since `shut`.
    pub(super) fn away_at(&self, shut: Instant) -> Instant {
        shut + self.hand_over.away_after
    }
}
