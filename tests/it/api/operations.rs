//! The operations endpoints: metrics, health and readiness.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use tests::{Running, World, wait_until};

use super::Answer;

/// A sample of `/metrics`: its name, its labels and its value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads `OpenMetrics` text, strictly enough to find what a scraper would stumble over.
fn parse(text: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut kinds = BTreeMap::new();
    let (body, rest) = text.split_once("# EOF\n").expect("it ends with # EOF");
    assert_eq!(rest, "", "nothing follows the end");
    for line in body.lines() {
        if let Some(about) = line.strip_prefix("# ") {
            let words: Vec<&str> = about.splitn(3, ' ').collect();
            assert!(["HELP", "TYPE", "UNIT"].contains(&words[0]) && words.len() == 3, "{line}");
            if words[0] == "TYPE" {
                assert!(
                    kinds.insert(words[1].to_owned(), words[2].to_owned()).is_none(),
                    "{line} is there twice"
                );
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(!name.is_empty() && name.bytes().all(is_name), "{line}");
        let family = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        assert!(
            kinds.contains_key(name) || family.is_some_and(|family| kinds.contains_key(family)),
            "{line}"
        );
        samples.push((name.to_owned(), parse_labels(labels), value));
    }
    let series: BTreeSet<_> = samples.iter().map(|(name, labels, _)| (name, labels)).collect();
    assert_eq!(series.len(), samples.len(), "a series is there twice");
    samples
}

/// Parses `a="b",c="d"}`. No label of the services contains a quote or a comma.
fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let inner = text.strip_suffix('}').unwrap_or_else(|| panic!("labels without an end: {text}"));
    let label = |label: &str| {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label: {label}"));
        (name.to_owned(), value.strip_suffix('"').unwrap_or_else(|| panic!("no end: {label}")).to_owned())
    };
    inner.split(',').filter(|part| !part.is_empty()).map(label).collect()
}

async fn metrics(api: &Running) -> Vec<Sample> {
    let answer = api.get("/metrics", None).await.is(200);
    let media_type = answer.header("content-type").unwrap();
    assert!(media_type.starts_with("application/openmetrics-text; version=1.0.0"), "{media_type}");
    parse(answer.body.as_str().unwrap())
}

#[tokio::test]
async fn metrics_count_every_request_and_stay_bounded() {
    let world = World::new().await;
    let api = world.api().await;
    let strange = async |turn: usize| {
        for n in 0..20 {
            let id = format!("{turn}-{n}");
            api.get(&format!("/random/{id}?x={id}"), None).await.refused(404);
            api.get(&format!("/v1/blogs/by-slug/{id}"), None).await.refused(404);
            api.get(&format!("/v1/blogs/{turn}{n}"), None).await.refused(404);
            api.get(&format!("/v1/blogs/x{id}"), None).await.refused(400);
            api.get(&format!("/docs/{id}"), None).await.is(404);
            let method = Method::from_bytes(format!("M{turn}{n}").as_bytes()).unwrap();
            Answer::to(api.request(method, "/v1/blogs")).await.refused(405);
            api.post(&format!("/v1/blogs/{turn}{n}/views"), None).await.refused(404);
        }
    };
    api.get("/metrics", None).await.is(200);
    strange(1).await;
    let before = metrics(&api).await;
    strange(2).await;
    let after = metrics(&api).await;

    let series = |samples: &[Sample]| -> BTreeSet<_> {
        samples.iter().map(|(name, labels, _)| (name.clone(), labels.clone())).collect()
    };
    assert_eq!(series(&before), series(&after), "other paths are no other series");
    let requests = |samples: &[Sample], route: &str, method: &str, status: &str| -> f64 {
        let labels = [("route", route), ("method", method), ("status", status)];
        let is_it = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| found.get(*name).is_some_and(|found| found == value))
        };
        let found = samples.iter().filter(|(name, labels, _)| name == "http_requests_total" && is_it(labels));
        found.map(|(_, _, value)| value).sum()
    };
    for (route, method, status) in [
        ("none", "GET", "404"),
        ("/v1/blogs/by-slug/{slug}", "GET", "404"),
        ("/v1/blogs/{id}", "GET", "404"),
        ("/v1/blogs/{id}", "GET", "400"),
        ("/v1/blogs", "other", "405"),
        ("/v1/blogs/{id}/views", "POST", "404"),
    ] {
        let counted = [&before, &after].map(|samples| requests(samples, route, method, status));
        assert_eq!(counted, [20.0, 40.0], "{method} {route} {status}");
    }
    let refused = after
        .iter()
        .find(|(name, labels, _)| name == "engagement_refused_total" && labels["reason"] == "no_such_blog");
    assert_eq!(refused.unwrap().2, 40.0);
}

#[tokio::test]
async fn accepted_events_are_counted_in_the_metrics() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Measured").await;
    for path in ["message", "direct", "direct", "direct-batched"] {
        let share =
            api.request(Method::POST, &format!("/v1/blogs/{blog}/shares")).header("X-Write-Path", path);
        let answer = Answer::to(share.json(&serde_json::json!({"channel": "link"}))).await;
        assert!([200, 202].contains(&answer.status), "{answer:?}");
    }
    let samples = metrics(&api).await;
    let of = |metric: &str, path: &str| -> f64 {
        let is_it = |(name, labels, _): &&Sample| {
            name == metric && labels["path"] == path && labels.get("kind").is_none_or(|kind| kind == "share")
        };
        samples.iter().filter(is_it).map(|(_, _, value)| value).sum()
    };
    for (path, expected) in [("message", 1.0), ("direct", 2.0), ("direct-batched", 1.0)] {
        assert_eq!(of("engagement_accepted_total", path), expected, "{path}");
        assert_eq!(of("engagement_accept_seconds_count", path), expected, "{path}");
    }
}

#[tokio::test]
async fn readiness_names_the_degraded_parts() {
    let world = World::new().await;
    let whole = world.api().await;
    let without_broker =
        world.api_with(|loader| loader.set("broker.url", "amqp://guest:hidden@127.0.0.1:1/%2f")).await;
    let says = async |api: &Running, status: u16, degraded: &[&str]| {
        let mut last = None;
        let reached = wait_until(async || {
            let answer = api.get("/readyz", None).await;
            let reached = answer.status == status && answer.body["degraded"] == serde_json::json!(degraded);
            last = Some(answer);
            reached
        });
        assert!(reached.await, "should become {status} {degraded:?}: {last:?}");
        let last = last.unwrap();
        assert_eq!(last.body["ready"], status == 200, "{last:?}");
        for (part, state) in last.body["parts"].as_object().unwrap() {
            let works = !degraded.contains(&part.as_str());
            assert_eq!(state["works"], works, "{last:?}");
            assert_eq!(state["reason"].as_str().is_none_or(str::is_empty), works, "{last:?}");
        }
        assert!(!last.body.to_string().contains("hidden"), "no password: {last:?}");
        api.get("/healthz", None).await.is(200);
    };
    says(&whole, 200, &[]).await;
    says(&without_broker, 200, &["broker"]).await;
    world.close_database().await;
    says(&whole, 200, &["database"]).await;
    says(&without_broker, 503, &["broker", "database"]).await;
    world.open_database().await;
    says(&whole, 200, &[]).await;
    says(&without_broker, 200, &["broker"]).await;
}
