//! The results of a run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::account::Alone;
use crate::faults::Done;

/// The result of a run. It is good if there are no differences.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The seed of the plan.
    pub seed: u64,
    /// Seconds from the first request to the last answer.
    pub load_s: f64,
    /// Seconds from the last answer until everything was accounted for.
    pub drain_s: f64,
    /// PostgreSQL's version.
    pub postgres: String,
    /// The versions of RabbitMQ and Erlang.
    pub rabbitmq: String,
    /// Requests that were sent.
    pub requests: u64,
    /// Events that were accepted.
    pub accepted: i64,
    /// Events that were refused.
    pub refused: i64,
    /// Events with an unknown outcome.
    pub unknown: i64,
    /// Events that the ledger took in.
    pub ledger: i64,
    /// Events with a blog of their own.
    pub alone: Alone,
    /// The faults, and how often each hit work in progress.
    pub done: BTreeMap<String, Done>,
    /// The measurements with one outage at a time.
    pub resumed: Resumed,
    /// Answers more than 100 ms after the deadline, without those slowed down on their way.
    pub late: u64,
    /// The slowest answer of those, in milliseconds.
    pub slowest_ms: u64,
    /// Deadlocks.
    pub deadlocks: i64,
    /// Parked events.
    pub parked: i64,
    /// All differences from the required results.
    pub differences: Vec<String>,
}

/// The measurements with one outage at a time and no other fault; the worst of several rounds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Resumed {
    /// The number of rounds.
    pub rounds: u32,
    /// Milliseconds from RabbitMQ's port listening until every API publishes again.
    pub publishing_ms: u64,
    /// Milliseconds from Postgres accepting connections until events are counted again.
    pub counting_ms: u64,
    /// Events counted while a backlog drained, divided by events accepted meanwhile; none without a backlog.
    pub drain_ratio: Option<f64>,
    /// The results by kind of outage.
    pub outages: Vec<Outage>,
}

/// One kind of outage.
#[derive(Debug, Clone, Serialize)]
pub struct Outage {
    /// The server, and the kind of its outage.
    pub what: &'static str,
    /// Events accepted per second before the outage.
    pub before_per_s: f64,
    /// Events accepted per second during the outage.
    pub away_per_s: f64,
    /// Events refused or unknown during the outage.
    pub not_accepted: u64,
    /// The slowest answer during the outage, in milliseconds.
    pub slowest_ms: u64,
}

impl Resumed {
    /// Keeps the worst values of both.
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
    /// True if there are no differences.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.differences.is_empty()
    }
}
