//! The results of the slower of the two collection loops.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::statistics::Costly;

/// Number of samples kept: one minute.
const ACTIVITY_KEPT: usize = 240;

/// The results of the slower loop; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings(Arc<Mutex<Found>>);

/// A copy of the results.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The latest samples of the busy sessions, by role.
    activity: VecDeque<Vec<(String, i64)>>,
    /// The expensive statistics, and when they were taken.
    pub(crate) costly: Option<(Timestamp, Costly)>,
}

impl Findings {
    pub(crate) fn get(&self) -> Found {
        self.lock().clone()
    }

    /// Adds a sample of the busy sessions by role.
    pub(crate) fn put_busy(&self, busy: Vec<(String, i64)>) {
        let mut found = self.lock();
        found.activity.push_back(busy);
        if found.activity.len() > ACTIVITY_KEPT {
            found.activity.pop_front();
        }
    }

    /// Replaces the expensive statistics.
    pub(crate) fn put_costly(&self, costly: Costly) {
        self.lock().costly = Some((Timestamp::now(), costly));
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// The average number of busy sessions of each role over the last minute.
    pub(crate) fn busy(&self) -> Vec<(String, f64)> {
        let mut sessions: BTreeMap<&str, i64> = BTreeMap::new();
        for (role, busy) in self.activity.iter().flatten() {
            *sessions.entry(role).or_default() += busy;
        }
        let looks = self.activity.len().max(1) as f64;
        sessions.into_iter().map(|(role, busy)| (role.to_owned(), busy as f64 / looks)).collect()
    }
}
