//! Outside of its own crate and the list, a service is named in data files. Each file must have a block for each
//! service; a missing one is reported with the file and the service.

use runtime::settings::published::PUBLISHED;
use services::{Entry, SERVICES};

use crate::files::{BASE, DOCKERFILE, EXAMPLE, read};

const PROMETHEUS: &str = include_str!("../../../deploy/prometheus/prometheus.yml");
const SMOKE: &str = include_str!("../../../deploy/smoke");
const ROLES: &str = include_str!("../../../crates/database/src/roles.toml");
const USERS: &str = include_str!("../../../crates/broker/src/administer/users.toml");
const MIGRATE: &str = include_str!("../../../config/migrate.toml");
const SECRETS: &str = include_str!("../../../config/secrets.toml");
const CONSOLE: &str = include_str!("../../../config/console.toml");
const METRICS: &str = include_str!("../../../docs/metrics.md");

/// The console does not watch itself.
const LOOKS: &str = "console";

/// The files that are checked; a test can remove a block from one.
#[derive(Clone, Copy)]
struct Files<'a> {
    compose: &'a str,
    prometheus: &'a str,
    dockerfile: &'a str,
    roles: &'a str,
    users: &'a str,
    migrate: &'a str,
    secrets: &'a str,
    console: &'a str,
}

const FILES: Files<'static> = Files {
    compose: BASE,
    prometheus: PROMETHEUS,
    dockerfile: DOCKERFILE,
    roles: ROLES,
    users: USERS,
    migrate: MIGRATE,
    secrets: SECRETS,
    console: CONSOLE,
};

/// Whether a section of a TOML file has a key.
fn has(file: &str, section: &str, key: &str) -> bool {
    let table: toml::Table = file.parse().unwrap();
    table.get(section).and_then(|section| section.get(key)).is_some()
}

/// What a service's container lacks.
fn of_container(service: &Entry, compose: &str, missing: &mut Vec<String>) {
    let Entry { name, role, uses_rabbitmq, .. } = *service;
    let compose = &read(&[compose])["services"];
    let (container, variables) = (&compose[name], |of: &str| compose[of]["environment"].clone());
    let mut require = |is_there: bool, what: String| {
        if !is_there {
            missing.push(format!("{name}: {what} in docker-compose.yml"));
        }
    };
    let upper = role.to_uppercase();
    let is_built = container["build"]["args"]["SERVICE"] == name;
    require(is_built && container["image"] == format!("commonplace/{name}"), format!("the service {name}"));
    let logs_in = |variable: &str, scheme: &str| {
        let address = container["environment"][variable].as_str().unwrap_or_default();
        address.starts_with(&format!("{scheme}://{role}:"))
    };
    require(logs_in("DATABASE_URL", "postgres"), format!("DATABASE_URL of {role}"));
    require(
        logs_in("AMQP_URL", "amqp") == uses_rabbitmq,
        format!("AMQP_URL of {role}, only if it uses RabbitMQ"),
    );
    let publishes = !container["ports"].is_null();
    require(publishes == service.port.is_some(), "ports, only if users reach it".to_owned());
    for (of, prefix, wanted) in [
        ("migrate", "COMMONPLACE__ROLES__", true),
        ("migrate", "COMMONPLACE__RABBITMQ__", uses_rabbitmq),
        ("secrets", "COMMONPLACE__SECRETS__", true),
    ] {
        let variable = format!("{prefix}{upper}_PASSWORD");
        require(variables(of)[&variable].is_null() != wanted, format!("{variable} of {of}"));
    }
    let variable = format!("COMMONPLACE__SCRAPE__{upper}");
    require(name == LOOKS || !variables(LOOKS)[&variable].is_null(), format!("{variable} of {LOOKS}"));
}

/// Every block that a service of the list lacks.
fn missing(files: &Files<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    for service in &SERVICES {
        let Entry { name, role, uses_rabbitmq, .. } = *service;
        of_container(service, files.compose, &mut missing);
        let password = format!("{role}_password");
        let variable = password.to_uppercase();
        let block = format!("[{role}]");
        let has_block = |file: &str| file.lines().any(|line| line == block);
        let names = |text: &str| text.split([' ', ';']).any(|word| word == name);
        let copied = format!("/target/release/{name} ");
        let job = format!("job_name: {name}\n");
        for (is_there, what) in [
            (
                files.prometheus.contains(&job),
                format!("job_name: {name} in deploy/prometheus/prometheus.yml"),
            ),
            (files.dockerfile.contains(&copied), format!("{copied}in deploy/Dockerfile")),
            (has_block(files.roles), format!("{block} in crates/database/src/roles.toml")),
            (
                has_block(files.users) == uses_rabbitmq,
                format!("{block} in crates/broker/src/administer/users.toml"),
            ),
            (has(files.migrate, "roles", &password), format!("roles.{password} in config/migrate.toml")),
            (
                has(files.migrate, "roles", &format!("{role}_connections")),
                format!("roles.{role}_connections in config/migrate.toml"),
            ),
            (
                has(files.migrate, "rabbitmq", &password) == uses_rabbitmq,
                format!("rabbitmq.{password} in config/migrate.toml"),
            ),
            (has(files.secrets, "secrets", &password), format!("secrets.{password} in config/secrets.toml")),
            (
                name == LOOKS || has(files.console, "scrape", role),
                format!("scrape.{role} in config/console.toml"),
            ),
            (
                PUBLISHED.iter().any(|published| published.variable == variable),
                format!("{variable} in crates/configuration/src/published.txt"),
            ),
            (EXAMPLE.contains(&format!("\n{variable}=")), format!("{variable} in .env.example")),
            (METRICS.contains(&format!("`{name}`")), format!("{name} in docs/metrics.md")),
            (SMOKE.lines().any(names), format!("{name} in deploy/smoke")),
        ] {
            if !is_there {
                missing.push(format!("{name}: {what}"));
            }
        }
    }
    missing
}

#[test]
fn every_service_of_the_list_has_its_blocks() {
    let missing = missing(&FILES);
    assert!(missing.is_empty(), "{} blocks are missing:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn a_missing_block_is_named_with_its_service_and_file() {
    let without = |text: &str, start: &str, end: &str| {
        let (before, block) = text.split_once(start).unwrap_or_else(|| panic!("{start}"));
        let (_, after) = block.split_once(end).unwrap_or_else(|| panic!("{start}: {end}"));
        format!("{before}{after}")
    };
    let compose = without(BASE, "  notification-worker:\n    <<: *service", "\n\n");
    let cut = [
        (Files { compose: &compose, ..FILES }, "the service notification-worker in docker-compose.yml"),
        (
            Files {
                compose: &without(BASE, "      COMMONPLACE__ROLES__NOTIFICATION_WORKER_PASSWORD:", "\n"),
                ..FILES
            },
            "COMMONPLACE__ROLES__NOTIFICATION_WORKER_PASSWORD of migrate in docker-compose.yml",
        ),
        (
            Files { prometheus: &without(PROMETHEUS, "  - job_name: notification-worker", "]\n"), ..FILES },
            "job_name: notification-worker in deploy/prometheus/prometheus.yml",
        ),
        (
            Files { dockerfile: &DOCKERFILE.replace("/target/release/notification-worker ", ""), ..FILES },
            "/target/release/notification-worker in deploy/Dockerfile",
        ),
        (
            Files { roles: &without(ROLES, "[notification_worker]", "\n\n"), ..FILES },
            "[notification_worker] in crates/database/src/roles.toml",
        ),
        (
            Files { users: &without(USERS, "[notification_worker]", "\n\n"), ..FILES },
            "[notification_worker] in crates/broker/src/administer/users.toml",
        ),
        (
            Files { migrate: &without(MIGRATE, "notification_worker_connections", "\n"), ..FILES },
            "roles.notification_worker_connections in config/migrate.toml",
        ),
        (
            Files { console: &without(CONSOLE, "\nnotification_worker = ", "]"), ..FILES },
            "scrape.notification_worker in config/console.toml",
        ),
    ];
    for (files, what) in cut {
        let found = missing(&files);
        let named = format!("notification-worker: {what}");
        assert!(found.contains(&named), "{named:?} in {found:#?}");
    }
}
