//! What the broker does not confirm in time, for whoever can keep the promise in its place.
//!
//! An envelope that is handed over is not given away. The publisher goes on as before, and of the two whoever can
//! promise first answers everybody who waits; to the other it is then an envelope that nobody waits for, and is
//! forgotten. So nothing has to be given back when the other way fails, and a confirm that comes late is still
//! good. When both succeed there are two copies under one id, which a consumer recognises.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use events::Envelope;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::outgoing::{Outgoing, Waiters};

/// Where a publisher hands over what is overdue.
#[derive(Debug)]
pub struct HandOver {
    /// Where to. What was handed over has to be taken out before more is, so that envelopes fill meanwhile; and
    /// no more at a time than there is room for. The rest stays with the publisher alone.
    pub to: mpsc::Sender<Overdue>,
    /// When nothing could be sent for so long, because there is no connection or it is blocked, whatever waits
    /// is overdue at once.
    pub away_after: Duration,
}

/// An envelope that is overdue, with everybody who waits for it. Dropping it changes nothing: the publisher still
/// has it.
#[derive(Debug)]
pub struct Overdue {
    envelope: Arc<Envelope>,
    waiters: Arc<Waiters>,
}

impl Overdue {
    /// What has to be kept: these bytes under this id. It may have been sent, and it may still be sent.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Does anybody still wait for it? Once nobody does, nothing is to be promised any more.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.waiters.any()
    }

    /// It is kept, and will be published: everybody who waits is answered as if it were confirmed.
    pub fn kept(self) {
        self.waiters.answer(self.envelope.id);
    }
}

/// The publisher's end of it.
pub(super) struct Lender {
    hand_over: HandOver,
    handed_over: Counter,
}

impl Lender {
    pub(super) fn new(hand_over: HandOver, handed_over: Counter) -> Self {
        Self { hand_over, handed_over }
    }

    /// Hands an envelope over, unless it never is or has been. `false` when there is no room.
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

    /// All that was handed over has been taken, and more would be.
    pub(super) fn is_idle(&self) -> bool {
        let to = &self.hand_over.to;
        !to.is_closed() && to.capacity() == to.max_capacity()
    }

    pub(super) fn has_room(&self) -> bool {
        self.hand_over.to.capacity() > 0
    }

    /// Waits until all that was handed over has been taken; for ever when nobody takes anything any more.
    pub(super) async fn idle(&self) {
        let to = &self.hand_over.to;
        if to.reserve_many(to.max_capacity()).await.is_err() {
            pending::<()>().await;
        }
    }

    /// When everything is overdue that waits since `shut`, the moment from which nothing could be sent.
    pub(super) fn away_at(&self, shut: Instant) -> Instant {
        shut + self.hand_over.away_after
    }
}
