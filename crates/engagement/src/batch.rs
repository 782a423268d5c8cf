//! The input of [`crate::Engagement::apply`] and its result.

use std::collections::BTreeMap;

use events::{EngagementEvent, EnvelopeId, Malformed};
use jiff::Timestamp;
use uuid::Uuid;

/// An envelope as it arrived. Each of its events is either readable or malformed.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The idempotency key.
    pub id: EnvelopeId,
    /// The trace it belongs to; stored with its parked events.
    pub traceparent: Option<String>,
    /// Its events, in order.
    pub events: Vec<Result<EngagementEvent, Malformed>>,
}

/// What to do with an event that the database rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadEvent {
    /// Store it in `analytics.parked`: no caller is waiting for the result.
    Park,
    /// Leave it out and report it to the caller.
    Refuse,
}

/// The result for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It changed a total.
    Counted,
    /// It was counted before, according to its key or its content.
    Repeat,
    /// Its blog does not exist or is not live, or its account may not act.
    Discarded,
    /// It was set aside with a reason.
    Parked,
    /// It was left out and reported to its caller ([`OnBadEvent::Refuse`]).
    Refused,
    /// Its envelope was applied before. The outcome at that time is not known here.
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
    /// Accounts that like the blog.
    pub total_likes: i64,
    /// Shares that counted.
    pub total_shares: i64,
}

/// The result of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Outcomes by envelope and event, in the order of the batch.
    pub outcomes: Vec<Vec<Outcome>>,
    /// For [`OnBadEvent::Refuse`]: the totals of each blog in the batch, read after the batch was written.
    pub totals: BTreeMap<i64, Totals>,
}

impl Applied {
    /// Fills in outcomes from an earlier attempt at the same batch whose COMMIT got no reply. If an event is replayed now,
    /// that attempt committed, so its outcome applies. No other caller may apply the batch in between.
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

/// A message that cannot be split into events and is parked as a whole.
#[derive(Debug, Clone)]
pub struct ParkedBody {
    /// The message's id, or an id derived from its bytes.
    pub envelope_id: uuid::Uuid,
    /// Why it is parked.
    pub reason: String,
    /// The bytes of the message.
    pub body: Vec<u8>,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// How often it was tried.
    pub attempts: i32,
    /// True if the message itself is at fault, false if the worker may be.
    pub unfit: bool,
}

/// The parked row from which a batch of one envelope was read. The transaction marks the row or changes nothing.
#[derive(Debug)]
pub(crate) struct Redriving {
    pub(crate) envelope_id: Uuid,
    pub(crate) index: i32,
    /// The hour and kind under which its event is recorded as parked, if it is. The transaction removes that record.
    pub(crate) parked_as: Option<(Timestamp, &'static str)>,
}
