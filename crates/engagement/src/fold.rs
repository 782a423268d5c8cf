//! Turns events into deltas, without IO.
//!
//! A [`Fold`] holds the events of a batch's new envelopes in order. In each step it names candidates ([`Fold::keys`],
//! [`Fold::views`], [`Fold::likes`]), the database reports which of them are new, and the fold records that answer. Events
//! that are still undecided at the end count. If events arrive in the order of their acceptance, the result does not depend
//! on how they are split into batches: the likes and unlikes of one account are counted one by one from the state that the
//! upsert replaced, as if each had arrived alone. If events arrive out of order, the totals are still the same, because the
//! newest version wins. Only the outcome of an overtaken event may differ: it either counts or is a repeat.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use events::{Action, Channel, EngagementEvent, EngagementKind};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Outcome, window};

/// How long a key is remembered after its event, in hours. One day is promised; the second day allows for clock skew. If an
/// event is late, the database adds the delay (`event_key_insert.sql`).
const KEY_REMEMBERED_HOURS: i64 = 48;

/// A row of `blog_view` or `blog_view_history`.
pub(crate) type View = (Timestamp, i64, i64);

/// A row of `blog_like` at its newest version in the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Like {
    pub(crate) blog_id: i64,
    pub(crate) account_id: i64,
    pub(crate) liked: bool,
    pub(crate) version_us: i64,
    pub(crate) version_id: Uuid,
}

/// The amounts to add to a row of `blog_hour`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hour {
    pub(crate) views: i64,
    pub(crate) likes: i64,
    pub(crate) unlikes: i64,
    pub(crate) shares: i64,
}

/// All amounts to add. The maps keep them in key order.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Deltas {
    pub(crate) shares: BTreeMap<(i64, &'static str), i64>,
    pub(crate) hours: BTreeMap<(i64, Timestamp), Hour>,
    pub(crate) counters: BTreeMap<i64, (i64, i64, i64)>,
}

/// Events and the outcomes decided so far.
pub(crate) struct Fold<'batch> {
    view_window_s: u32,
    /// The database's clock when the transaction began.
    now: Timestamp,
    events: Vec<&'batch EngagementEvent>,
    outcomes: Vec<Option<Outcome>>,
}

impl<'batch> Fold<'batch> {
    pub(crate) fn new(view_window_s: u32, now: Timestamp, events: Vec<&'batch EngagementEvent>) -> Self {
        let outcomes = vec![None; events.len()];
        Self { view_window_s, now, events, outcomes }
    }

    /// Discards events of blogs that are not live.
    pub(crate) fn only_live(&mut self, live: &HashSet<i64>) {
        for (event, outcome) in self.events.iter().zip(&mut self.outcomes) {
            if !live.contains(&event.blog_id) {
                *outcome = Some(Outcome::Discarded);
            }
        }
    }

    /// Discards likes and unlikes of accounts that may not act.
    pub(crate) fn only_active(&mut self, active: &HashSet<i64>) {
        for (event, outcome) in self.events.iter().zip(&mut self.outcomes) {
            if account(event).is_some_and(|account_id| !active.contains(&account_id)) {
                *outcome = Some(Outcome::Discarded);
            }
        }
    }

    /// The keys of undecided events, sorted and without duplicates, with the time until which each is remembered.
    pub(crate) fn keys(&self) -> BTreeMap<Uuid, Option<Timestamp>> {
        let remembered = |event: &EngagementEvent| {
            let hours = jiff::SignedDuration::from_hours(KEY_REMEMBERED_HOURS);
            (!event.imported).then(|| self.time(event).saturating_add(hours).unwrap_or(Timestamp::MAX))
        };
        self.undecided().filter_map(|(_, event)| Some((event.key?, remembered(event)))).collect()
    }

    /// Keeps the first event of each free key; the others are repeats.
    pub(crate) fn only_keys(&mut self, mut free: HashSet<Uuid>) {
        for (event, outcome) in self.events.iter().zip(&mut self.outcomes) {
            if outcome.is_none() && event.key.is_some_and(|key| !free.remove(&key)) {
                *outcome = Some(Outcome::Repeat);
            }
        }
    }

    /// The views of undecided events: recent views and imported views. Empty if every view counts.
    pub(crate) fn views(&self) -> (BTreeSet<View>, BTreeSet<View>) {
        let (mut recent, mut history) = (BTreeSet::new(), BTreeSet::new());
        for (_, event) in self.undecided() {
            if let Some(view) = self.view(event) {
                if event.imported {
                    history.insert(view)
                } else {
                    recent.insert(view)
                };
            }
        }
        (recent, history)
    }

    /// Keeps the first event of each new view; the others are repeats.
    pub(crate) fn only_views(&mut self, mut recent: HashSet<View>, mut history: HashSet<View>) {
        for index in 0..self.events.len() {
            let (Some(event), Some(None)) = (self.events.get(index), self.outcomes.get(index)) else {
                continue;
            };
            let Some(view) = self.view(event) else { continue };
            let new = if event.imported { &mut history } else { &mut recent };
            if !new.remove(&view) {
                self.decide(index, Outcome::Repeat);
            }
        }
    }

    /// The newest undecided like or unlike of each blog and account, in key order.
    pub(crate) fn likes(&self) -> Vec<Like> {
        self.like_chains()
            .into_iter()
            .filter_map(|(key, chain)| Some((key, *chain.last()?)))
            .map(|(key, (_, event))| self.newest(key, event))
            .collect()
    }

    /// Records what the upsert changed: the previous state of each blog and account whose row took the newest version. From
    /// that state, events are applied in the order of their versions. An event that changes the state counts; an event that
    /// confirms it is a repeat. If the row kept a newer version, all events of the chain are repeats.
    pub(crate) fn likes_were(&mut self, were: &HashMap<(i64, i64), bool>) {
        let mut decisions = Vec::new();
        for ((blog_id, account_id), chain) in self.like_chains() {
            let mut state = were.get(&(blog_id, account_id)).copied();
            for (index, _, liked) in chain.into_iter().map(|(index, event)| (index, event, is_like(event))) {
                match &mut state {
                    Some(state) if *state != liked => *state = liked,
                    _ => decisions.push(index),
                }
            }
        }
        for index in decisions {
            self.decide(index, Outcome::Repeat);
        }
    }

    /// Counts all events that are still undecided. Returns their deltas, and the outcome of every event in order.
    pub(crate) fn finish(self) -> (Deltas, Vec<Outcome>) {
        let mut deltas = Deltas::default();
        for (_, event) in self.undecided() {
            deltas.add(event, self.time(event));
        }
        let outcomes = self.outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Counted)).collect();
        (deltas, outcomes)
    }

    fn undecided(&self) -> impl Iterator<Item = (usize, &'batch EngagementEvent)> + '_ {
        let undecided = |(index, (event, outcome)): (usize, (&&'batch EngagementEvent, &Option<Outcome>))| {
            outcome.is_none().then_some((index, *event))
        };
        self.events.iter().zip(&self.outcomes).enumerate().filter_map(undecided)
    }

    fn decide(&mut self, index: usize, decided: Outcome) {
        if let Some(outcome) = self.outcomes.get_mut(index) {
            *outcome = Some(decided);
        }
    }

    fn view(&self, event: &EngagementEvent) -> Option<View> {
        match event.action {
            Action::Viewed(visitor) if self.view_window_s > 0 => {
                Some((window::start(self.time(event), self.view_window_s), event.blog_id, visitor.to_i64()))
            }
            _ => None,
        }
    }

    /// The time at which the event counts.
    fn time(&self, event: &EngagementEvent) -> Timestamp {
        window::clamped(event.time, self.now)
    }

    /// The version of a like: the time of its acceptance, then its id.
    fn version(&self, event: &EngagementEvent) -> (i64, Uuid) {
        (self.time(event).as_microsecond(), event.id)
    }

    fn newest(&self, (blog_id, account_id): (i64, i64), event: &EngagementEvent) -> Like {
        let (version_us, version_id) = self.version(event);
        Like { blog_id, account_id, liked: is_like(event), version_us, version_id }
    }

    /// Undecided likes and unlikes by blog and account, each chain sorted by version.
    fn like_chains(&self) -> BTreeMap<(i64, i64), Vec<(usize, &'batch EngagementEvent)>> {
        let mut chains: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (index, event) in self.undecided() {
            if let Some(account_id) = account(event) {
                chains.entry((event.blog_id, account_id)).or_default().push((index, event));
            }
        }
        for chain in chains.values_mut() {
            chain.sort_by_key(|(_, event)| self.version(event));
        }
        chains
    }
}

impl Deltas {
    fn add(&mut self, event: &EngagementEvent, time: Timestamp) {
        let hour = self.hours.entry((event.blog_id, window::hour(time))).or_default();
        let (views, likes, shares) = self.counters.entry(event.blog_id).or_default();
        match event.action.kind() {
            EngagementKind::View => (hour.views, *views) = (hour.views + 1, *views + 1),
            EngagementKind::Like => (hour.likes, *likes) = (hour.likes + 1, *likes + 1),
            EngagementKind::Unlike => (hour.unlikes, *likes) = (hour.unlikes + 1, *likes - 1),
            EngagementKind::Share => (hour.shares, *shares) = (hour.shares + 1, *shares + 1),
        }
        if let Action::Shared(channel) = event.action {
            *self.shares.entry((event.blog_id, Channel::name(channel))).or_default() += 1;
        }
    }
}

/// The account of a like or unlike. Views and shares are not counted by account.
pub(crate) fn account(event: &EngagementEvent) -> Option<i64> {
    match event.action {
        Action::Liked { account_id } | Action::Unliked { account_id } => Some(account_id),
        Action::Viewed(_) | Action::Shared(_) => None,
    }
}

fn is_like(event: &EngagementEvent) -> bool {
    matches!(event.action, Action::Liked { .. })
}

#[cfg(test)]
mod tests;
