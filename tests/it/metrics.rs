//! `docs/metrics.md` lists exactly the metrics of every service's `/metrics`. Their names follow Prometheus' rules
//! (<https://prometheus.io/docs/practices/naming/>) as `promtool check metrics` checks them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::services::SERVICES;
use database::register_pools;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use reqwest::Method;
use runtime::service::Address;
use tests::{Running, World, wait_until};

const PAGE: &str = include_str!("../../docs/metrics.md");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
const ALERTS_TEST: &str = include_str!("../../deploy/prometheus/alerts_test.yml");
/// Units that are not base units, or not written out.
const OTHER_UNITS: [&str; 16] = [
    "s",
    "ms",
    "us",
    "ns",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "minutes",
    "hours",
    "days",
    "weeks",
    "kb",
    "mb",
    "gb",
    "kib",
    "percent",
];

#[tokio::test]
async fn metrics_page_lists_every_metric_of_every_service() {
    let world = World::new().await;
    let (mut started, mut running) = (Vec::new(), Vec::new());
    for service in &SERVICES {
        let listed = world.listed(service, &started).await;
        started.push(Address {
            name: service.name,
            role: service.role,
            public: listed.address,
            operations: listed.operations_address,
        });
        running.push((service.name, listed));
    }
    let mut wrong = String::new();
    for (service, running) in &running {
        // The metrics of requests exist once a request has been answered.
        running.request(Method::GET, "/healthz").send().await.unwrap();
        let said = scrape(running).await;
        let problems: Vec<_> = said.values().filter_map(Family::misnamed).collect();
        assert!(problems.is_empty(), "{service}: {problems:#?}");
        let said: BTreeSet<String> = said.values().map(Family::row).collect();
        let written = written_of(service);
        for row in said.difference(&written) {
            wrong += &format!("{service}: missing: {row}\n");
        }
        for row in written.difference(&said) {
            wrong += &format!("{service}: no such metric: {row}\n");
        }
    }
    assert!(wrong.is_empty(), "docs/metrics.md differs from /metrics:\n{wrong}");
    for (_, running) in running {
        running.stop().await;
    }
}

/// The alert rules are tested with made-up series, which prove nothing if no metric has that name.
#[test]
fn alerts_use_existing_metrics() {
    let names: BTreeSet<&str> =
        PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let series = ALERTS_TEST.split("series: '").skip(1).map(|rest| rest.split(['{', '\'']).next().unwrap());
    let series: BTreeSet<&str> = series.map(|name| name.strip_suffix("_bucket").unwrap_or(name)).collect();
    assert!(series.len() > 10, "{series:?}");
    for name in series {
        assert!(name == "up" || names.contains(name), "no service has the metric {name}");
        assert!(ALERTS.contains(name), "no alert asks for {name}");
    }
}

/// A service's rows on the page: those in sections whose heading names the service.
fn written_of(service: &str) -> BTreeSet<String> {
    let sections = PAGE.split("\n## ").skip(1);
    let of = sections.filter(|section| {
        let heading = section.lines().next().unwrap();
        let named: Vec<&str> = heading.split('`').skip(1).step_by(2).collect();
        assert!(
            !named.is_empty() && named.iter().all(|name| ::services::named(name).is_some()),
            "whose? {heading}"
        );
        named.contains(&service)
    });
    of.flat_map(str::lines).filter(|line| line.starts_with("| `")).map(str::to_owned).collect()
}

/// A metric, as `/metrics` describes it.
#[derive(Debug, Default)]
struct Family {
    name: String,
    kind: String,
    help: String,
    unit: Option<String>,
    labels: BTreeSet<String>,
}

impl Family {
    /// Its row in the page.
    fn row(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", self.name, self.kind, labels.join(", "), self.help)
    }

    /// What is wrong with its name.
    fn misnamed(&self) -> Option<String> {
        let words: Vec<&str> = self.name.split('_').collect();
        let last = *words.last().unwrap();
        let is = |problem: &str| Some(format!("{}: {problem}", self.name));
        if self.help.is_empty() {
            return is("says not what it is");
        }
        if !self.name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
            return is("is not in lower case with underscores");
        }
        if (self.kind == "counter") != (last == "total") {
            return is("counters, and nothing else, end in _total");
        }
        if ["count", "sum", "bucket", "info"].contains(&last) {
            return is("ends as only a part of a histogram does");
        }
        if words.iter().any(|word| ["counter", "gauge", "histogram", "summary"].contains(word)) {
            return is("says its type");
        }
        if words.iter().any(|word| OTHER_UNITS.contains(word)) {
            return is("is not in a base unit, or abbreviates it");
        }
        let named = words.iter().copied().find(|word| ["seconds", "bytes", "ratio"].contains(word));
        if named != self.unit.as_deref() {
            return is("does not declare the unit that it names");
        }
        None
    }
}

async fn scrape(running: &Running) -> BTreeMap<String, Family> {
    families(&running.operations("/metrics").send().await.unwrap().text().await.unwrap())
}

/// The metrics in an `OpenMetrics` text. They follow one another, and each begins with its description.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let head = (words.next().unwrap(), words.next(), words.next(), words.next());
        match head {
            ("#", Some("HELP"), Some(name), help) => {
                let help = help.unwrap().trim_end_matches('.').to_owned();
                families.push(Family { name: name.to_owned(), help, ..Family::default() });
            }
            ("#", Some("TYPE"), Some(_), Some(kind)) => {
                let family = families.last_mut().unwrap();
                kind.clone_into(&mut family.kind);
                if kind == "counter" {
                    family.name += "_total";
                }
            }
            ("#", Some("UNIT"), Some(_), unit) => families.last_mut().unwrap().unit = unit.map(str::to_owned),
            ("#", ..) => {}
            _ => {
                let family = families.last_mut().unwrap();
                let (_, labels) = line.split_once('{').unwrap_or_default();
                // No label value of the services contains the characters that end a value.
                let labels =
                    labels.split("\",").filter_map(|label| label.split_once("=\"")).map(|(key, _)| key);
                family.labels.extend(labels.filter(|key| *key != "le").map(str::to_owned));
            }
        }
    }
    let count = families.len();
    let families: BTreeMap<_, _> = families.into_iter().map(|one| (one.name.clone(), one)).collect();
    assert_eq!(families.len(), count, "a metric is described twice");
    families
}

#[tokio::test]
async fn pool_metrics_report_waiting_callers() {
    let world = World::new().await;
    let settings = database::Settings { pool_max: 2, ..world.database_settings("blogs_api") };
    let pool = database::Pool::new(&settings, "it").unwrap();
    let mut registry = Registry::default();
    register_pools(&mut registry, [("all", &pool)]);
    let says = |what: &str, value: usize| {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text.contains(&format!("\ndatabase_pool_{what}{{pool=\"all\"}} {value}\n"))
    };

    assert!(says("connections", 0) && says("connections_max", 2));
    let (first, second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert!(says("connections", 2) && says("connections_available", 0) && says("waiting", 0));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let pool = pool.clone();
        waiting.spawn(async move { pool.get().await.map(drop) });
    }
    assert!(wait_until(async || says("waiting", 3)).await);
    drop((first, second));
    while let Some(got) = waiting.join_next().await {
        got.unwrap().unwrap();
    }
    let free = tokio::time::timeout(Duration::from_secs(10), async {
        while !(says("waiting", 0) && says("connections_available", 2)) {
            tokio::task::yield_now().await;
        }
    });
    free.await.expect("connections come back");
}
