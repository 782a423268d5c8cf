//! The rules for every container of the compose files.

use std::collections::BTreeMap;

use serde_json::Value;
use services::{Entry, SERVICES};

use crate::files::{self, BASE, CLUSTER, DOCKERFILE, EXAMPLE, PROVIDE, environment, read};

/// Capabilities that the entrypoint of the Postgres image needs until it has switched to the account `postgres`.
const POSTGRES_MAY: [&str; 5] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"];

/// Each network, whether it is internal, and its members besides the services of the list; a service that is in no row may
/// have no network.
const MEMBERS: [(&str, bool, &[&str]); 5] = [
    ("edge", false, &[]),
    ("operators", false, &["prometheus", "rabbitmq"]),
    ("data", true, &["migrate", "operator", "postgres", "postgres-replica", "replication"]),
    ("messages", true, &["migrate", "rabbitmq", "rabbitmq-2", "rabbitmq-3"]),
    ("observe", true, &["operator", "prometheus"]),
];

/// Whether a service of the list must be on a network: on those of the servers that it uses, and on that of its
/// clients.
fn is_member(listed: &Entry, service: &Value, network: &str) -> bool {
    let is_published = |address: &str| texts(&service["ports"]).iter().any(|port| port.starts_with(address));
    match network {
        "messages" => listed.uses_rabbitmq,
        "edge" => is_published("${LISTEN_ADDRESS"),
        "operators" => is_published("${CONSOLE_LISTEN_ADDRESS"),
        _ => true,
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::Object(items) => items.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a tag names one release: `17.11-trixie`, `v3.13.3`, `trixie-20260623-slim`; or a digest does.
fn is_pinned(image: &str) -> bool {
    let Some((_, tag)) = image.rsplit_once(':') else { return false };
    let is_number =
        |text: &str, digits: usize| text.len() >= digits && text.chars().all(|c| c.is_ascii_digit());
    let is_version = |part: &str| {
        let numbers: Vec<_> = part.trim_start_matches('v').split('.').collect();
        numbers.len() >= 2 && numbers.iter().all(|number| is_number(number, 1))
    };
    image.contains("@sha256:") || tag.split('-').any(|part| is_version(part) || is_number(part, 8))
}

fn images(name: &str, service: &Value, found: &mut Vec<String>) {
    let image = service["image"].as_str().unwrap_or_default();
    let default = image.split_once(":-").map_or(image, |(_, default)| default.trim_end_matches('}'));
    if !image.starts_with("commonplace/") && !is_pinned(default) {
        found.push(format!("{name}: the image {image} is not pinned"));
    }
}

fn privileges(name: &str, service: &Value, found: &mut Vec<String>) {
    if service["read_only"] != true {
        found.push(format!("{name}: its file system is not read-only"));
    }
    if texts(&service["cap_drop"]) != ["ALL"] {
        found.push(format!("{name}: not all capabilities are dropped"));
    }
    let may: &[&str] = if name.starts_with("postgres") { &POSTGRES_MAY } else { &[] };
    if texts(&service["cap_add"]) != may || service["privileged"] == true {
        found.push(format!("{name}: capabilities are added"));
    }
    if texts(&service["security_opt"]) != ["no-new-privileges:true"] {
        found.push(format!("{name}: it may gain privileges"));
    }
    for limit in ["mem_limit", "pids_limit"] {
        if service[limit].is_null() {
            found.push(format!("{name}: it has no {limit}"));
        }
    }
}

/// Our services that accept connections must set a limit of open files, and the Blogs API must have the time that its
/// longest shutdown takes.
fn bounds(name: &str, service: &Value, found: &mut Vec<String>) {
    let image = service["image"].as_str().unwrap_or_default();
    if image.starts_with("commonplace/")
        && image != "commonplace/commonplace"
        && service["ulimits"]["nofile"].is_null()
    {
        found.push(format!("{name}: it has no limit of open files"));
    }
    if name == "blogs-api" && service["stop_grace_period"] != "50s" {
        found.push(format!("{name}: it is killed before its longest shutdown (43 s) is over"));
    }
}

fn networks(name: &str, service: &Value, found: &mut Vec<String>) {
    let is = texts(&service["networks"]);
    for (network, _, members) in MEMBERS {
        let listed = SERVICES.iter().find(|listed| listed.name == name);
        let is_wanted =
            listed.map_or_else(|| members.contains(&name), |listed| is_member(listed, service, network));
        if is.contains(&network) != is_wanted {
            found.push(format!("{name}: whether it is on the network {network}"));
        }
    }
    if is.is_empty() && service["network_mode"] != "none" {
        found.push(format!("{name}: it is on the network that all share"));
    }
}

fn ports(name: &str, service: &Value, found: &mut Vec<String>) {
    const LOOPBACK: [&str; 3] =
        ["127.0.0.1:", "${LISTEN_ADDRESS:-127.0.0.1}:", "${CONSOLE_LISTEN_ADDRESS:-127.0.0.1}:"];
    for port in texts(&service["ports"]) {
        if !LOOPBACK.iter().any(|address| port.starts_with(address)) {
            found.push(format!("{name}: {port} is published beyond this machine"));
        }
    }
}

/// Every violation of the rules in these files.
fn findings(files: &[&str]) -> Vec<String> {
    let compose = read(files);
    let mut found = Vec::new();
    for (name, service) in files::services(&compose) {
        for rule in [images, privileges, bounds, networks, ports] {
            rule(name, service, &mut found);
        }
    }
    for (network, is_internal, _) in MEMBERS {
        if (compose["networks"][network]["internal"] == true) != is_internal {
            found.push(format!("network {network}: whether it is internal"));
        }
    }
    found
}

#[test]
fn containers_are_pinned_confined_and_on_networks_of_their_own() {
    assert_eq!(findings(&[BASE]), [""; 0]);
    assert_eq!(findings(&[BASE, CLUSTER]), [""; 0]);
}

#[test]
fn each_rule_detects_its_violation() {
    for (from, to, notice) in [
        (
            "postgres:17.11-trixie",
            "postgres:17",
            "postgres: the image ${POSTGRES_IMAGE:-postgres:17} is not pinned",
        ),
        ("prom/prometheus:v3.13.3", "prom/prometheus", "prometheus: the image"),
        ("read_only: true", "read_only: false", "rabbitmq: its file system is not read-only"),
        ("cap_drop: [ALL]", "cap_drop: []", "postgres: not all capabilities are dropped"),
        ("cap_add: [CHOWN,", "cap_add: [SYS_ADMIN, CHOWN,", "postgres: capabilities are added"),
        ("no-new-privileges:true", "no-new-privileges:false", "blogs-api: it may gain privileges"),
        ("    mem_limit: 1g\n", "", "rabbitmq: it has no mem_limit"),
        ("    nofile: 4096\n", "", "console: it has no limit of open files"),
        ("    stop_grace_period: 50s\n", "", "blogs-api: it is killed before"),
        ("    pids_limit: 512\n", "", "postgres: it has no pids_limit"),
        ("    networks: [messages, operators]\n", "", "rabbitmq: it is on the network that all share"),
        ("networks: [data]", "networks: [data, edge]", "postgres: whether it is on the network edge"),
        ("  data:\n    internal: true\n", "  data:\n", "network data: whether it is internal"),
        (
            "\"127.0.0.1:${RABBITMQ_MANAGEMENT_PORT",
            "\"${RABBITMQ_MANAGEMENT_PORT",
            "rabbitmq: ${RABBITMQ_MANAGEMENT_PORT:-15672}:15672 is published beyond this machine",
        ),
        ("${LISTEN_ADDRESS:-127.0.0.1}:${BLOGS", "0.0.0.0:${BLOGS", "blogs-api: 0.0.0.0:"),
    ] {
        assert!(BASE.contains(from), "{from}");
        let found = findings(&[&BASE.replace(from, to)]);
        assert!(found.iter().any(|found| found.starts_with(notice)), "{to:?}: {found:?}");
    }
}

/// The names of services in the addresses at which containers call each other.
fn called(compose: &Value) -> Vec<String> {
    let environments = files::services(compose).map(|(_, service)| environment(service, &BTreeMap::new()));
    let addresses = environments.flat_map(BTreeMap::into_values).filter_map(|value| {
        let (host, _port) = value.strip_prefix("http://")?.split_once(':')?;
        Some(host.to_owned())
    });
    addresses
        .filter(|host| !compose["services"][host]["environment"]["COMMONPLACE__HTTP__ADDRESS"].is_null())
        .collect()
}

#[test]
fn only_services_with_a_public_port_answer_to_other_names_than_their_own() {
    let compose = read(&[BASE, CLUSTER]);
    let users = BTreeMap::from([("HOST_NAMES".to_owned(), "blogs.example,www.example".to_owned())]);
    let mut calls = called(&compose);
    calls.sort_unstable();
    calls.dedup();
    let mut scraped: Vec<_> = SERVICES.iter().map(|service| service.name).collect();
    scraped.retain(|name| *name != "console");
    scraped.sort_unstable();
    assert_eq!(calls, scraped);
    for (name, is_for_users) in SERVICES.iter().map(|service| (service.name, service.port.is_some())) {
        let service = &compose["services"][name];
        let (key, with_users) = match is_for_users {
            true => ("COMMONPLACE__REQUESTS__HOST_NAMES", format!("{name},blogs.example,www.example")),
            false => ("COMMONPLACE__HTTP__HOST_NAMES", name.to_owned()),
        };
        assert_eq!(environment(service, &users)[key], with_users);
        assert_eq!(environment(service, &BTreeMap::new())[key].trim_end_matches(','), name);
    }
}

#[test]
fn services_that_users_reach_trust_the_same_proxies() {
    let variables = BTreeMap::from([("TRUSTED_PROXIES".to_owned(), "172.18.0.1/32".to_owned())]);
    let compose = read(&[BASE]);
    for name in SERVICES.iter().filter(|service| service.port.is_some()).map(|service| service.name) {
        let environment = environment(&compose["services"][name], &variables);
        let trusted = environment.get("COMMONPLACE__REQUESTS__TRUSTED_PROXIES").map(String::as_str);
        assert_eq!(trusted, Some("172.18.0.1/32"), "{name}");
    }
}

#[test]
fn images_are_built_from_pinned_images() {
    let stages: Vec<&str> = DOCKERFILE.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(stages.len(), 3, "{stages:?}");
    for stage in stages {
        let argument = stage.split(' ').next().unwrap().trim_start_matches("${").trim_end_matches('}');
        let default = format!("ARG {argument}=");
        let image = DOCKERFILE.lines().find_map(|line| line.strip_prefix(&default));
        assert!(image.is_some_and(is_pinned), "{stage}: {image:?}");
    }
    for (argument, default) in ["RUST_IMAGE", "DEBIAN_IMAGE"].map(|name| (name, format!("{name}="))) {
        let image =
            DOCKERFILE.lines().find_map(|line| line.strip_prefix("ARG ")?.strip_prefix(&default)).unwrap();
        let passed = format!("${{{argument}:-{image}}}");
        for (name, service) in
            files::services(&read(&[BASE])).filter(|(_, service)| !service["build"].is_null())
        {
            assert_eq!(service["build"]["args"][argument], passed, "{name}");
        }
        assert!(EXAMPLE.contains(&format!("# {argument}=\n")), "{argument} is not in .env.example");
    }
    let provided = PROVIDE.lines().filter_map(|line| line.split_once("_IMAGE: &str = \""));
    let provided: Vec<&str> = provided.map(|(_, image)| image.trim_end_matches("\";")).collect();
    assert_eq!(provided.len(), 2, "{provided:?}");
    for image in provided {
        assert!(
            is_pinned(image) && BASE.contains(&format!("-{image}}}")),
            "{image} differs from docker-compose.yml"
        );
    }
    for floating in
        ["rust:1-slim-trixie", "debian:trixie-slim", "rabbitmq:4-management", "postgres", "x:latest"]
    {
        assert!(!is_pinned(floating), "{floating}");
    }
}
