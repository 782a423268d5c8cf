//! Redriving: what was set aside is counted after all, or says again why it cannot be.
//!
//! A parked event is a batch of one that comes from its own row instead of a queue: it is folded, written and accounted
//! for as in any batch, and the same transaction marks the row. The row is read without a lock and marked at the place
//! of `parked` in the order of tables, by a statement that looks whether it still waits as it was read; if not,
//! everything is rolled back. To lock it first would turn that order around: a batch that holds counters may wait for a
//! parked row, so who holds a parked row must not wait for counters.
//!
//! Whether an event counts once depends on what the ledger knows of its envelope:
//!
//! - The ledger holds it, and accounts for the event as parked. That entry is taken back, where it was made (the hour of
//!   the envelope, the kind of the row), and what became of the event takes its place.
//! - The ledger knows nothing of it: the envelope was late, or the whole message could not be read. If its day is there, or
//!   can be made, the envelope is put into the ledger, so that a copy that is still on its way counts nothing more. Of a
//!   late envelope that comes first, in a transaction of its own: all of its events are then accounted for as
//!   parked, and each is redriven like any other. If the ledger turns out to know the envelope, a copy has been counted
//!   and the parked rows add nothing.
//! - Its day is outside what the ledger holds. It may have been counted before that day was dropped, and nothing can tell.
//!   Unless the caller says that it may count twice, nothing happens. If so, the events go into the ledger under a new
//!   envelope id of this moment: they are then accounted for like all others, in the hour in which it was decided, and
//!   the equation of the ledger needs no exception. The row in `parked` says which envelope they came from.
//!
//! Whether a keyed event counts once depends on its key: while a parked event waits, the key in its row is not forgotten.
//! Where the row does not hold it (a whole message; a row that is older than the column), a retry may have been counted
//! and forgotten since, so an old event is in doubt like one whose day is gone.

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

/// How old a keyed event may be for its key to be remembered without the help of its row: a retry comes within a day, and
/// a key is remembered for two days from when it is taken.
const KEY_REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// Most times a parked row is read again because somebody else changed it.
const READS_MAX: usize = 16;

/// What to do with what may have been counted already, because the ledger cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubt {
    /// Nothing.
    Leave,
    /// Count it, for the second time if need be.
    Count,
}

/// What became of a parked event, or of a whole parked message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redriven {
    /// It is parked no longer. What became of its events, in order: one, unless it was a whole message. Events of a
    /// message that the database refuses are parked by themselves.
    Applied(Vec<Outcome>),
    /// It stays parked: it cannot be read, or the database refuses it.
    Parked {
        /// Why, as its row now says.
        reason: String,
        /// The SQLSTATE, where Postgres gave one.
        sqlstate: Option<String>,
    },
    /// It stays parked, because it may have been counted already ([`InDoubt::Leave`]).
    Doubtful {
        /// Why the ledger cannot tell.
        reason: String,
    },
    /// Nothing of this id and index waits: it was never parked, or has been redriven or given up.
    NotWaiting,
}

/// What the ledger knows of a parked row.
enum Standing {
    /// It accounts for its event as parked.
    Accounted(EnvelopeId),
    /// It will tell when the envelope is put into it.
    WillTell(EnvelopeId),
    /// It cannot tell.
    CannotTell(String),
    /// Something has changed: the row is to be read again.
    Changed,
}

impl Engagement {
    /// Counts a parked event after all, or with an index of -1 a whole parked message. An event whose blog is not live,
    /// or whose account may not act, is discarded, as it would be on any other way.
    ///
    /// # Errors
    /// What the database said; nothing has happened then, or the outcome of the COMMIT is unknown. Either way it may be
    /// asked again.
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

    /// None when the row has changed since it was read.
    async fn redrive_row(&self, row: &Waiting, in_doubt: InDoubt) -> Result<Option<Redriven>, Error> {
        let events = match row.events() {
            Ok(events) => events,
            Err(reason) => return self.refused_again(row, Bad { reason, sqlstate: None, unfit: true }).await,
        };
        if in_doubt == InDoubt::Leave && row.may_have_lost_its_key(&events, Timestamp::now()) {
            let reason = "its key may have been forgotten since a retry was counted under it; it may have been counted already";
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

    /// Applies what a row holds under this envelope id, and marks the row.
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
                // Its day was there a moment ago.
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

    /// What the ledger knows of a row. A late envelope whose day is there is put into it on the way.
    async fn standing(&self, row: &Waiting) -> Result<Standing, Error> {
        let Ok(id) = EnvelopeId::try_from(row.envelope_id) else {
            let reason =
                "its id says no day, so that the ledger cannot hold it; it may have been counted already";
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
                "its day {} is outside what the ledger holds; it may have been counted already",
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
        // Known by a copy that was counted, or because somebody else has just put this one there.
        Ok(match self.waiting(row.envelope_id, row.index).await? {
            Some(row) if !row.in_ledger => Standing::WillTell(id),
            _ => Standing::Changed,
        })
    }

    /// Puts a late envelope into the ledger with its events that are parked, and accounts for each of them as parked.
    /// False when the ledger knows it already.
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
            // One of them was counted in doubt meanwhile. Rolled back; the next look finds out.
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

    /// Says in the row why it stays. None when it no longer waits.
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
    /// A whole message, whose events could not be told apart.
    fn is_message(&self) -> bool {
        self.index < 0
    }

    /// Whether a retry of one of its events may have been counted under a key that is forgotten by now. Likes are left out:
    /// the same like counts once whatever its key.
    fn may_have_lost_its_key(&self, events: &[Result<EngagementEvent, Malformed>], now: Timestamp) -> bool {
        self.key.is_none()
            && events.iter().flatten().any(|event| {
                let by_key = matches!(event.action, Action::Viewed(_) | Action::Shared(_)) && !event.imported;
                by_key && event.key.is_some() && now.duration_since(event.time) > KEY_REMEMBERED
            })
    }

    /// Its event, or the events of the message; or why there are none to be read.
    fn events(&self) -> Result<Vec<Result<EngagementEvent, Malformed>>, String> {
        if self.is_message() {
            let because = |unreadable: codec::Unreadable| match std::error::Error::source(&unreadable) {
                Some(cause) => format!("{unreadable}: {cause}"),
                None => unreadable.to_string(),
            };
            return codec::decode_engagement(&self.body).map_err(because);
        }
        let text = std::str::from_utf8(&self.body).map_err(|error| format!("it is no text: {error}"))?;
        let event = codec::decode_one(text).map_err(|malformed| malformed.reason)?;
        Ok(vec![Ok(event)])
    }
}

/// The hour in which an event is accounted for as parked: that of its envelope, by a clock that did not run ahead.
fn accounted_at(id: EnvelopeId, parked_at: Timestamp) -> Timestamp {
    window::hour(window::clamped(id.made_at(), parked_at))
}

/// The kind under which a parked row is accounted for.
fn kind(of: Option<&str>) -> &'static str {
    let names = EngagementKind::ALL.map(EngagementKind::name);
    names.into_iter().find(|name| Some(*name) == of).unwrap_or(UNREADABLE)
}
