//! What a run found.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::account::Alone;
use crate::faults::Done;

/// The result of a run. It is good when nothing differs.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What the plan was made from.
    pub seed: u64,
    /// From the first request to the last answer.
    pub load_s: f64,
    /// From the last answer until everything was accounted for.
    pub drain_s: f64,
    /// PostgreSQL's version.
    pub postgres: String,
    /// RabbitMQ's and Erlang's.
    pub rabbitmq: String,
    /// Requests that were sent.
    pub requests: u64,
    /// Events that were accepted.
    pub accepted: i64,
    /// Events that were refused.
    pub refused: i64,
    /// Events of which neither is known.
    pub unknown: i64,
    /// Events that the ledger took in.
    pub ledger: i64,
    /// Events with a blog of their own.
    pub alone: Alone,
    /// What was done, and how often with something under way.
    pub done: BTreeMap<String, Done>,
    /// What was measured with one thing away at a time.
    pub resumed: Resumed,
    /// Answers that came more than 100 ms after a request's deadline, with nothing slowed down on their way.
    pub late: u64,
    /// The slowest answer of those, in milliseconds.
    pub slowest_ms: u64,
    /// Deadlocks.
    pub deadlocks: i64,
    /// Parked events.
    pub parked: i64,
    /// Everything that is not as it must be.
    pub differences: Vec<String>,
}

/// What was measured with one thing away at a time and nothing else done; the worst of several rounds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Resumed {
    /// How often each was away.
    pub rounds: u32,
    /// From RabbitMQ's port listening until every API publishes again, in milliseconds.
    pub publishing_ms: u64,
    /// From Postgres taking connections until events are counted again, in milliseconds.
    pub counting_ms: u64,
    /// Events counted while a backlog drained, over events accepted in the same time; nothing if there never was one.
    pub drain_ratio: Option<f64>,
    /// By what was away.
    pub outages: Vec<Outage>,
}

/// One way of being away.
#[derive(Debug, Clone, Serialize)]
pub struct Outage {
    /// What was away, and how.
    pub what: &'static str,
    /// Events accepted a second before.
    pub before_per_s: f64,
    /// Events accepted a second meanwhile.
    pub away_per_s: f64,
    /// Events refused or unknown from its beginning to its end.
    pub not_accepted: u64,
    /// The slowest answer from its beginning to its end, in milliseconds.
    pub slowest_ms: u64,
}

impl Resumed {
    /// Keeps the worst.
    pub(crate) fn add(&mut self, outage: Outage) {
        match self.outages.iter_mut().find(|known| known.what == outage.what) {
            None => self.outages.push(outage),
            Some(known) => {
                if outage.away_per_s < known.away_per_s {
                    (known.before_per_s, known.away_per_s) = (outage.before_per_s, outage.away_per_s);
                }
                known.not_accepted += outage.not_accepted;
                known.slowest_ms = known.slowest_ms.max(outage.slowest_ms);
            }
        }
    }
}

impl Report {
    /// Is everything as it must be?
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.differences.is_empty()
    }
}
