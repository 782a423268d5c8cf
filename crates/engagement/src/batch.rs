//! What comes in to be applied, and what became of it.

use std::collections::BTreeMap;

use events::{EngagementEvent, EnvelopeId, Malformed};
use jiff::Timestamp;
use uuid::Uuid;

/// An envelope as it arrived: its events, each readable or not.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The idempotency key.
    pub id: EnvelopeId,
    /// The trace that it belongs to, kept with what is parked of it.
    pub traceparent: Option<String>,
    /// Its events, in order.
    pub events: Vec<Result<EngagementEvent, Malformed>>,
}

/// What happens to an event that the database will not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadEvent {
    /// A row in `analytics.parked`: nobody is waiting who could be told.
    Park,
    /// Left out; its caller is told.
    Refuse,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It changed a total.
    Counted,
    /// It had been counted already, by its key or by what it says.
    Repeat,
    /// Its blog is unknown or not live, or its account may not act.
    Discarded,
    /// Set aside with a reason.
    Parked,
    /// Left out, because its caller is told ([`OnBadEvent::Refuse`]).
    Refused,
    /// Its whole envelope had been applied before; what became of it then is not known here.
    Replayed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] =
        [Self::Counted, Self::Repeat, Self::Discarded, Self::Parked, Self::Refused, Self::Replayed];

    /// The name in `analytics.outcome` and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Repeat => "repeat",
            Self::Discarded => "discarded",
            Self::Parked => "parked",
            Self::Refused => "refused",
            Self::Replayed => "replayed",
        }
    }
}

/// The totals of a blog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Views that counted.
    pub total_views: i64,
    /// Accounts that like it.
    pub total_likes: i64,
    /// Shares that counted.
    pub total_shares: i64,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// By envelope and event, in the order of the batch.
    pub outcomes: Vec<Vec<Outcome>>,
    /// For [`OnBadEvent::Refuse`], where callers wait for it: the totals after the batch of every blog in it.
    pub totals: BTreeMap<i64, Totals>,
}

impl Applied {
    /// Completed by an earlier attempt at the same batch whose COMMIT was not answered: an event that the ledger knows now
    /// came to what that attempt had found. Nothing else may have applied the batch between the two.
    pub(crate) fn after(mut self, earlier: Option<Self>) -> Self {
        let then = earlier.into_iter().flat_map(|earlier| earlier.outcomes).flatten();
        for (now, then) in self.outcomes.iter_mut().flatten().zip(then) {
            if *now == Outcome::Replayed {
                *now = then;
            }
        }
        self
    }
}

/// A message that holds no event that could be told apart, to be set aside as a whole.
#[derive(Debug, Clone)]
pub struct ParkedBody {
    /// The message's id, or one derived from its bytes.
    pub envelope_id: uuid::Uuid,
    /// Why.
    pub reason: String,
    /// The bytes.
    pub body: Vec<u8>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// How often it was tried.
    pub attempts: i32,
    /// True when the message itself is the reason, false when it may be the worker.
    pub unfit: bool,
}

/// The parked row that a batch of one envelope was read from. The transaction marks it, or nothing happens.
#[derive(Debug)]
pub(crate) struct Redriving {
    pub(crate) envelope_id: Uuid,
    pub(crate) index: i32,
    /// Where the ledger accounts for its event as parked, if it does: hour and kind. That is taken back.
    pub(crate) parked_as: Option<(Timestamp, &'static str)>,
}
