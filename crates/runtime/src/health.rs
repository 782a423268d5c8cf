//! The health of a process. Each part reports that it works, or why it does not, and a rule decides whether the process is
//! ready. A process is degraded if a part does not work, even if it is still ready. `/readyz` shows both.

mod probe;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

pub use probe::{NotReady, ask};

/// When a process is ready.
#[derive(Debug, Clone, Copy)]
pub enum ReadyRule {
    /// While all parts work. Each of these parts counts as not working until it has reported; any other part counts once it
    /// has reported. Parts that only warn do not count.
    All(&'static [&'static str]),
    /// While at least one of these parts works. All other parts only degrade the process.
    AnyOf(&'static [&'static str]),
}

/// Collects the reports of a process's parts. Cheap to clone; all clones share the state.
#[derive(Debug, Clone)]
pub struct Health {
    rule: ReadyRule,
    parts: Arc<Mutex<BTreeMap<&'static str, Word>>>,
}

/// A part's latest report.
#[derive(Debug, Clone)]
struct Word {
    state: Result<(), String>,
    /// Whether the part counts for [`ReadyRule::All`].
    decides: bool,
}

impl Health {
    /// Creates the health of a process without any reports; the process is not ready yet.
    #[must_use]
    pub fn new(rule: ReadyRule) -> Self {
        Self { rule, parts: Arc::default() }
    }

    /// Records that a part works, or why it does not. The latest report counts. Changes are logged. If a part's first report
    /// is that it does not work yet, the log level is info.
    pub fn report(&self, part: &'static str, state: Result<(), String>) {
        self.put(part, Word { state, decides: true });
    }

    /// Returns a function that records reports like [`Health::report`], but for a part without which the process can work:
    /// its failure only degrades the process.
    pub fn warner(&self, part: &'static str) -> impl Fn(Result<(), String>) + Send + 'static {
        let health = self.clone();
        move |state| health.put(part, Word { state, decides: false })
    }

    fn put(&self, part: &'static str, word: Word) {
        let state = word.state.clone();
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let before = parts.insert(part, word).map(|word| word.state);
        drop(parts);
        match (before, state) {
            (Some(Ok(())), Ok(())) => {}
            (_, Ok(())) => tracing::info!(part, "works"),
            (Some(Err(known)), Err(reason)) if known == reason => {}
            (None, Err(reason)) => tracing::info!(part, reason, "does not work yet"),
            (Some(_), Err(reason)) => tracing::warn!(part, reason, "degraded"),
        }
    }

    /// The current status of the process.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let ReadyRule::All(expected) = self.rule {
            for part in expected {
                let silent = || Word { state: Err("has not reported yet".to_owned()), decides: true };
                parts.entry(part).or_insert_with(silent);
            }
        }
        let works = |part: &&str| parts.get(*part).is_some_and(|word| word.state.is_ok());
        let ready = match self.rule {
            ReadyRule::All(_) => parts.values().all(|word| word.state.is_ok() || !word.decides),
            ReadyRule::AnyOf(any) => any.iter().any(works),
        };
        let parts: BTreeMap<_, _> =
            parts.into_iter().map(|(part, word)| (part, PartStatus::from(word.state))).collect();
        let degraded = parts.iter().filter(|(_, status)| !status.works).map(|(part, _)| *part).collect();
        Status { ready, degraded, parts }
    }
}

/// The response of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether the process should receive traffic.
    pub ready: bool,
    /// The parts that do not work.
    pub degraded: Vec<&'static str>,
    /// All parts that have reported or should have reported.
    pub parts: BTreeMap<&'static str, PartStatus>,
}

/// One part's latest report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartStatus {
    /// Whether it works.
    pub works: bool,
    /// Why it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<Result<(), String>> for PartStatus {
    fn from(state: Result<(), String>) -> Self {
        Self { works: state.is_ok(), reason: state.err() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_ready_only_when_every_part_has_reported_that_it_works() {
        let health = Health::new(ReadyRule::All(&["broker", "database"]));
        health.report("database", Ok(()));
        let status = health.status();
        assert!(!status.ready, "the broker has not reported yet");
        assert_eq!(status.degraded, ["broker"]);
        assert_eq!(status.parts["broker"].reason.as_deref(), Some("has not reported yet"));
        health.report("broker", Ok(()));
        assert!(health.status().ready);
        health.report("wire", Err("a newer one".to_owned()));
        assert!(!health.status().ready, "an unlisted part counts once it has reported");
    }

    #[test]
    fn a_part_that_warns_degrades_a_ready_process() {
        let health = Health::new(ReadyRule::All(&["database"]));
        health.report("database", Ok(()));
        health.warner("role")(Err("role blogs_api has statement_timeout = '0'".to_owned()));
        let status = health.status();
        assert!(status.ready);
        assert_eq!(status.degraded, ["role"]);
    }

    #[test]
    fn any_of_is_ready_while_one_works_and_names_the_rest() {
        let health = Health::new(ReadyRule::AnyOf(&["broker", "outbox"]));
        health.report("cache", Ok(()));
        assert!(!health.status().ready, "neither of the two has reported");
        health.report("broker", Err("blocked".to_owned()));
        health.report("outbox", Ok(()));
        let status = health.clone().status();
        assert!(status.ready);
        assert_eq!(status.degraded, ["broker"]);
        health.report("outbox", Err("away".to_owned()));
        assert!(!health.status().ready);
    }
}
