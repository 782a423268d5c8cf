//! Compares the fold with a model that applies events one at a time, and with itself for other batch boundaries.

use std::collections::{BTreeMap, HashMap, HashSet};

use events::{Action, Channel, EngagementEvent, Visitor};
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Deltas, Fold, Hour, View};
use crate::Outcome;

/// Answers like the database, from memory.
#[derive(Default)]
struct Tables {
    keys: HashSet<Uuid>,
    views: HashSet<View>,
    history: HashSet<View>,
    likes: HashMap<(i64, i64), (bool, (i64, Uuid))>,
    shares: BTreeMap<(i64, &'static str), i64>,
    hours: BTreeMap<(i64, Timestamp), Hour>,
    counters: BTreeMap<i64, (i64, i64, i64)>,
}

const LIVE: [i64; 3] = [1, 2, 3];
const ACTIVE: [i64; 2] = [0, 1];

impl Tables {
    fn apply(&mut self, batch: &[EngagementEvent]) -> Vec<Outcome> {
        let mut fold = Fold::new(1800, Timestamp::MAX, batch.iter().collect());
        fold.only_live(&LIVE.into());
        fold.only_active(&ACTIVE.into());
        let free = fold.keys().into_keys().filter(|key| self.keys.insert(*key)).collect();
        fold.only_keys(free);
        let ((recent, history), likes) = (fold.views(), fold.likes());
        let recent = recent.into_iter().filter(|view| self.views.insert(*view)).collect();
        let history = history.into_iter().filter(|view| self.history.insert(*view)).collect();
        fold.only_views(recent, history);
        let mut were = HashMap::new();
        for like in likes {
            let version = (like.version_us, like.version_id);
            let row =
                self.likes.entry((like.blog_id, like.account_id)).or_insert((false, (i64::MIN, Uuid::nil())));
            if version > row.1 {
                were.insert((like.blog_id, like.account_id), row.0);
                *row = (like.liked, version);
            }
        }
        fold.likes_were(&were);
        let (deltas, outcomes) = fold.finish();
        self.add(&deltas);
        outcomes
    }

    fn add(&mut self, deltas: &Deltas) {
        for (key, shares) in &deltas.shares {
            *self.shares.entry(*key).or_default() += shares;
        }
        for (key, hour) in &deltas.hours {
            let row = self.hours.entry(*key).or_default();
            row.views += hour.views;
            row.likes += hour.likes;
            row.unlikes += hour.unlikes;
            row.shares += hour.shares;
        }
        for (key, (views, likes, shares)) in &deltas.counters {
            let row = self.counters.entry(*key).or_default();
            *row = (row.0 + views, row.1 + likes, row.2 + shares);
        }
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (0_u64..4).prop_map(|visitor| Action::Viewed(Visitor(visitor))),
        (0_i64..3).prop_map(|account_id| Action::Liked { account_id }),
        (0_i64..3).prop_map(|account_id| Action::Unliked { account_id }),
        (0..Channel::ALL.len()).prop_map(|index| Action::Shared(Channel::ALL[index])),
    ]
}

/// Events in the order of their acceptance. Few blogs, accounts and visitors, so that events collide.
fn history() -> impl Strategy<Value = Vec<EngagementEvent>> {
    let one = (0_i64..4, action(), proptest::option::of(0_u128..6), any::<bool>(), 1_i64..400_000_000);
    proptest::collection::vec(one, 0..60).prop_map(|rows| {
        let mut time_us = 1_790_000_000_000_000_i64;
        let event = |(index, (blog_id, action, key, imported, step)): (
            usize,
            (i64, Action, Option<u128>, bool, i64),
        )| {
            time_us += step;
            EngagementEvent {
                id: Uuid::from_u128(u128::try_from(index).unwrap()),
                blog_id,
                time: Timestamp::from_microsecond(time_us).unwrap(),
                action,
                key: key.map(Uuid::from_u128),
                imported,
            }
        };
        rows.into_iter().enumerate().map(event).collect()
    })
}

proptest! {
    #[test]
    fn the_split_into_batches_does_not_change_the_result(events in history(), cuts in proptest::collection::vec(1_usize..20, 0..30)) {
        let (mut alone, mut batched) = (Tables::default(), Tables::default());
        let one_by_one: Vec<_> = events.iter().flat_map(|event| alone.apply(std::slice::from_ref(event))).collect();
        let mut rest = events.as_slice();
        let mut in_batches = Vec::new();
        for cut in cuts.into_iter().chain(std::iter::repeat(events.len().max(1))) {
            if rest.is_empty() { break }
            let (batch, after) = rest.split_at(cut.min(rest.len()));
            in_batches.extend(batched.apply(batch));
            rest = after;
        }
        prop_assert_eq!(one_by_one, in_batches);
        prop_assert_eq!(&alone.counters, &batched.counters);
        prop_assert_eq!(&alone.hours, &batched.hours);
        prop_assert_eq!(&alone.shares, &batched.shares);
        prop_assert_eq!(&alone.likes, &batched.likes);
        prop_assert_eq!(&alone.views, &batched.views);
    }

    #[test]
    fn totals_match_the_natural_keys_and_the_series(events in history(), seed: u64) {
        // In any order of arrival the totals match the natural keys, and the hourly series adds up to the totals.
        let mut order: Vec<usize> = (0..events.len()).collect();
        order.sort_by_key(|index| (*index as u64).wrapping_mul(seed | 1).rotate_left(17));
        let mut tables = Tables::default();
        let shuffled: Vec<_> = order.iter().map(|index| events[*index].clone()).collect();
        let mut counted = 0;
        for batch in shuffled.chunks(7) {
            counted += tables.apply(batch).iter().filter(|outcome| **outcome == Outcome::Counted).count();
        }
        let mut sums: BTreeMap<i64, (i64, i64, i64)> = BTreeMap::new();
        let mut in_series = 0;
        for ((blog_id, _), hour) in &tables.hours {
            let sum = sums.entry(*blog_id).or_default();
            *sum = (sum.0 + hour.views, sum.1 + hour.likes - hour.unlikes, sum.2 + hour.shares);
            in_series += hour.views + hour.likes + hour.unlikes + hour.shares;
        }
        prop_assert_eq!(&sums, &tables.counters);
        prop_assert_eq!(i64::try_from(counted).unwrap(), in_series);
        for (blog_id, (views, likes, shares)) in &tables.counters {
            let rows = tables.views.iter().chain(&tables.history).filter(|view| view.1 == *blog_id).count();
            prop_assert_eq!(*views, i64::try_from(rows).unwrap());
            let liking = tables.likes.iter().filter(|((blog, _), (liked, _))| blog == blog_id && *liked).count();
            prop_assert_eq!(*likes, i64::try_from(liking).unwrap());
            let channels: i64 = tables.shares.iter().filter(|((blog, _), _)| blog == blog_id).map(|(_, n)| n).sum();
            prop_assert_eq!(*shares, channels);
        }
    }
}

#[test]
fn without_a_window_every_view_counts_and_leaves_no_row() {
    let event = |id: u128| EngagementEvent {
        id: Uuid::from_u128(id),
        blog_id: 1,
        time: Timestamp::UNIX_EPOCH,
        action: Action::Viewed(Visitor(7)),
        key: None,
        imported: false,
    };
    let events = [event(1), event(2)];
    let mut fold = Fold::new(0, Timestamp::MAX, events.iter().collect());
    fold.only_live(&LIVE.into());
    assert_eq!(fold.views(), Default::default());
    fold.only_views(HashSet::new(), HashSet::new());
    let (deltas, outcomes) = fold.finish();
    assert_eq!(outcomes, [Outcome::Counted; 2]);
    assert_eq!(deltas.counters[&1], (2, 0, 0));
}
