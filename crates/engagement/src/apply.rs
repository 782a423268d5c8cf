//! Applies a batch in one or more attempts.
//!
//! Most batches need one attempt. If a partition is missing, it is created (or the envelopes that need it are parked as
//! late) and the batch is tried again. If the database rejects a value, the event is found by trying halves of the batch in
//! transactions that are rolled back; it is parked, and the batch is tried again. Savepoints in one transaction would not
//! work: the second half would take locks from the start of the key order while the first half still holds its locks. The
//! batch still commits as a whole, because an envelope's ledger row and its events must commit together.

use std::ops::Range;
use std::time::Duration;

use database::{Fault, Pool, TransactionStep};
use deadpool_postgres::Object;
use events::{Action, EngagementEvent, EnvelopeId};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::batch::Redriving;
use crate::error::{Error, is_commit};
use crate::rows::{self, Day, Parked};
use crate::transaction::{Attempt, Bad, End, Selection};
use crate::{Applied, Incoming, OnBadEvent, Outcome, ParkedBody, Settings, SettingsError, window};

/// Maximum rounds of creating days and parking events before a batch is returned with an error.
pub(crate) const ROUNDS_MAX: usize = 64;
/// Maximum number of attempts when the outcome of a COMMIT is unknown.
const COMMITS_MAX: u32 = 4;
/// How often to ask for a day that another session is creating, and the pause in between in milliseconds.
const DAY_TRIES_MAX: u32 = 60;
const DAY_PAUSE_MS: u64 = 50;

/// Applies engagement to the shared tables.
#[derive(Debug, Clone)]
pub struct Engagement {
    pub(crate) pool: Pool,
    view_window_s: u32,
}

impl Engagement {
    /// Applies engagement through this pool. The pool's role must be a member of `engagement_writer`.
    ///
    /// # Errors
    /// [`SettingsError`] when the window does not divide a day.
    pub fn new(pool: Pool, settings: &Settings) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self { pool, view_window_s: settings.view_window_s })
    }

    /// Applies a batch in one transaction. An envelope that the ledger already holds changes nothing. If the outcome of a
    /// COMMIT is unknown, the batch is applied again and the ledger decides whether it counts. A waiting caller
    /// ([`OnBadEvent::Refuse`]) then gets the outcomes of the attempt that committed.
    ///
    /// # Errors
    /// [`Error`] if nothing was applied; [`Error::OutcomeUnknown`] if that is still unknown after several attempts. It is
    /// always safe to apply the same batch again.
    pub async fn apply(&self, batch: &[Incoming], on_bad: OnBadEvent) -> Result<Applied, Error> {
        let mut commits = 0;
        self.apply_as_known(batch, on_bad, &mut commits).await.map_err(|error| match commits {
            0 => error,
            // A later error says nothing about that COMMIT.
            _ => Error::OutcomeUnknown(Box::new(error)),
        })
    }

    /// [`Engagement::apply`]; counts COMMITs of unknown outcome in `commits`.
    async fn apply_as_known(
        &self,
        batch: &[Incoming],
        on_bad: OnBadEvent,
        commits: &mut u32,
    ) -> Result<Applied, Error> {
        let mut selection = Selection::default();
        let mut unanswered = None;
        for _ in 0..ROUNDS_MAX {
            let error = match self.attempt(batch, &selection, on_bad, None, End::Commit).await {
                Ok(applied) => return Ok(applied.after(unanswered)),
                Err(error) => error,
            };
            match error.fault() {
                Fault::MissingPartition => self.make_days(batch, &mut selection, on_bad, error).await?,
                Fault::BadValue => self.find_bad(batch, &mut selection, on_bad, error).await?,
                // The batch may have committed, so report the outcome as unknown.
                Fault::Broken if is_commit(&error) => {
                    *commits += 1;
                    return Err(error);
                }
                Fault::Unavailable if is_commit(&error) && *commits < COMMITS_MAX => {
                    *commits += 1;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the outcome of a COMMIT is unknown; applying the batch again, and the ledger decides"
                    );
                    // Only this call applies the envelopes of waiting callers. Another worker may apply a worker's envelopes.
                    if let (Error::Committing { applied, .. }, OnBadEvent::Refuse) = (error, on_bad) {
                        unanswered = Some(applied.after(unanswered));
                    }
                    tokio::time::sleep(Duration::from_millis(25 << *commits)).await;
                }
                Fault::Unavailable | Fault::Broken => return Err(error),
            }
        }
        let last = self.attempt(batch, &selection, on_bad, None, End::Commit).await;
        last.map(|applied| applied.after(unanswered))
            .inspect_err(|error| *commits += u32::from(is_commit(error)))
    }

    /// Applies an envelope in a transaction that is rolled back. Returns true if none of its events would be parked.
    ///
    /// # Errors
    /// The database's error, unless it rejected a value.
    pub async fn rehearse(&self, envelope: &Incoming) -> Result<bool, Error> {
        let batch = std::slice::from_ref(envelope);
        let mut selection = Selection::default();
        let mut days_made = false;
        loop {
            let tried = self.attempt(batch, &selection, OnBadEvent::Park, None, End::RollBack).await;
            match tried {
                Ok(applied) => return Ok(applied.outcomes.iter().flatten().all(|of| *of != Outcome::Parked)),
                Err(error) => match error.fault() {
                    Fault::BadValue => return Ok(false),
                    Fault::MissingPartition if !days_made => {
                        self.make_days(batch, &mut selection, OnBadEvent::Park, error).await?;
                        days_made = true;
                    }
                    Fault::MissingPartition | Fault::Unavailable | Fault::Broken => return Err(error),
                },
            }
        }
    }

    /// Parks whole messages that cannot be split into events. They have no ledger row.
    ///
    /// # Errors
    /// The database's error.
    pub async fn park_bodies(&self, bodies: &[ParkedBody]) -> Result<(), Error> {
        let mut client = self.pool.get().await?;
        let whole = |parked: &ParkedBody| Parked {
            envelope_id: parked.envelope_id,
            index: -1,
            kind: None,
            reason: parked.reason.clone(),
            sqlstate: None,
            body: parked.body.clone(),
            traceparent: None,
            in_ledger: false,
            attempts: parked.attempts,
            key: None,
            unfit: parked.unfit,
        };
        let mut rows: Vec<_> = bodies.iter().map(whole).collect();
        for (row, parked) in rows.iter_mut().zip(bodies) {
            row.traceparent = parked.traceparent.as_deref();
        }
        let transaction =
            client.transaction().await.map_err(database::Error::transaction(TransactionStep::Begin))?;
        let new = usize::try_from(rows::park(&transaction, &rows).await?).unwrap_or(usize::MAX);
        rows::intake_add(&transaction, new, false).await?;
        Ok(database::commit(transaction).await?)
    }

    /// Creates the partitions of a day. Returns false if the day is outside the allowed range.
    ///
    /// # Errors
    /// [`Error::DayBusy`] if another session holds the lock for too long, or the database's error.
    pub async fn ensure_day(&self, day: Date) -> Result<bool, Error> {
        let client = self.pool.get().await?;
        let ledger = ask_for_day(&client, LEDGER, day).await?;
        Ok(ask_for_day(&client, VIEWS, day).await? && ledger)
    }

    pub(crate) async fn attempt(
        &self,
        batch: &[Incoming],
        selection: &Selection,
        on_bad: OnBadEvent,
        redriving: Option<&Redriving>,
        end: End,
    ) -> Result<Applied, Error> {
        let mut client = self.pool.get().await?;
        let view_window_s = self.view_window_s;
        Box::pin(Attempt { batch, selection, on_bad, view_window_s, redriving }.run(&mut client, end)).await
    }

    /// Creates the days that the batch needs. Envelopes and views whose day cannot be created are set aside; a waiting
    /// caller gets the error instead.
    pub(crate) async fn make_days(
        &self,
        batch: &[Incoming],
        selection: &mut Selection,
        on_bad: OnBadEvent,
        error: Error,
    ) -> Result<(), Error> {
        let client = self.pool.get().await?;
        let now = rows::now(&client).await?;
        let placed = rows::envelopes_ahead(&client, batch.iter().map(|envelope| envelope.id)).await?;
        let mut position = 0;
        let mut known = std::collections::BTreeMap::new();
        for (index, envelope) in batch.iter().enumerate() {
            let day = match placed.get(&envelope.id.as_uuid()) {
                Some(day) => *day,
                None => ledger_day(&client, envelope.id, now).await?,
            };
            let mut days = vec![(LEDGER, day, None)];
            for event in &envelope.events {
                if let Some(day) = event.as_ref().ok().and_then(|event| self.view_day(event, now)) {
                    days.push((VIEWS, day, Some(position)));
                }
                position += 1;
            }
            for (table, day, event) in days {
                let there = match known.get(&(table, day)) {
                    Some(there) => *there,
                    None => ask_for_day(&client, table, day).await?,
                };
                known.insert((table, day), there);
                match (there, event) {
                    (true, _) => {}
                    (false, None) => drop(selection.outside.insert(index)),
                    (false, Some(event)) => {
                        let reason = format!("the day {day} is outside the range that can be counted");
                        selection.bad.entry(event).or_insert(Bad {
                            reason,
                            sqlstate: Some("23514".to_owned()),
                            unfit: true,
                        });
                    }
                }
            }
        }
        if on_bad == OnBadEvent::Refuse && !selection.outside.is_empty() {
            return Err(error);
        }
        Ok(())
    }

    /// The day of the partition that stores a view, if the view is stored in one.
    fn view_day(&self, event: &EngagementEvent, now: Timestamp) -> Option<Date> {
        let counts_once =
            self.view_window_s > 0 && !event.imported && matches!(event.action, Action::Viewed(_));
        let start = window::start(window::clamped(event.time, now), self.view_window_s.max(1));
        counts_once.then(|| start.to_zoned(TimeZone::UTC).date())
    }

    /// Finds the events that the database rejects by halving the batch. If events fail only in combination, it finds the
    /// first one whose addition fails. It finds none if the database now accepts the whole batch.
    pub(crate) async fn find_bad(
        &self,
        batch: &[Incoming],
        selection: &mut Selection,
        on_bad: OnBadEvent,
        error: Error,
    ) -> Result<(), Error> {
        // A trial must not fail because a day does not exist yet.
        self.make_days(batch, selection, on_bad, error).await?;
        let known = selection.bad.len();
        let whole = 0..batch.iter().map(|envelope| envelope.events.len()).sum();
        if self.refused(batch, selection, on_bad, whole.clone()).await?.is_none() {
            return Ok(());
        }
        let mut ranges = halves(whole.clone());
        while let Some(range) = ranges.pop() {
            let Some(error) = self.refused(batch, selection, on_bad, range.clone()).await? else { continue };
            if range.len() > 1 {
                ranges.extend(halves(range));
            } else {
                selection.bad.insert(range.start, bad(&error));
            }
        }
        if selection.bad.len() > known {
            return Ok(());
        }
        // Bisect for the longest prefix that the database accepts. The event after it is the bad one.
        let (mut taken, mut refused) = (0, whole.end);
        let mut reason = None;
        while taken + 1 < refused {
            let middle = usize::midpoint(taken, refused);
            match self.refused(batch, selection, on_bad, 0..middle).await? {
                None => taken = middle,
                Some(error) => (refused, reason) = (middle, Some(error)),
            }
        }
        let reason = reason.as_ref().map_or_else(
            || Bad {
                reason: "refused in combination with the events before it".to_owned(),
                sqlstate: None,
                unfit: false,
            },
            bad,
        );
        selection.bad.insert(taken, reason);
        Ok(())
    }

    /// Tries a part of the batch. Returns the error if the database rejects a value in it.
    async fn refused(
        &self,
        batch: &[Incoming],
        selection: &mut Selection,
        on_bad: OnBadEvent,
        part: Range<usize>,
    ) -> Result<Option<Error>, Error> {
        selection.only = Some(part);
        let tried = self.attempt(batch, selection, on_bad, None, End::RollBack).await;
        selection.only = None;
        match tried {
            Ok(_) => Ok(None),
            Err(error) if error.fault() == Fault::BadValue => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }
}

pub(crate) const LEDGER: &str = "envelope_ledger";
const VIEWS: &str = "blog_view";

pub(crate) async fn ask_for_day(client: &Object, table: &str, day: Date) -> Result<bool, Error> {
    for _ in 0..DAY_TRIES_MAX {
        match rows::create_day(client, table, day).await {
            Ok(Day::There) => return Ok(true),
            Ok(Day::Outside) => return Ok(false),
            Ok(Day::Busy) => {}
            // No partition can have this name or these bounds.
            Err(error) if error.fault() == Fault::BadValue => return Ok(false),
            // 55P03: other DDL locks the parent for longer than the function waits.
            Err(error) if error.sqlstate() == Some("55P03") => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(DAY_PAUSE_MS)).await;
    }
    if let Ok(Some(holder)) = database::lock::holder(client, &format!("analytics.days.{table}")).await {
        tracing::warn!(table, %day, holder, "another session holds the lock for creating days");
    }
    Err(Error::DayBusy)
}

/// Whether the ledger can hold this envelope. Creates its day if it is missing.
pub(crate) async fn ledger_day_is_there(client: &Object, id: EnvelopeId) -> Result<bool, Error> {
    let placed = rows::envelopes_ahead(client, std::iter::once(id)).await?;
    let day = match placed.get(&id.as_uuid()) {
        Some(day) => *day,
        None => ledger_day(client, id, rows::now(client).await?).await?,
    };
    ask_for_day(client, LEDGER, day).await
}

/// The day under which the ledger holds an envelope that has not been placed yet. This is the day in its id, unless that
/// day is too far ahead to have a partition.
async fn ledger_day(client: &Object, id: EnvelopeId, now: Timestamp) -> Result<Date, Error> {
    let placed = if id.made_at() > now { rows::place_ahead(client, id).await? } else { None };
    Ok(placed.unwrap_or(id.day()))
}

/// Splits a range in two and returns the first half last, ready to pop. A range of one event is not split.
fn halves(range: Range<usize>) -> Vec<Range<usize>> {
    let middle = range.start + range.len() / 2;
    [middle..range.end, range.start..middle].into_iter().filter(|half| !half.is_empty()).collect()
}

pub(crate) fn bad(error: &Error) -> Bad {
    let constraint = match error {
        Error::Database(error) => error.constraint(),
        _ => None,
    };
    let reason = match (error, constraint) {
        (Error::Database(_), Some(constraint)) => format!("refused by constraint {constraint}"),
        (Error::Database(_), None) => "the database cannot store this value".to_owned(),
        (error, _) => error.to_string(),
    };
    Bad { reason, sqlstate: error.sqlstate().map(str::to_owned), unfit: false }
}
