//! `commonplace contract check` as an operator runs it: a migration that breaks a service is refused with the service, the
//! file and the reason; a migration that breaks no service passes.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its output is its report"
)]

mod server;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use database::bootstrap::login_roles;
use stack::{Options, Postgres};

/// How long a service may take to check its settings and its database. Generous: two cores run all tests at once.
const REFUSED_WITHIN: Duration = Duration::from_secs(60);

static POSTGRES: OnceLock<Postgres> = OnceLock::new();

/// The server of all tests in this file, on which the roles exist. It ends with the process.
fn database_url() -> String {
    let postgres = POSTGRES.get_or_init(|| {
        let mut options = Options::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/contract"));
        (options.durable, options.fresh) = (false, true);
        let postgres =
            Postgres::start(&options, &mut |step| eprintln!("{step}")).expect("a private server starts");
        let mut migrate = commonplace(&["migrate"], &postgres.url());
        for role in login_roles() {
            let variable = format!("COMMONPLACE__ROLES__{}_PASSWORD", role.to_uppercase());
            migrate.env(variable, "for this test only");
        }
        migrate.env("COMMONPLACE__ROLES__DIRECT_PATH", "true");
        let migrated = migrate.output().unwrap();
        assert!(migrated.status.success(), "{migrated:?}");
        server::make_reader(&postgres.url());
        postgres
    });
    postgres.url()
}

fn commonplace(arguments: &[&str], database_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commonplace"));
    command.args(arguments).env("DATABASE_URL", database_url);
    command
}

/// The output of a command that should end by itself. After a timeout the command is killed, without an exit code, so that
/// its test fails instead of hanging.
fn output_within(command: &mut Command, most: Duration) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + most;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ended_already = child.kill();
    child.wait_with_output().unwrap()
}

/// Checks the migrations of this build with one more, in a scratch database on the server of all tests.
fn check(migration: &str) -> (bool, String) {
    check_with(migration, &mut commonplace(&["contract", "check", "--on-server"], &database_url()))
}

/// Like [`check`], with this command.
fn check_with(migration: &str, command: &mut Command) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let landed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut newest = 0;
    for file in std::fs::read_dir(landed).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some((version, _)) = name.strip_prefix('V').and_then(|rest| rest.split_once("__")) {
            newest = newest.max(version.parse::<u32>().unwrap());
        } else if name != "grants.sql" {
            continue;
        }
        std::fs::copy(&file, folder.path().join(&name)).unwrap();
    }
    std::fs::write(folder.path().join(format!("V{}__pending.sql", newest + 1)), migration).unwrap();
    let Output { status, stdout, stderr } = command.arg("--migrations").arg(folder.path()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    println!("{migration}\n{said}");
    (status.success(), said)
}

/// Asserts that the migration is refused for this reason, and that exactly these services are named, each with at least
/// this file.
fn refused(migration: &str, named: &[(&str, &str)], reason: &str) {
    let (passed, said) = check(migration);
    assert!(!passed, "{migration} passed:\n{said}");
    let rows: Vec<_> = said.lines().filter(|line| line.contains(".sql")).collect();
    let is_of = |row: &str, service: &str| {
        row.trim_start_matches(['│', '|', ' '])
            .strip_prefix(service)
            .is_some_and(|rest| rest.starts_with("  "))
    };
    for (service, file) in named {
        let row = rows.iter().find(|row| is_of(row, service) && row.contains(file));
        assert!(
            row.is_some_and(|row| row.contains(reason)),
            "{service} {file} is not named with {reason:?}:\n{said}"
        );
    }
    for row in rows {
        assert!(named.iter().any(|(service, _)| is_of(row, service)), "{row} is named for nothing:\n{said}");
    }
}

#[test]
fn a_dropped_column_names_the_services_that_use_it() {
    refused(
        "alter table blogs.blog_counter drop column total_shares",
        &[
            ("analytics-worker", "blog_counter_add.sql"),
            ("blogs-api", "blog_by_id.sql"),
            ("blogs-api (direct path)", "blog_counter_add.sql"),
            ("operators' commands", "blog_counter_add.sql"),
        ],
        "total_shares",
    );
}

#[test]
fn renamed_follow_column_names_the_notification_worker() {
    refused(
        "alter table social.follow rename column followed_at to since",
        &[("notification-worker", "notification_insert.sql")],
        "followed_at",
    );
}

#[test]
fn a_renamed_column_names_the_services_that_use_it() {
    refused(
        "alter table analytics.blog_hour rename column unlikes to withdrawn",
        &[
            ("analytics-worker", "blog_hour_upsert.sql"),
            ("blogs-api", "stats_series.sql"),
            ("blogs-api (direct path)", "blog_hour_upsert.sql"),
            ("operators' commands", "blog_hour_upsert.sql"),
        ],
        "unlikes",
    );
}

#[test]
fn a_retyped_column_names_the_services_that_use_it() {
    // The type is narrower, but every statement still prepares: only the comparison of types finds it.
    refused(
        "alter table blogs.blog_counter alter column total_views type integer",
        &[
            ("analytics-worker", "blog_counter_add.sql"),
            ("blogs-api", "blog_by_id.sql"),
            ("blogs-api (direct path)", "blog_counter_add.sql"),
            ("operators' commands", "blog_counter_add.sql"),
        ],
        "is now integer, was bigint",
    );
}

#[test]
fn revoked_grant_names_only_the_services_that_lose_it() {
    refused(
        "revoke execute on function analytics.old_days(text, integer) from analytics_worker",
        &[("analytics-worker", "old_days.sql")],
        "42501",
    );
    refused("revoke select on blogs.tag from blogs_api", &[("blogs-api", "tag")], "42501");
}

#[test]
fn a_dropped_table_and_function_are_named() {
    refused(
        "drop table analytics.blog_share",
        &[
            ("analytics-worker", "blog_share_upsert.sql"),
            ("blogs-api (direct path)", "blog_share_upsert.sql"),
            ("operators' commands", "blog_share_upsert.sql"),
        ],
        "42P01",
    );
    refused(
        "drop function analytics.create_day(text, date)",
        &[
            ("analytics-worker", "create_day.sql"),
            ("blogs-api (direct path)", "create_day.sql"),
            ("operators' commands", "create_day.sql"),
        ],
        "42883",
    );
}

#[test]
fn migration_that_breaks_no_service_passes() {
    for harmless in [
        "alter table blogs.blog add column subtitle text",
        "alter table analytics.blog_hour add column reads bigint",
        "create index on blogs.blog (updated_at)",
        "create table blogs.later (id bigint primary key)",
    ] {
        let (passed, said) = check(harmless);
        assert!(passed, "{harmless} is refused:\n{said}");
        assert!(said.contains("nothing breaks"), "{said}");
    }
}

/// The database determines which migrations are in force, not the build that contains them.
#[test]
fn migration_that_the_database_lacks_is_pending() {
    let (_, said) = check("create table blogs.later (id bigint primary key)");
    let pending = said.lines().find_map(|line| line.strip_prefix("pending: ")).unwrap();
    assert!(pending.starts_with('V') && pending.ends_with("__pending") && !pending.contains(','), "{said}");
}

#[test]
fn roles_that_ask_for_more_connections_than_there_are_are_refused() {
    let url = database_url();
    let migrate = |connections: &str| {
        let mut migrate = commonplace(&["migrate"], &url);
        for role in login_roles() {
            let variable = format!("COMMONPLACE__ROLES__{}_PASSWORD", role.to_uppercase());
            migrate.env(variable, "for this test only");
        }
        migrate.env("COMMONPLACE__ROLES__DIRECT_PATH", "true");
        migrate.env("COMMONPLACE__ROLES__BLOGS_API_CONNECTIONS", connections).output().unwrap()
    };
    let refused = migrate("5000");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("lower roles.*_connections or raise max_connections"), "{said}");

    // A service whose pools could open more connections than its role has does not start.
    let server = url.split_once('@').unwrap().1;
    let url = format!("postgres://blogs_api:for%20this%20test%20only@{server}");
    let mut serve = commonplace(&["serve", "blogs-api"], &url);
    serve.env("COMMONPLACE__DATABASE__POOL_MAX", "400").env("COMMONPLACE__HTTP__ADDRESS", "127.0.0.1:0");
    serve.env("COMMONPLACE__HTTP__OPERATIONS_ADDRESS", "");
    serve.env("COMMONPLACE__TOKENS__SIGNING_KEYS", "test:VGhlIHNlZWQgb2YgdGVzdCBzZXNzaW9ucyBhbG9uZSE=");
    serve.env("COMMONPLACE__ENGAGEMENT__VISITOR_SECRET", "for tests on this machine only, and long enough");
    let refused = output_within(&mut serve, REFUSED_WITHIN);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("lower one of them or raise the role's limit"), "{said}");
}
