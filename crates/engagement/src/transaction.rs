//! Applies one batch in one transaction, table by table.
//!
//! Statements that do not depend on each other's results are pipelined. A batch of any size takes five round trips, and
//! one more if an event has a key. When a statement fails, the statements behind it fail only because the transaction is
//! aborted, and their errors may arrive first. The code therefore awaits every result and reports the first error in
//! statement order. All locks, from new ledger rows to the shared outcome rows at the end, are taken in key order.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use database::TransactionStep;
use deadpool_postgres::{Object, Transaction};
use events::EngagementEvent;
use futures_util::join;
use jiff::Timestamp;
use uuid::Uuid;

use crate::batch::Redriving;
use crate::error::Error;
use crate::fold::{self, Deltas, Fold};
use crate::rows::{self, Parked};
use crate::{Applied, Incoming, OnBadEvent, Outcome, window};

/// The kind recorded for an event that could not be read.
pub(crate) const UNREADABLE: &str = "unreadable";

/// The part of a batch that an attempt applies. Events are numbered through the whole batch, from 0.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// For a trial: apply only these events and ignore the others.
    pub(crate) only: Option<Range<usize>>,
    /// Events that the database rejects.
    pub(crate) bad: BTreeMap<usize, Bad>,
    /// Envelopes whose day the ledger no longer holds or cannot hold yet. They are parked whole.
    pub(crate) outside: BTreeSet<usize>,
}

/// Why an event is parked or refused.
#[derive(Debug, Clone)]
pub(crate) struct Bad {
    pub(crate) reason: String,
    pub(crate) sqlstate: Option<String>,
    /// The event itself is at fault, not the worker or the database.
    pub(crate) unfit: bool,
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    /// A trial that only shows whether the database accepts the events.
    RollBack,
}

/// An event's position in the batch, its envelope, and its index in that envelope.
type Place = (usize, usize, usize);

/// One attempt at a batch.
pub(crate) struct Attempt<'batch> {
    pub(crate) batch: &'batch [Incoming],
    pub(crate) selection: &'batch Selection,
    pub(crate) on_bad: OnBadEvent,
    pub(crate) view_window_s: u32,
    pub(crate) redriving: Option<&'batch Redriving>,
}

impl<'batch> Attempt<'batch> {
    pub(crate) async fn run(&self, client: &mut Object, end: End) -> Result<Applied, Error> {
        rows::prepare(client).await?;
        if self.redriving.is_some() {
            rows::prepare_redrive(client).await?;
        }
        let transaction =
            client.transaction().await.map_err(database::Error::transaction(TransactionStep::Begin))?;
        let applied = self.write(&transaction).await?;
        match end {
            End::Commit => {
                // `join!` polls this block after COMMIT is sent, so a chaos run can kill the process before the reply arrives.
                let (committed, ()) = join!(database::commit(transaction), async {
                    #[cfg(feature = "fail-points")]
                    fail::fail_point!("worker-in-commit");
                });
                if let Err(source) = committed {
                    return Err(Error::Committing { source, applied: Box::new(applied) });
                }
            }
            End::RollBack => {
                transaction
                    .rollback()
                    .await
                    .map_err(database::Error::transaction(TransactionStep::RollBack))?;
            }
        }
        Ok(applied)
    }

    async fn write(&self, transaction: &Transaction<'_>) -> Result<Applied, Error> {
        let (envelopes, blogs, accounts) = (self.envelopes(), self.blogs(), self.accounts_that_like());
        // Insert into the ledger first: this gives the transaction its id before it reads accounts.
        let (fresh, live, active) = join!(
            self.fresh(transaction, &envelopes),
            rows::live_blogs(transaction, &blogs),
            rows::active_accounts(transaction, &accounts)
        );
        let (fresh, live, active) = (fresh?, live?, active?);

        let rows::Fresh { ids: fresh, now } = fresh;
        // Without a new envelope nothing is counted, and the time does not matter.
        let now = now.unwrap_or(Timestamp::MAX);
        let (places, events) = self.fresh_events(fresh.clone());
        let mut fold = Fold::new(self.view_window_s, now, events);
        fold.only_live(&live);
        fold.only_active(&active);
        let keys = fold.keys();
        if !keys.is_empty() {
            fold.only_keys(rows::keys_insert(transaction, &keys).await?);
        }
        let ((recent, history), likes) = (fold.views(), fold.likes());
        let (recent, history, were) = join!(
            rows::views_insert(transaction, &recent),
            rows::view_history_insert(transaction, &history),
            rows::likes_upsert(transaction, &likes)
        );
        fold.only_views(recent?, history?);
        fold.likes_were(&were?);
        let (deltas, decided) = fold.finish();

        let mut outcomes = self.undecided_outcomes(fresh);
        for ((_, envelope, index), decided) in places.into_iter().zip(decided) {
            if let Some(outcome) = outcomes.get_mut(envelope).and_then(|of| of.get_mut(index)) {
                *outcome = decided;
            }
        }
        #[cfg(feature = "fail-points")]
        fail::fail_point!("worker-mid-batch");
        let totals = self.write_deltas(transaction, now, &deltas, &outcomes, &blogs).await?;
        Ok(Applied { outcomes, totals })
    }

    /// Writes the fold's deltas; all statements are pipelined.
    async fn write_deltas(
        &self,
        transaction: &Transaction<'_>,
        now: Timestamp,
        deltas: &Deltas,
        outcomes: &[Vec<Outcome>],
        blogs: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, crate::Totals>, Error> {
        let (parked, accounts) = (self.parked(outcomes, now), self.accounts(outcomes, now));
        let nothing = BTreeSet::new();
        let asked = if self.on_bad == OnBadEvent::Refuse { blogs } else { &nothing };
        let (taken_in, some_good) = self.taken_in(outcomes);
        let (shares, hours, locked, counters, marked, parked, noted, accounted, totals) = join!(
            rows::shares_add(transaction, deltas),
            rows::hours_add(transaction, deltas),
            rows::counters_lock(transaction, deltas),
            rows::counters_add(transaction, deltas),
            rows::mark_redriven(transaction, self.redriving),
            rows::park(transaction, &parked),
            rows::intake_add(transaction, taken_in, some_good),
            rows::outcomes_add(transaction, &accounts),
            rows::totals(transaction, asked)
        );
        shares.and(hours).and(locked)?;
        let (counters, marked) = (counters?, marked?);
        parked.and(noted).and(accounted)?;
        if !marked {
            return Err(Error::Changed);
        }
        if counters != u64::try_from(deltas.counters.len()).unwrap_or(u64::MAX) {
            return Err(Error::NoCounter);
        }
        Ok(totals?)
    }

    /// The envelopes that are new to the ledger. The envelope of a redriven event is already in the ledger although that
    /// event is not counted yet, so it is treated as new.
    async fn fresh(
        &self,
        transaction: &Transaction<'_>,
        envelopes: &BTreeMap<events::EnvelopeId, i32>,
    ) -> Result<rows::Fresh, database::Error> {
        if self.redriving.is_none_or(|row| row.parked_as.is_none()) {
            return rows::ledger_insert(transaction, envelopes).await;
        }
        let now = rows::take_transaction_id(transaction).await?;
        Ok(rows::Fresh { ids: envelopes.keys().map(|id| id.as_uuid()).collect(), now: Some(now) })
    }

    /// The envelopes for the ledger, each id once, with the number of events that the ledger records for it.
    fn envelopes(&self) -> BTreeMap<events::EnvelopeId, i32> {
        let mut first = 0;
        let mut envelopes = BTreeMap::new();
        for (position, envelope) in self.batch.iter().enumerate() {
            let positions = first..first + envelope.events.len();
            first = positions.end;
            if self.selection.outside.contains(&position) {
                continue;
            }
            let refused = match self.on_bad {
                OnBadEvent::Park => 0,
                OnBadEvent::Refuse => self.selection.bad.range(positions).count(),
            };
            let n = i32::try_from(envelope.events.len() - refused).unwrap_or(i32::MAX);
            envelopes.entry(envelope.id).or_insert(n);
        }
        envelopes
    }

    /// The blogs of all events that might count.
    fn blogs(&self) -> BTreeSet<i64> {
        self.events().map(|(_, event)| event.blog_id).collect()
    }

    /// The accounts of all likes and unlikes that might count.
    fn accounts_that_like(&self) -> BTreeSet<i64> {
        self.events().filter_map(|(_, event)| fold::account(event)).collect()
    }

    /// The readable events of the selection, with their places.
    fn events(&self) -> impl Iterator<Item = (Place, &'batch EngagementEvent)> {
        self.places().filter_map(|(place, event)| {
            let (position, envelope, _) = place;
            let selected = self.selection.only.as_ref().is_none_or(|only| only.contains(&position))
                && !self.selection.bad.contains_key(&position)
                && !self.selection.outside.contains(&envelope);
            event.as_ref().ok().filter(|_| selected).map(|event| (place, event))
        })
    }

    fn places(&self) -> impl Iterator<Item = (Place, &'batch Result<EngagementEvent, events::Malformed>)> {
        let in_envelopes = self.batch.iter().enumerate().flat_map(|(envelope, incoming)| {
            incoming.events.iter().enumerate().map(move |(index, event)| (envelope, index, event))
        });
        in_envelopes
            .enumerate()
            .map(|(position, (envelope, index, event))| ((position, envelope, index), event))
    }

    /// The events of new envelopes. If the batch contains an envelope twice, only the first copy is new.
    fn fresh_events(&self, mut fresh: HashSet<Uuid>) -> (Vec<Place>, Vec<&'batch EngagementEvent>) {
        let new: Vec<bool> = self.batch.iter().map(|envelope| fresh.remove(&envelope.id.as_uuid())).collect();
        self.events().filter(|((_, envelope, _), _)| new.get(*envelope).copied().unwrap_or(false)).unzip()
    }

    /// The outcome of each event before the fold decides: parked, refused, or replayed. A refused event stays refused even
    /// if the ledger already holds its envelope.
    fn undecided_outcomes(&self, mut fresh: HashSet<Uuid>) -> Vec<Vec<Outcome>> {
        let set_aside = match self.on_bad {
            OnBadEvent::Park => Outcome::Parked,
            OnBadEvent::Refuse => Outcome::Refused,
        };
        let mut position = 0;
        let mut outcomes = Vec::with_capacity(self.batch.len());
        for (envelope, incoming) in self.batch.iter().enumerate() {
            let new = fresh.remove(&incoming.id.as_uuid()) || self.selection.outside.contains(&envelope);
            let refused =
                |position| self.on_bad == OnBadEvent::Refuse && self.selection.bad.contains_key(&position);
            let outcome = |position| if new || refused(position) { set_aside } else { Outcome::Replayed };
            outcomes.push((position..position + incoming.events.len()).map(outcome).collect());
            position += incoming.events.len();
        }
        debug_assert_eq!(position, self.places().count());
        outcomes
    }

    /// The rows for `parked`: the events of new envelopes that are set aside.
    fn parked(&self, outcomes: &[Vec<Outcome>], now: Timestamp) -> Vec<Parked<'batch>> {
        let is_parked = |envelope: usize, index: usize| {
            outcomes.get(envelope).and_then(|of| of.get(index)) == Some(&Outcome::Parked)
        };
        let in_trial = |position| self.selection.only.as_ref().is_none_or(|only| only.contains(&position));
        self.places()
            .filter(|((position, envelope, index), _)| is_parked(*envelope, *index) && in_trial(*position))
            .filter_map(|((position, envelope, index), event)| {
                let incoming = self.batch.get(envelope)?;
                let outside = self.selection.outside.contains(&envelope);
                let bad = self.selection.bad.get(&position);
                let (kind, body, unreadable) = match event {
                    Ok(event) => {
                        let time = window::clamped(event.time, now);
                        let event = EngagementEvent { time, ..event.clone() };
                        (Some(event.action.kind().name()), events::codec::encode_engagement(&event), None)
                    }
                    Err(malformed) => (None, malformed.body.clone().into_bytes(), Some(&malformed.reason)),
                };
                let reason = if outside {
                    "late: the ledger does not hold the day of this envelope".to_owned()
                } else {
                    bad.map(|bad| bad.reason.clone()).or_else(|| unreadable.cloned())?
                };
                Some(Parked {
                    envelope_id: incoming.id.as_uuid(),
                    index: i32::try_from(index).unwrap_or(i32::MAX),
                    kind,
                    reason,
                    sqlstate: bad.and_then(|bad| bad.sqlstate.as_deref()),
                    body,
                    traceparent: incoming.traceparent.as_deref(),
                    in_ledger: !outside,
                    attempts: 1,
                    key: event.as_ref().ok().and_then(|event| event.key),
                    unfit: outside || unreadable.is_some() || bad.is_some_and(|bad| bad.unfit),
                })
            })
            .collect()
    }

    /// How many new events a worker takes in, and whether at least one of them is not parked. Direct writes and redrives
    /// record nothing here.
    fn taken_in(&self, outcomes: &[Vec<Outcome>]) -> (usize, bool) {
        if self.on_bad == OnBadEvent::Refuse || self.redriving.is_some() {
            return (0, false);
        }
        let new = || outcomes.iter().flatten().filter(|outcome| **outcome != Outcome::Replayed);
        (new().count(), new().any(|outcome| *outcome != Outcome::Parked))
    }

    /// Outcomes by the envelope's hour, for all events that the ledger records.
    fn accounts(
        &self,
        outcomes: &[Vec<Outcome>],
        now: Timestamp,
    ) -> BTreeMap<(Timestamp, &'static str, Outcome), i64> {
        let mut accounts = BTreeMap::new();
        for ((_, envelope, index), event) in self.places() {
            let outcome = outcomes.get(envelope).and_then(|of| of.get(index)).copied();
            let (Some(outcome), Some(incoming)) = (outcome, self.batch.get(envelope)) else { continue };
            let outside = self.selection.outside.contains(&envelope);
            if outside || matches!(outcome, Outcome::Refused | Outcome::Replayed) {
                continue;
            }
            let kind = event.as_ref().map_or(UNREADABLE, |event| event.action.kind().name());
            let hour = window::hour(window::clamped(incoming.id.made_at(), now));
            *accounts.entry((hour, kind, outcome)).or_default() += 1;
        }
        if let Some((hour, kind)) = self.redriving.and_then(|row| row.parked_as) {
            *accounts.entry((hour, kind, Outcome::Parked)).or_default() -= 1;
        }
        accounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{Action, EnvelopeId};

    #[test]
    fn refused_event_stays_refused_when_the_ledger_holds_its_envelope() {
        let event = || {
            Ok(EngagementEvent {
                id: Uuid::now_v7(),
                blog_id: 1,
                time: Timestamp::UNIX_EPOCH,
                action: Action::Liked { account_id: 1 },
                key: None,
                imported: false,
            })
        };
        let incoming =
            Incoming { id: EnvelopeId::now(), traceparent: None, events: vec![event(), event(), event()] };
        let mut selection = Selection::default();
        selection.bad.insert(1, Bad { reason: String::new(), sqlstate: None, unfit: false });
        let undecided = |on_bad, fresh: HashSet<Uuid>| {
            let batch = std::slice::from_ref(&incoming);
            Attempt { batch, selection: &selection, on_bad, view_window_s: 0, redriving: None }
                .undecided_outcomes(fresh)
        };
        let replayed = Outcome::Replayed;
        let known = undecided(OnBadEvent::Refuse, HashSet::new());
        assert_eq!(known, [[replayed, Outcome::Refused, replayed]]);
        assert_eq!(undecided(OnBadEvent::Park, HashSet::new()), [[replayed; 3]]);
        let new = HashSet::from([incoming.id.as_uuid()]);
        assert_eq!(undecided(OnBadEvent::Refuse, new), [[Outcome::Refused; 3]]);
    }
}
