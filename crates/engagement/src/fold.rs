//! From events to deltas, without IO.
//!
//! A [`Fold`] holds the events of the new envelopes of a batch in order. Each step asks it for candidates
//! ([`Fold::keys`], [`Fold::views`], [`Fold::likes`]), the database answers which of them are new, and the fold
//! takes the answer; what is left undecided at the end counts. For events in the order of their acceptance the result
//! does not depend on how they were cut into batches: likes and unlikes that a batch holds for one account are
//! counted one by one from the state that the upsert replaced, exactly as if each had come alone. (Out of order the
//! totals are still the same: the newest wins. Whether what it overtook was a change or a repeat is not.)

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use events::{Action, Channel, EngagementEvent, EngagementKind};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Outcome, window};

/// How long a key is remembered after its event, in hours: a day is promised, two leave room for clocks. The database
/// adds what the event was late (`event_key_insert.sql`).
const KEY_REMEMBERED_HOURS: i64 = 48;

/// A row of `blog_view` or `blog_view_history`.
pub(crate) type View = (Timestamp, i64, i64);

/// A row of `blog_like`, at its newest version within the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Like {
    pub(crate) blog_id: i64,
    pub(crate) account_id: i64,
    pub(crate) liked: bool,
    pub(crate) version_us: i64,
    pub(crate) version_id: Uuid,
}

/// What to add to a row of `blog_hour`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hour {
    pub(crate) views: i64,
    pub(crate) likes: i64,
    pub(crate) unlikes: i64,
    pub(crate) shares: i64,
}

/// Everything to add, by key and so in key order.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Deltas {
    pub(crate) shares: BTreeMap<(i64, &'static str), i64>,
    pub(crate) hours: BTreeMap<(i64, Timestamp), Hour>,
    pub(crate) counters: BTreeMap<i64, (i64, i64, i64)>,
}

/// Events on their way to an outcome.
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

    /// Events of blogs that are not live are discarded.
    pub(crate) fn only_live(&mut self, live: &HashSet<i64>) {
        for (event, outcome) in self.events.iter().zip(&mut self.outcomes) {
            if !live.contains(&event.blog_id) {
                *outcome = Some(Outcome::Discarded);
            }
        }
    }

    /// Likes and unlikes of accounts that may not act are discarded.
    pub(crate) fn only_active(&mut self, active: &HashSet<i64>) {
        for (event, outcome) in self.events.iter().zip(&mut self.outcomes) {
            if account(event).is_some_and(|account_id| !active.contains(&account_id)) {
                *outcome = Some(Outcome::Discarded);
            }
        }
    }

    /// The keys of undecided events, sorted, each once, with the time until which it is remembered.
    pub(crate) fn keys(&self) -> BTreeMap<Uuid, Option<Timestamp>> {
        let remembered = |event: &EngagementEvent| {
            let hours = jiff::SignedDuration::from_hours(KEY_REMEMBERED_HOURS);
            (!event.imported).then(|| self.time(event).saturating_add(hours).unwrap_or(Timestamp::MAX))
        };
        self.undecided().filter_map(|(_, event)| Some((event.key?, remembered(event)))).collect()
    }

    /// Only the first event of each key that was free goes on.
    pub(crate) fn only_keys(&mut self, mut free: HashSet<Uuid>) {
        for (event, outcome) in self.events.iter().zip(&mut self.outcomes) {
            if outcome.is_none() && event.key.is_some_and(|key| !free.remove(&key)) {
                *outcome = Some(Outcome::Repeat);
            }
        }
    }

    /// The views of undecided events: recent ones and those of an imported past. None when every view counts.
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

    /// Only the first event of each view that was new counts.
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

    /// The likes and unlikes of undecided events, the newest for each blog and account, in key order.
    pub(crate) fn likes(&self) -> Vec<Like> {
        self.like_chains()
            .into_iter()
            .filter_map(|(key, chain)| Some((key, *chain.last()?)))
            .map(|(key, (_, event))| self.newest(key, event))
            .collect()
    }

    /// Takes what the upsert changed: for each blog and account whose row took the newest version, the state
    /// before. From there the chain of events is walked in the order of versions: an event that changes the state
    /// counts, one that says what is already so repeats. A row that kept a newer version makes all of them repeats.
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

    /// Whatever is still undecided counts: its deltas, and the outcome of every event in order.
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

    /// When the event counts.
    fn time(&self, event: &EngagementEvent) -> Timestamp {
        window::clamped(event.time, self.now)
    }

    /// The version of a like: when it was accepted, then its id.
    fn version(&self, event: &EngagementEvent) -> (i64, Uuid) {
        (self.time(event).as_microsecond(), event.id)
    }

    fn newest(&self, (blog_id, account_id): (i64, i64), event: &EngagementEvent) -> Like {
        let (version_us, version_id) = self.version(event);
        Like { blog_id, account_id, liked: is_like(event), version_us, version_id }
    }

    /// Undecided likes and unlikes by blog and account, each chain in the order of versions.
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

/// The account in whose name an event was sent, for those that are counted by account.
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
