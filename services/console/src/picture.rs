//! Derives rates, percentiles and outages from the samples of the last two minutes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use events::WritePath;
use jiff::Timestamp;
use runtime::metrics::OPERATIONS_PATHS;

use crate::findings::Found;
use crate::load;
use crate::number::plain;
use crate::openmetrics::{Histogram, Samples};
use crate::rates::{grown, grown_histogram, per_second, transactions};
use crate::sample::{Depths, Sample};
use crate::scrape::Scraped;
use crate::statistics::Costly;

/// Number of samples kept, and of points in a plot.
pub(crate) const KEPT: usize = 121;
/// Percentiles and means cover this period.
const WINDOW: Duration = Duration::from_secs(10);

/// The samples, newest last, and since when each server has been down.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<Sample>,
    away_since: BTreeMap<String, Timestamp>,
}

/// The data of a page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Picture {
    /// When the newest sample was taken; `None` before the first one.
    pub(crate) time: Option<Timestamp>,
    pub(crate) servers: Vec<Server>,
    pub(crate) paths: Vec<Path>,
    pub(crate) message: Message,
    pub(crate) database: Database,
    /// Busy sessions by role, on average over the last minute.
    pub(crate) busy: Vec<(String, f64)>,
    /// The expensive statistics, and when they were taken.
    pub(crate) costly: Option<(Timestamp, Costly)>,
    pub(crate) load: load::Status,
}

/// A server or a service that can be down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: String,
    /// The consequences while it is down.
    pub(crate) meaning: &'static str,
    /// Since when it has been down.
    pub(crate) away_since: Option<Timestamp>,
    /// The reason, or the number of processes.
    pub(crate) note: String,
}

/// One write path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// Events accepted per second, sample by sample.
    pub(crate) accepted: Vec<Option<f64>>,
    /// Events accepted since the processes began.
    pub(crate) accepted_total: Option<f64>,
    /// Time to accept a request: p50, p95 and p99, in seconds.
    pub(crate) accept_s: [Option<f64>; 3],
    /// Transactions per second on this path.
    pub(crate) commits: Option<f64>,
    /// Events per transaction.
    pub(crate) events_per_commit: Option<f64>,
}

/// The figures that only the message path has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) depths: Option<Depths>,
    /// Envelopes in the queue, sample by sample.
    pub(crate) depth: Vec<Option<f64>>,
    pub(crate) events_per_envelope: Option<f64>,
    pub(crate) envelopes_per_batch: Option<f64>,
    /// Time from the oldest envelope of a batch to its commit: p50 and p99, in seconds.
    pub(crate) freshness_s: [Option<f64>; 2],
    /// Envelopes in the outbox.
    pub(crate) outbox: Option<f64>,
}

/// The figures of the whole database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Database {
    /// Commits per second, sample by sample.
    pub(crate) commits: Vec<Option<f64>>,
    /// Bytes of WAL per second, sample by sample.
    pub(crate) wal: Vec<Option<f64>>,
    /// The share of counter updates that changed no index, since the statistics were reset.
    pub(crate) hot: Option<f64>,
}

const RECOMMENDATION_API: &str = "recommendation_api";

/// A server or a service as one sample found it.
struct Seen {
    name: String,
    meaning: &'static str,
    /// A note if it responds, or the reason if it does not.
    answer: Result<String, String>,
}

impl Seen {
    /// A service, by its role.
    fn service(role: &str, scraped: &Scraped) -> Self {
        Self { name: name_of(role), meaning: meaning_of(role), answer: processes(scraped) }
    }

    /// All servers and services of a sample.
    fn all(sample: &Sample) -> Vec<Self> {
        let server = |name: &str, meaning, reason: Option<&String>| Self {
            name: name.to_owned(),
            meaning,
            answer: reason.map_or_else(|| Ok("answers".to_owned()), |reason| Err(reason.clone())),
        };
        let mut seen = vec![
            server(
                "Postgres",
                "Views, likes and shares are still accepted through RabbitMQ and counted later; requests that need the database fail.",
                sample.database.as_ref().err(),
            ),
            server(
                "RabbitMQ",
                "Accepted events are kept in the outbox, and published when RabbitMQ is back.",
                sample.queues.as_ref().err(),
            ),
            Self::service("blogs_api", &sample.api),
            Self::service("analytics_worker", &sample.worker),
        ];
        seen.extend(sample.others.iter().map(|(role, scraped)| Self::service(role, scraped)));
        seen
    }
}

/// The display name of a service: `blogs_api` is "Blogs API".
fn name_of(role: &str) -> String {
    let words = role.split('_').enumerate().map(|(index, word)| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        match (word, index) {
            ("api", _) => "API".to_owned(),
            (_, 0) => first.to_ascii_uppercase() + rest,
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The consequences while a service is down.
fn meaning_of(role: &str) -> &'static str {
    match role {
        "blogs_api" => "No requests are accepted.",
        "analytics_worker" => "Accepted events stay in the queue, and are counted when a worker is back.",
        "notification_worker" => "Followers are notified of new blogs when a worker is back.",
        RECOMMENDATION_API => "Readers get no recommendations; everything else works.",
        _ => "Its work waits or is refused.",
    }
}

impl History {
    /// Adds the newest sample.
    pub(crate) fn push(&mut self, sample: Sample) {
        for Seen { name, answer, .. } in Seen::all(&sample) {
            if answer.is_ok() {
                self.away_since.remove(&name);
            } else {
                self.away_since.entry(name).or_insert(sample.time);
            }
        }
        self.samples.push_back(sample);
        if self.samples.len() > KEPT {
            self.samples.pop_front();
        }
    }

    /// The growth per second between consecutive samples.
    fn rates(&self, count: impl Fn(&Sample, &Sample) -> Option<f64>) -> Vec<Option<f64>> {
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        pairs.map(|(before, now)| per_second(before, now, &count)).collect()
    }

    /// The newest sample, and the oldest one of the last ten seconds.
    fn window(&self) -> Option<(&Sample, &Sample)> {
        let now = self.samples.back()?;
        let before = self.samples.iter().find(|sample| now.at.duration_since(sample.at) <= WINDOW)?;
        (before.at < now.at).then_some((before, now))
    }
}

impl Picture {
    /// Derives the picture from the history.
    pub(crate) fn of(history: &History, found: &Found, load: load::Status) -> Self {
        let Some(newest) = history.samples.back() else { return Self { load, ..Self::default() } };
        let recommender = name_of(RECOMMENDATION_API);
        let servers = Seen::all(newest).into_iter().map(|Seen { name, meaning, answer }| {
            let mut note = answer.unwrap_or_else(|reason| reason);
            if name == recommender
                && let Some(rate) = recommendations(history)
            {
                note += &format!(", {}/s", plain(rate));
            }
            Server { away_since: history.away_since.get(&name).copied(), name, meaning, note }
        });
        Self {
            time: Some(newest.time),
            servers: servers.collect(),
            paths: WritePath::ALL.map(|path| Path::of(history, newest, path)).into(),
            message: Message::of(history, newest),
            database: Database::of(history, newest),
            busy: found.busy(),
            costly: found.costly.clone(),
            load,
        }
    }
}

impl Path {
    fn of(history: &History, newest: &Sample, path: WritePath) -> Self {
        let labels = [("path", path.name())];
        let accepted = |samples: &Samples| samples.sum("engagement_accepted_total", &labels);
        let window = history.window();
        let took = window.and_then(|(before, now)| {
            grown_histogram(&before.api, &now.api, |samples| {
                samples.histogram("engagement_accept_seconds", &labels)
            })
        });
        let made = window.and_then(|(before, now)| transactions(before, now, path));
        Self {
            name: path.name(),
            accepted: history.rates(|before, now| grown(&before.api, &now.api, accepted)),
            accepted_total: newest.api.samples.as_ref().map(accepted),
            accept_s: [0.5, 0.95, 0.99].map(|share| took.as_ref().and_then(|took| took.quantile(share))),
            commits: window.and_then(|(before, now)| {
                per_second(before, now, &|before, now| Some(transactions(before, now, path)?.count()))
            }),
            events_per_commit: made.as_ref().and_then(Histogram::mean),
        }
    }
}

impl Message {
    fn of(history: &History, newest: &Sample) -> Self {
        let window = history.window();
        let mean_of = |scraped: fn(&Sample) -> &Scraped, name: &'static str| {
            let (before, now) = window?;
            grown_histogram(scraped(before), scraped(now), |samples| samples.histogram(name, &[]))?.mean()
        };
        let freshness = window.and_then(|(before, now)| {
            grown_histogram(&before.worker, &now.worker, |samples| {
                samples.histogram("commonplace_worker_freshness_seconds", &[])
            })
        });
        let depth = |sample: &Sample| sample.queues.as_ref().ok().map(|depths| f64::from(depths.engagement));
        Self {
            depths: newest.queues.as_ref().ok().copied(),
            depth: history.samples.iter().skip(1).map(depth).collect(),
            events_per_envelope: mean_of(|sample| &sample.api, "broker_envelope_events"),
            envelopes_per_batch: mean_of(|sample| &sample.worker, "commonplace_worker_batch_envelopes"),
            freshness_s: [0.5, 0.99].map(|share| freshness.as_ref().and_then(|times| times.quantile(share))),
            outbox: newest.api.samples.as_ref().map(|samples| samples.max("outbox_envelopes")),
        }
    }
}

impl Database {
    fn of(history: &History, newest: &Sample) -> Self {
        let grown = |count: fn(&crate::statistics::Database) -> i64| {
            history.rates(move |before, now| {
                let (before, now) = (before.database.as_ref().ok()?, now.database.as_ref().ok()?);
                Some((count(now) - count(before)) as f64)
            })
        };
        let now = newest.database.as_ref().ok().filter(|now| now.updates > 0);
        Self {
            commits: grown(|database| database.commits),
            wal: grown(|database| database.wal_bytes),
            hot: now.map(|now| now.hot_updates as f64 / now.updates as f64),
        }
    }
}

/// Requests per second that the Recommendation APIs answered, without operators' requests.
fn recommendations(history: &History) -> Option<f64> {
    let (before, now) = history.window()?;
    let answered = |samples: &Samples| {
        let of = |labels: &[(&str, &str)]| samples.sum("http_requests_total", labels);
        of(&[]) - OPERATIONS_PATHS.map(|route| of(&[("route", route)])).iter().sum::<f64>()
    };
    per_second(before, now, &|before, now| {
        grown(before.others.get(RECOMMENDATION_API)?, now.others.get(RECOMMENDATION_API)?, answered)
    })
}

fn processes(scraped: &Scraped) -> Result<String, String> {
    match (scraped.answered, scraped.silent) {
        (0, 0) => Err("no address is known".to_owned()),
        (0, _) => Err("no answer".to_owned()),
        (1, 0) => Ok("1 process".to_owned()),
        (answered, 0) => Ok(format!("{answered} processes")),
        (answered, silent) => Ok(format!("{answered} of {} processes", answered + silent)),
    }
}

#[cfg(test)]
mod tests;
