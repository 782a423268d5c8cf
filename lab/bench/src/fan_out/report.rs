//! The results of a run as data, and the check against the tables.

use load::Tally;
use serde::Serialize;

use super::cost::Cost;
use crate::report::{DatabaseSettings, Median};

/// A method of notifying followers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// One statement, by hand.
    Raw,
    /// The worker, from the shared tables.
    Shared,
    /// Through two APIs, page by page.
    Middleman,
    /// Through two APIs, follower by follower.
    Naive,
}

impl Way {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "one raw insert … select",
            Self::Shared => "notification-worker, shared tables",
            Self::Middleman => "middleman over HTTP, pages",
            Self::Naive => "middleman over HTTP, one by one",
        }
    }
}

/// The notifications in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Notifications.
    pub rows: i64,
    /// Distinct recipients.
    pub recipients: i64,
    /// Expected recipients.
    pub expected: i64,
}

impl Told {
    /// True if every expected recipient has exactly one notification, and no other account has any.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.rows == self.expected && self.recipients == self.expected
    }
}

/// One method in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The method.
    pub way: Way,
    /// Counted from 1; 0 when a page size was tried.
    pub round: u32,
    /// Followers in a page, for the middleman.
    pub page: Option<u32>,
    /// Its cost.
    #[serde(flatten)]
    pub cost: Cost,
    /// Its notifications in the tables.
    pub told: Told,
}

/// Latency of accepted requests.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Accepted requests.
    pub accepted: u64,
    /// Accepted requests per second.
    pub accepted_per_s: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Requests that were refused or unanswered.
    pub failed: u64,
}

impl Latency {
    pub(crate) fn of(tally: &Tally) -> Self {
        let ms = |quantile| tally.latency(quantile).as_secs_f64() * 1000.0;
        Self {
            accepted: tally.accepted,
            accepted_per_s: tally.accepted_per_second(),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            failed: tally.refused_total() + tally.unknown,
        }
    }
}

/// A fan-out with concurrent readers, and a small fan-out during both.
#[derive(Debug, Clone, Serialize)]
pub struct UnderLoad {
    /// Views before it began.
    pub before: Latency,
    /// Views while it ran.
    pub during: Latency,
    /// Seconds from publishing until the large one was done.
    pub elapsed_s: f64,
    /// Followers notified per second by the large one.
    pub followers_per_s: f64,
    /// Seconds from publishing until the small one was done.
    pub small_s: f64,
    /// Whether the large one was still running when the small one was done.
    pub large_was_running: bool,
    /// The notifications of the large one.
    pub told: Told,
    /// The notifications of the small one.
    pub small_told: Told,
}

/// A fan-out whose worker was killed.
#[derive(Debug, Clone, Serialize)]
pub struct Kills {
    /// How often the worker was killed.
    pub kills: u32,
    /// Seconds from publishing until it was done.
    pub elapsed_s: f64,
    /// Its notifications in the tables.
    pub told: Told,
}

/// A whole run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The database's durability settings.
    pub database: Option<DatabaseSettings>,
    /// The versions of RabbitMQ and Erlang.
    pub rabbitmq: String,
    /// Followers of the author.
    pub followers: i64,
    /// Followers on whom page sizes were tried.
    pub sample: i64,
    /// Connections of the load.
    pub connections: usize,
    /// Their time between an answer and the next request, on average.
    pub think_ms: f64,
    /// The middleman by page size, on the sample.
    pub pages: Vec<Measured>,
    /// The naive middleman.
    pub naive: Option<Measured>,
    /// The compared methods, round by round.
    pub rounds: Vec<Measured>,
    /// With concurrent readers, round by round.
    pub under_load: Vec<UnderLoad>,
    /// With a killed worker.
    pub kills: Option<Kills>,
}

impl Report {
    /// The page size with the highest rate.
    #[must_use]
    pub fn best_page(&self) -> Option<u32> {
        let rate = |measured: &&Measured| measured.cost.followers_per_s;
        self.pages.iter().max_by(|a, b| rate(a).total_cmp(&rate(b))).and_then(|best| best.page)
    }

    /// A figure of one method over the rounds.
    #[must_use]
    pub fn median(&self, way: Way, figure: impl Fn(&Cost) -> f64) -> Option<Median> {
        Median::of(self.rounds.iter().filter(|one| one.way == way).map(|one| figure(&one.cost)))
    }

    /// The ratio of two methods' figures within each round, because the machine's speed may change between rounds.
    #[must_use]
    pub fn ratio(&self, of: Way, to: Way, figure: impl Fn(&Cost) -> f64) -> Option<Median> {
        let in_round = |way: Way, round: u32| {
            self.rounds.iter().find(|one| one.way == way && one.round == round).map(|one| figure(&one.cost))
        };
        let rounds = self.rounds.iter().filter(|one| one.way == of).map(|one| one.round);
        Median::of(rounds.filter_map(|round| Some(in_round(of, round)? / in_round(to, round)?)))
    }

    /// Every contradiction with the tables, as a sentence.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let mut told: Vec<(String, Told)> = Vec::new();
        for measured in self.pages.iter().chain(&self.naive).chain(&self.rounds) {
            told.push((format!("{}, round {}", measured.way.name(), measured.round), measured.told));
        }
        for under_load in &self.under_load {
            told.push(("beside readers".to_owned(), under_load.told));
            told.push(("the small one beside readers".to_owned(), under_load.small_told));
        }
        if let Some(kills) = &self.kills {
            told.push((format!("killed {} times", kills.kills), kills.told));
        }
        let wrong = told.into_iter().filter(|(_, told)| !told.agrees());
        wrong
            .map(|(what, Told { rows, recipients, expected })| {
                format!("{what}: {rows} rows for {recipients} people, {expected} were to be told")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(way: Way, round: u32, rate: f64) -> Measured {
        let cost = Cost {
            followers: 10,
            elapsed_s: 10.0 / rate,
            followers_per_s: rate,
            wal_bytes_per_follower: 0.0,
            database_ms_per_1000: 0.0,
            postgres_cpu_ms_per_1000: 0.0,
            process_cpu_ms_per_1000: 0.0,
            http_bytes_per_follower: 0.0,
        };
        let told = Told { rows: 10, recipients: 10, expected: 10 };
        Measured { way, round, page: Some(round), cost, told }
    }

    #[test]
    fn ratios_use_the_same_round() {
        let rounds = [(1, 10.0, 8.0), (2, 100.0, 90.0), (3, 1.0, 0.5)];
        let rounds = rounds
            .into_iter()
            .flat_map(|(round, raw, shared)| {
                [measured(Way::Raw, round, raw), measured(Way::Shared, round, shared)]
            })
            .collect();
        let report = Report { rounds, ..Report::default() };
        let ratio = report.ratio(Way::Shared, Way::Raw, |cost| cost.followers_per_s).unwrap();
        assert_eq!(ratio, Median { median: 0.8, min: 0.5, max: 0.9 });
        assert_eq!(report.median(Way::Raw, |cost| cost.followers_per_s).unwrap().median, 10.0);
        assert_eq!(report.median(Way::Naive, |cost| cost.followers_per_s), None);
    }

    #[test]
    fn best_page_size_is_the_fastest() {
        let pages = vec![measured(Way::Middleman, 100, 5.0), measured(Way::Middleman, 1000, 7.0)];
        assert_eq!(Report { pages, ..Report::default() }.best_page(), Some(1000));
        assert_eq!(Report::default().best_page(), None);
    }

    #[test]
    fn missing_or_duplicate_notifications_are_reported() {
        let mut report = Report { rounds: vec![measured(Way::Shared, 1, 1.0)], ..Report::default() };
        assert_eq!(report.disagreements(), Vec::<String>::new());
        for (rows, recipients) in [(11, 10), (10, 9), (9, 9)] {
            report.rounds[0].told = Told { rows, recipients, expected: 10 };
            assert_eq!(report.disagreements().len(), 1, "{rows} {recipients}");
        }
    }
}
