//! The secrets that the compose files contain are accepted on one machine only.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use runtime::settings::published::{Kind, PUBLISHED, Published};
use serde_json::Value;
use services::SERVICES;

use crate::files::{self, BASE, CLUSTER, EXAMPLE, defaults, environment, read};

/// What makes the stack reachable from other machines.
const EXPOSURES: [(&str, &str); 4] = [
    ("TRUSTED_PROXIES", "172.18.0.1/32"),
    ("SECURE_COOKIES", "true"),
    ("LISTEN_ADDRESS", "0.0.0.0"),
    ("CONSOLE_LISTEN_ADDRESS", "192.0.2.1"),
];

type Variables = BTreeMap<String, String>;

fn variables<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Variables {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Runs a command as the container of a service would, with these variables in `.env`.
fn run(arguments: &[&str], service: &Value, variables: &Variables) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commonplace"));
    command.args(arguments).env_clear().envs(environment(service, variables)).output().unwrap()
}

fn check(variables: &Variables) -> Output {
    run(&["secrets", "check"], &read(&[BASE, CLUSTER])["services"]["secrets"], variables)
}

#[track_caller]
fn refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in {said}");
    }
}

fn new() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_commonplace")).args(["secrets", "new"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn published_secrets_are_accepted_on_this_machine_with_a_warning() {
    let output = check(&Variables::new());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("published secrets: reachable from this machine only (127.0.0.1)"), "{said}");
}

#[test]
fn stack_with_published_secrets_is_refused_if_other_machines_reach_it() {
    let every: Vec<_> = PUBLISHED.iter().map(|published| published.variable).collect();
    let made = new();
    for (name, value) in EXPOSURES {
        let exposed = variables([(name, value)]);
        refused(
            &check(&exposed),
            &[&every[..], &[name, value, "docker compose run --rm -T secrets new"]].concat(),
        );
        let mut own = variables(made.lines().filter_map(|line| line.split_once('=')));
        own.extend(exposed);
        let output = check(&own);
        assert!(output.status.success(), "{output:?}");
        // One published secret is enough.
        for published in PUBLISHED.iter() {
            let mut but_one = own.clone();
            but_one.remove(published.variable);
            refused(&check(&but_one), &[&format!("reach the system: {}. But", published.variable)]);
        }
    }
}

#[test]
fn each_process_refuses_the_published_secrets_that_it_holds() {
    let compose = read(&[BASE]);
    let commands = [("migrate", "migrate", "POSTGRES_PASSWORD"), ("operator", "ledger", "OPERATOR_PASSWORD")];
    let commands = commands.map(|(service, command, secret)| (service, vec![command], secret.to_owned()));
    let keys = [
        ("blogs-api", "SIGNING_KEYS"),
        ("blogs-api", "VISITOR_SECRET"),
        ("recommendation-api", "VERIFYING_KEYS"),
        ("console", "CONSOLE_TOKEN"),
    ];
    let keys = keys.map(|(service, secret)| (service, vec!["serve", service], secret.to_owned()));
    let passwords = SERVICES.iter().map(|service| {
        (service.name, vec!["serve", service.name], format!("{}_PASSWORD", service.role.to_uppercase()))
    });
    for (service, arguments, secret) in commands.into_iter().chain(keys).chain(passwords) {
        // Without its container in the file, the service would hold no secret, and would start and run until the test
        // is ended.
        assert!(!compose["services"][service].is_null(), "{service} is not in docker-compose.yml");
        for (name, value) in EXPOSURES {
            let output = run(&arguments, &compose["services"][service], &variables([(name, value)]));
            refused(&output, &["published with the source", &secret, name]);
        }
    }
}

#[test]
fn no_service_may_have_the_password_of_another_or_of_the_administrator() {
    let own = |pairs: &[(&str, &str)]| {
        let mut own = variables(new().lines().filter_map(|line| line.split_once('=')));
        own.extend(variables(pairs.iter().copied()));
        own
    };
    let equal = [("POSTGRES_PASSWORD", "same"), ("OPERATOR_PASSWORD", "same")];
    refused(&check(&own(&equal)), &["OPERATOR_PASSWORD and POSTGRES_PASSWORD are equal"]);
    let compose = read(&[BASE]);
    let migrate = |pairs| run(&["migrate"], &compose["services"]["migrate"], &own(pairs));
    refused(&migrate(&equal), &["roles.operator_password is the password of the administrator"]);
    let equal = [("RABBITMQ_PASSWORD", "same"), ("CONSOLE_BROKER_PASSWORD", "same")];
    refused(&migrate(&equal), &["rabbitmq.console_password is the password of the administrator"]);
}

#[test]
fn only_administrators_steps_have_an_administrators_password() {
    let marked = variables([("POSTGRES_PASSWORD", "administrator"), ("RABBITMQ_PASSWORD", "administrator")]);
    let compose = read(&[BASE, CLUSTER]);
    let mut holders: Vec<_> = files::services(&compose)
        .filter(|(_, service)| {
            environment(service, &marked).values().any(|value| value.contains("administrator"))
        })
        .map(|(name, _)| name)
        .collect();
    holders.sort_unstable();
    let expected = ["migrate", "postgres", "rabbitmq", "rabbitmq-2", "rabbitmq-3", "replication", "secrets"];
    assert_eq!(holders, expected);
}

#[test]
fn every_secret_of_the_compose_files_is_known_as_published() {
    let value = |published: &Published, value: &str| match published.kind {
        Kind::SigningKeys | Kind::VerifyingKeys => {
            value.split_once(':').is_some_and(|(_, secret)| secret == published.value)
        }
        _ => value == published.value,
    };
    let checked = &read(&[BASE, CLUSTER])["services"]["secrets"]["environment"];
    let example: BTreeMap<_, _> = EXAMPLE.lines().filter_map(|line| line.split_once('=')).collect();
    for (name, default) in defaults(BASE).into_iter().chain(defaults(CLUSTER)) {
        let is_secret =
            ["PASSWORD", "SECRET", "KEYS", "TOKEN", "COOKIE"].iter().any(|word| name.ends_with(word));
        // Without a default there is no secret. A broker password defaults to the service's other password.
        if !is_secret || default.is_empty() || name.ends_with("_BROKER_PASSWORD") {
            continue;
        }
        let published = PUBLISHED.iter().find(|published| published.variable == name);
        let published = published.unwrap_or_else(|| panic!("{name} is not in PUBLISHED"));
        assert!(value(published, default), "{name} is {default}");
        assert!(value(published, example[name]), "{name} in .env.example");
        assert!(!checked[format!("COMMONPLACE__SECRETS__{name}")].is_null(), "{name} is not checked");
    }
}
