//! What the slower of the two loops has found out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::statistics::Costly;

/// So many looks at who is busy make a minute.
const ACTIVITY_KEPT: usize = 240;

/// What the slower of the two loops has found out; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings(Arc<Mutex<Found>>);

/// What it was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The newest looks at who is busy: sessions by role.
    activity: VecDeque<Vec<(String, i64)>>,
    /// What is costly to ask for, and when it was asked.
    pub(crate) costly: Option<(Timestamp, Costly)>,
}

impl Findings {
    pub(crate) fn get(&self) -> Found {
        self.lock().clone()
    }

    /// Adds the newest look at the busy sessions by role.
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
    /// How many sessions of each role were executing something, on average over the last minute.
    pub(crate) fn busy(&self) -> Vec<(String, f64)> {
        let mut sessions: BTreeMap<&str, i64> = BTreeMap::new();
        for (role, busy) in self.activity.iter().flatten() {
            *sessions.entry(role).or_default() += busy;
        }
        let looks = self.activity.len().max(1) as f64;
        sessions.into_iter().map(|(role, busy)| (role.to_owned(), busy as f64 / looks)).collect()
    }
}
