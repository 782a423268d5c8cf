//! Redrives parked events: counts each of them, or records again why it cannot be counted.
//!
//! A parked event is a batch of one whose input is its own row instead of a queue. It is folded, written and recorded like
//! any batch, and the same transaction marks the row. The row is read without a lock. It is marked when the transaction
//! reaches `parked` in the order of tables, by a statement that checks that the row still waits unchanged; otherwise the
//! transaction is rolled back. Locking the row first would reverse that order and could deadlock: a batch that holds
//! counter locks may wait for a parked row, so a transaction that holds a parked row must not wait for counters.
//!
//! How the event is kept from counting twice depends on the ledger:
//!
//! - The ledger holds the envelope, and the event is recorded as parked. The transaction removes that record (under the
//!   envelope's hour and the row's kind) and records the new outcome instead.
//! - The ledger does not hold the envelope, because it was late or the whole message could not be read. If its day exists or
//!   can be created, the envelope is put into the ledger, so a copy that arrives later adds nothing. For a late envelope
//!   this is a separate transaction: it records all of the envelope's events as parked, and each is then redriven like any
//!   other. If the ledger already holds the envelope, a copy has been counted and the parked rows add nothing.
//! - The ledger cannot hold the envelope's day. The event may have been counted before that day was dropped, and nothing can
//!   tell whether it was. Nothing happens unless the caller accepts that the event may count twice. In that case the events
//!   go into the ledger under a new envelope id with the current time. They are then recorded like all others, in the hour of
//!   the decision, and the ledger's equation needs no exception. The row in `parked` keeps the original envelope id.
//!
//! A keyed event counts once because its key is not forgotten while the parked event waits. If the row does not hold the key
//! (a whole message, or a row older than the column), a retry may have been counted and its key forgotten. An old
//! event of this kind is in doubt, like an event whose day is gone.

use std::collections::BTreeMap;

use database::{Fault, TransactionStep};
use events::{Action, EngagementEvent, EngagementKind, EnvelopeId, Malformed, codec};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::apply::{ROUNDS_MAX, bad, ledger_day_is_there};
use crate::batch::Redriving;
use crate::rows::{self, Waiting};
use crate::transaction::{Bad, End, Selection, UNREADABLE};
use crate::{Engagement, Error, Incoming, OnBadEvent, Outcome, window};

/// The maximum age of a keyed event whose key is certainly still remembered even if its row does not hold it. Retries come
/// within a day, and a key is remembered for two days after it is taken.
const KEY_REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// How often a parked row is read again after another session changed it.
const READS_MAX: usize = 16;

/// What to do with an event that may have been counted already, if the ledger cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubt {
    /// Leave it parked.
    Leave,
    /// Count it, even if it counts twice.
    Count,
}

/// The result of redriving a parked event or a whole parked message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redriven {
    /// It is no longer parked. Contains the outcome of each event in order; there is one event unless it was a whole
    /// message. Events of a message that the database rejects are parked individually.
    Applied(Vec<Outcome>),
    /// It stays parked: it cannot be read, or the database rejects it.
    Parked {
        /// The reason, which its row now holds.
        reason: String,
        /// The SQLSTATE, if Postgres returned one.
        sqlstate: Option<String>,
    },
    /// It stays parked, because it may have been counted already ([`InDoubt::Leave`]).
    Doubtful {
        /// Why the ledger cannot tell.
        reason: String,
    },
    /// No event with this id and index waits. It was never parked, or it was already redriven or dropped.
    NotWaiting,
}

/// What the ledger knows about a parked row.
enum Standing {
    /// The ledger holds the envelope, and the event is recorded as parked.
    Accounted(EnvelopeId),
    /// Inserting the envelope into the ledger will show whether it was counted.
    WillTell(EnvelopeId),
    /// The ledger cannot tell whether the event was counted, for this reason.
    CannotTell(String),
    /// The row has changed and must be read again.
    Changed,
}

impl Engagement {
    /// Counts a parked event, or a whole parked message if the index is -1. As on every path, an event is discarded if its
    /// blog is not live or its account may not act.
    ///
    /// # Errors
    /// The database's error. Either nothing has changed, or the outcome of the COMMIT is unknown. In both cases it is safe to
    /// call this again.
    pub async fn redrive(&self, envelope_id: Uuid, index: i32, in_doubt: InDoubt) -> Result<Redriven, Error> {
        for _ in 0..READS_MAX {
            let Some(row) = self.waiting(envelope_id, index).await? else {
                return Ok(Redriven::NotWaiting);
            };
            if let Some(redriven) = self.redrive_row(&row, in_doubt).await? {
                return Ok(redriven);
            }
        }
        Err(Error::Changed)
    }

    /// Returns None if the row has changed since it was read.
    async fn redrive_row(&self, row: &Waiting, in_doubt: InDoubt) -> Result<Option<Redriven>, Error> {
        let events = match row.events() {
            Ok(events) => events,
            Err(reason) => return self.refused_again(row, Bad { reason, sqlstate: None, unfit: true }).await,
        };
        if in_doubt == InDoubt::Leave && row.may_have_lost_its_key(&events, Timestamp::now()) {
            let reason = "a retry may have been counted under its key, and the key forgotten; it may have been counted already";
            return Ok(Some(Redriven::Doubtful { reason: reason.to_owned() }));
        }
        let (id, parked_as) = match self.standing(row).await? {
            Standing::Accounted(id) => {
                (id, Some((accounted_at(id, row.first_seen_at), kind(row.kind.as_deref()))))
            }
            Standing::WillTell(id) => (id, None),
            Standing::CannotTell(_) if in_doubt == InDoubt::Count => (EnvelopeId::now(), None),
            Standing::CannotTell(reason) => return Ok(Some(Redriven::Doubtful { reason })),
            Standing::Changed => return Ok(None),
        };
        self.take_out(row, id, events, parked_as).await
    }

    /// Applies the events of a row under this envelope id, and marks the row.
    async fn take_out(
        &self,
        row: &Waiting,
        id: EnvelopeId,
        events: Vec<Result<EngagementEvent, Malformed>>,
        parked_as: Option<(Timestamp, &'static str)>,
    ) -> Result<Option<Redriven>, Error> {
        let batch = [Incoming { id, traceparent: row.traceparent.clone(), events }];
        let redriving = Redriving { envelope_id: row.envelope_id, index: row.index, parked_as };
        let mut selection = Selection::default();
        for _ in 0..ROUNDS_MAX {
            let attempt =
                self.attempt(&batch, &selection, OnBadEvent::Park, Some(&redriving), End::Commit).await;
            let error = match attempt {
                Ok(applied) => {
                    return Ok(Some(Redriven::Applied(applied.outcomes.into_iter().flatten().collect())));
                }
                Err(Error::Changed) => return Ok(None),
                Err(error) => error,
            };
            match error.fault() {
                Fault::MissingPartition => {
                    self.make_days(&batch, &mut selection, OnBadEvent::Park, error).await?;
                }
                Fault::BadValue if row.is_message() => {
                    self.find_bad(&batch, &mut selection, OnBadEvent::Park, error).await?;
                }
                Fault::BadValue => return self.refused_again(row, bad(&error)).await,
                Fault::Unavailable | Fault::Broken => return Err(error),
            }
            if !selection.outside.is_empty() {
                // The day existed a moment ago, so read the row again.
                return Ok(None);
            }
            if !row.is_message()
                && let Some(bad) = selection.bad.remove(&0)
            {
                return self.refused_again(row, bad).await;
            }
        }
        Err(Error::Changed)
    }

    /// Determines what the ledger knows about a row. If the day of a late envelope exists, puts the envelope into the ledger.
    async fn standing(&self, row: &Waiting) -> Result<Standing, Error> {
        let Ok(id) = EnvelopeId::try_from(row.envelope_id) else {
            let reason =
                "its id contains no date, so the ledger cannot hold it; it may have been counted already";
            return Ok(Standing::CannotTell(reason.to_owned()));
        };
        if row.in_ledger {
            return Ok(Standing::Accounted(id));
        }
        let client = self.pool.get().await?;
        let is_there = ledger_day_is_there(&client, id).await?;
        drop(client);
        if !is_there {
            let reason = format!(
                "its day {} is outside the range that the ledger holds; it may have been counted already",
                id.day()
            );
            return Ok(Standing::CannotTell(reason));
        }
        if row.is_message() {
            return Ok(Standing::WillTell(id));
        }
        if self.adopt(id).await? {
            return Ok(Standing::Changed);
        }
        // The ledger holds it: a copy was counted, or another session has just inserted this envelope.
        Ok(match self.waiting(row.envelope_id, row.index).await? {
            Some(row) if !row.in_ledger => Standing::WillTell(id),
            _ => Standing::Changed,
        })
    }

    /// Puts a late envelope into the ledger and records each of its parked events as parked. Returns false if the ledger
    /// already holds the envelope.
    async fn adopt(&self, id: EnvelopeId) -> Result<bool, Error> {
        let mut client = self.pool.get().await?;
        let transaction =
            client.transaction().await.map_err(database::Error::transaction(TransactionStep::Begin))?;
        let late = rows::late_count(&transaction, id).await?;
        if late > 0 && rows::ledger_insert(&transaction, &BTreeMap::from([(id, late)])).await?.ids.is_empty()
        {
            return Ok(false);
        }
        let adopted = rows::adopt(&transaction, id).await?;
        if usize::try_from(late) != Ok(adopted.len()) {
            // Another session has just counted one of them. Roll back; the caller reads the row again.
            return Ok(true);
        }
        let mut outcomes = BTreeMap::new();
        for (of, parked_at) in &adopted {
            let account = (accounted_at(id, *parked_at), kind(of.as_deref()), Outcome::Parked);
            *outcomes.entry(account).or_default() += 1;
        }
        rows::outcomes_add(&transaction, &outcomes).await?;
        database::commit(transaction).await?;
        Ok(true)
    }

    /// Records in the row why it stays parked. Returns None if the row no longer waits.
    async fn refused_again(&self, row: &Waiting, bad: Bad) -> Result<Option<Redriven>, Error> {
        let Bad { reason, sqlstate, .. } = bad;
        let client = self.pool.get().await?;
        let waits = rows::mark_refused(&client, row, &reason, sqlstate.as_deref()).await?;
        Ok(waits.then_some(Redriven::Parked { reason, sqlstate }))
    }

    async fn waiting(&self, envelope_id: Uuid, index: i32) -> Result<Option<Waiting>, Error> {
        let client = self.pool.get().await?;
        Ok(rows::waiting(&client, envelope_id, index).await?)
    }
}

impl Waiting {
    /// Whether this is a whole message that could not be split into events.
    fn is_message(&self) -> bool {
        self.index < 0
    }

    /// Whether a retry of one of its events may have been counted under a key that has since been forgotten. Likes do not
    /// matter here: a repeated like counts once even without a key.
    fn may_have_lost_its_key(&self, events: &[Result<EngagementEvent, Malformed>], now: Timestamp) -> bool {
        self.key.is_none()
            && events.iter().flatten().any(|event| {
                let by_key = matches!(event.action, Action::Viewed(_) | Action::Shared(_)) && !event.imported;
                by_key && event.key.is_some() && now.duration_since(event.time) > KEY_REMEMBERED
            })
    }

    /// The event, or the events of the message. The error says why they cannot be read.
    fn events(&self) -> Result<Vec<Result<EngagementEvent, Malformed>>, String> {
        if self.is_message() {
            let because = |unreadable: codec::Unreadable| match std::error::Error::source(&unreadable) {
                Some(cause) => format!("{unreadable}: {cause}"),
                None => unreadable.to_string(),
            };
            return codec::decode_engagement(&self.body).map_err(because);
        }
        let text = std::str::from_utf8(&self.body)
            .map_err(|error| format!("the body is not UTF-8 text: {error}"))?;
        let event = codec::decode_one(text).map_err(|malformed| malformed.reason)?;
        Ok(vec![Ok(event)])
    }
}

/// The hour under which an event is recorded as parked: the hour of its envelope, clamped if the sender's clock ran ahead.
fn accounted_at(id: EnvelopeId, parked_at: Timestamp) -> Timestamp {
    window::hour(window::clamped(id.made_at(), parked_at))
}

/// The kind under which a parked row is recorded.
fn kind(of: Option<&str>) -> &'static str {
    let names = EngagementKind::ALL.map(EngagementKind::name);
    names.into_iter().find(|name| Some(*name) == of).unwrap_or(UNREADABLE)
}
