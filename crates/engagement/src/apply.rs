//! Applying a batch: attempts, and what is learnt between them.
//!
//! The common batch is one attempt. A missing partition is made (or its envelopes parked as late) and the batch
//! tried again; a value that the database refuses is found by trying halves in transactions that are rolled back,
//! set aside, and the batch tried again. Trials, not savepoints: a savepoint would lock again from the start of
//! the key order while the rows of the first half are still held. And the batch still commits as one, because an
//! envelope's ledger row and its events must not be parted.

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

/// Most rounds of making days and setting events aside before a batch is given back.
pub(crate) const ROUNDS_MAX: usize = 64;
/// Most attempts when the outcome of a COMMIT is unknown.
const COMMITS_MAX: u32 = 4;
/// Most times a day is asked for that somebody else is making, and the pause between, in milliseconds.
const DAY_TRIES_MAX: u32 = 60;
const DAY_PAUSE_MS: u64 = 50;

/// Applies engagement to the shared tables.
#[derive(Debug, Clone)]
pub struct Engagement {
    pub(crate) pool: Pool,
    view_window_s: u32,
}

impl Engagement {
    /// Applies through this pool, whose role must be a member of `engagement_writer`.
    ///
    /// # Errors
    /// [`SettingsError`] when the window does not divide a day.
    pub fn new(pool: Pool, settings: &Settings) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self { pool, view_window_s: settings.view_window_s })
    }

    /// Applies a batch in one transaction. Envelopes that the ledger knows change nothing. When the outcome of the
    /// COMMIT is unknown the batch is run again: the ledger decides. A caller who waits for an answer
    /// ([`OnBadEvent::Refuse`]) then gets what the committed attempt had found.
    ///
    /// # Errors
    /// [`Error`] when nothing was applied; [`Error::OutcomeUnknown`] when that is still not known after several tries. The
    /// same batch may be given again at any time.
    pub async fn apply(&self, batch: &[Incoming], on_bad: OnBadEvent) -> Result<Applied, Error> {
        let mut commits = 0;
        self.apply_as_known(batch, on_bad, &mut commits).await.map_err(|error| match commits {
            0 => error,
            // What went wrong afterwards says nothing of that COMMIT.
            _ => Error::OutcomeUnknown(Box::new(error)),
        })
    }

    /// [`Engagement::apply`], which counts in `commits` those of unknown outcome.
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
                // It may have been committed, so the outcome is reported as unknown.
                Fault::Broken if is_commit(&error) => {
                    *commits += 1;
                    return Err(error);
                }
                Fault::Unavailable if is_commit(&error) && *commits < COMMITS_MAX => {
                    *commits += 1;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "outcome of a commit unknown, asking the ledger"
                    );
                    // Only this call applies envelopes of waiting callers; a worker's may be applied by another worker.
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

    /// Applies an envelope in a transaction that is rolled back. True when nothing of it would be parked.
    ///
    /// # Errors
    /// What the database said, unless it refused a value.
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

    /// Sets whole messages aside that hold no event that could be told apart. The ledger knows nothing of them.
    ///
    /// # Errors
    /// What the database said.
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

    /// Makes the partitions of a day, unless it lies outside the days that may exist.
    ///
    /// # Errors
    /// [`Error::DayBusy`] when somebody else is at it for too long, or what the database said.
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

    /// Makes the days that the batch needs. Envelopes and views whose day will not be made are set aside; a caller
    /// who waits for an answer gets the error instead.
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
                        let reason = format!("its day {day} is outside the days that can be counted");
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

    /// The day of the partition that a view goes to, if it goes to one.
    fn view_day(&self, event: &EngagementEvent, now: Timestamp) -> Option<Date> {
        let counts_once =
            self.view_window_s > 0 && !event.imported && matches!(event.action, Action::Viewed(_));
        let start = window::start(window::clamped(event.time, now), self.view_window_s.max(1));
        counts_once.then(|| start.to_zoned(TimeZone::UTC).date())
    }

    /// Finds the events that the database will not take, by halves. Events that fail only together (each alone
    /// is taken) are found as the first whose addition fails. None when all of it is taken now, after all.
    pub(crate) async fn find_bad(
        &self,
        batch: &[Incoming],
        selection: &mut Selection,
        on_bad: OnBadEvent,
        error: Error,
    ) -> Result<(), Error> {
        // A trial must not fail for a day that is only not there yet.
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
        // The longest prefix that is taken, by bisection; the event after it is the one.
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
                reason: "refused together with the events before it".to_owned(),
                sqlstate: None,
                unfit: false,
            },
            bad,
        );
        selection.bad.insert(taken, reason);
        Ok(())
    }

    /// Tries a part of the batch: the error, if a value in it is refused.
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
            // No table can be named or bounded for it.
            Err(error) if error.fault() == Fault::BadValue => return Ok(false),
            // 55P03: the parent is locked by other DDL for longer than the function waits.
            Err(error) if error.sqlstate() == Some("55P03") => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(DAY_PAUSE_MS)).await;
    }
    if let Ok(Some(holder)) = database::lock::holder(client, &format!("analytics.days.{table}")).await {
        tracing::warn!(table, %day, holder, "another session holds the lock of the days");
    }
    Err(Error::DayBusy)
}

/// Can the ledger hold this envelope? Makes its day if it is missing.
pub(crate) async fn ledger_day_is_there(client: &Object, id: EnvelopeId) -> Result<bool, Error> {
    let placed = rows::envelopes_ahead(client, std::iter::once(id)).await?;
    let day = match placed.get(&id.as_uuid()) {
        Some(day) => *day,
        None => ledger_day(client, id, rows::now(client).await?).await?,
    };
    ask_for_day(client, LEDGER, day).await
}

/// The day under which the ledger holds an envelope that has not been placed yet: that of its id, unless that is too far
/// ahead to have a partition.
async fn ledger_day(client: &Object, id: EnvelopeId, now: Timestamp) -> Result<Date, Error> {
    let placed = if id.made_at() > now { rows::place_ahead(client, id).await? } else { None };
    Ok(placed.unwrap_or(id.day()))
}

/// A range in two, the first half last; one of a single event as it is.
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
        (Error::Database(_), None) => "refused as a value that the database cannot hold".to_owned(),
        (error, _) => error.to_string(),
    };
    Bad { reason, sqlstate: error.sqlstate().map(str::to_owned), unfit: false }
}
