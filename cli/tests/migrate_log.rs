//! The log of `commonplace migrate` at the finest level.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stack::{Options, Stack};

const PASSWORD: &str = "for-this-test-only";

/// The contents of the hex dumps in a log: lines that end in groups of hexadecimal digits, two spaces, and the same
/// bytes as text.
fn dumped(log: &str) -> String {
    let rows = log.lines().filter_map(|line| Some(line.rsplit_once(": ")?.1.split_once("  ")?.0));
    let digits: String = rows.flat_map(|row| row.split(' ')).collect();
    let bytes = digits.as_bytes().chunks_exact(2).filter_map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

#[test]
fn migrate_logs_no_password_at_trace_level() {
    let mut options = Options::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/migrate-log"));
    (options.durable, options.fresh) = (false, true);
    let stack = Stack::start(&options, &mut |_step| {}).expect("private servers start");
    let management = stack.management_url();
    let (login, _place) = management.strip_prefix("http://").unwrap().rsplit_once('@').unwrap();
    let (_user, administrators) = login.split_once(':').unwrap();
    let in_header = STANDARD.encode(login);

    let mut migrate = Command::new(env!("CARGO_BIN_EXE_commonplace"));
    migrate.arg("migrate").env("DATABASE_URL", stack.postgres_url()).env("COMMONPLACE__LOG__FILTER", "trace");
    migrate.env("COMMONPLACE__RABBITMQ__MANAGEMENT_URL", &management);
    for user in broker::users() {
        migrate.env(format!("COMMONPLACE__RABBITMQ__{}_PASSWORD", user.to_uppercase()), PASSWORD);
    }
    for role in database::bootstrap::login_roles() {
        migrate.env(format!("COMMONPLACE__ROLES__{}_PASSWORD", role.to_uppercase()), PASSWORD);
    }
    let migrated = migrate.output().unwrap();
    let log = String::from_utf8_lossy(&migrated.stderr).into_owned();
    assert!(migrated.status.success(), "{log}");
    assert!(log.contains("refinery_core"), "what is safe is logged: {log}");
    let logged = log.clone() + &dumped(&log);
    let secrets = [PASSWORD, administrators, &in_header];
    let found: Vec<&str> =
        logged.lines().filter(|line| secrets.iter().any(|secret| line.contains(secret))).collect();
    assert!(found.is_empty(), "{found:#?}");
    stack.stop().unwrap();
}
