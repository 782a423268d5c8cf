//! A check leaves the roles, memberships and settings of the server that it is given unchanged. In a private cluster it
//! runs commands on roles and reports their effects; on a server it refuses them before it runs anything.

use std::fs;
use std::path::Path;

use database::Session;
use tokio_postgres::Config;

use super::{check, check_with, commonplace, database_url};

/// Everything that a migration could change for the other databases of the server. Scratch databases come and go.
const STATE: &str = "
  select to_jsonb(r)::text from pg_roles r
  union all select to_jsonb(m)::text from pg_auth_members m
  union all select to_jsonb(s)::text from pg_db_role_setting s
  union all select a.rolname || a.rolpassword from pg_authid a
  union all select d.datname || d.datconnlimit || coalesce(d.datacl::text, '') from pg_database d
            where d.datname not like 'commonplace\\_contract\\_%'
  union all select name || setting from pg_file_settings
  order by 1";

fn rows(sql: &str) -> Vec<Option<String>> {
    with_session(&database_url(), async |session| {
        session.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    })
}

/// A role that can read which migrations are in force, and nothing else.
pub(super) fn make_reader(url: &str) {
    const READER: &str = "create role only_reader login password 'for this test only';
                          grant usage on schema public to only_reader;
                          grant select on public.refinery_schema_history to only_reader";
    with_session(url, async |session| session.client.batch_execute(READER).await.unwrap());
}

fn with_session<T>(url: &str, work: impl AsyncFnOnce(Session) -> T) -> T {
    let config: Config = url.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { work(Session::open(&config).await.unwrap()).await })
}

fn check_privately(migration: &str) -> (bool, String) {
    check_with(migration, &mut commonplace(&["contract", "check"], &database_url()))
}

/// Asserts that a row of the table names this service with this role and reason.
fn assert_named(said: &str, service: &str, role: &str, reason: &str) {
    let found = said.lines().any(|line| {
        let mut cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.next() == Some(service) && cells.next() == Some(role) && cells.next() == Some(reason)
    });
    assert!(found, "{service}, {role}, {reason:?} is not in:\n{said}");
}

#[test]
fn private_check_names_services_whose_roles_lose_access() {
    let before = rows(STATE);
    let (passed, said) = check_privately(
        "alter role notification_worker nologin;
         alter role recommendation_api valid until '2020-01-01';
         alter role operator connection limit 0;
         alter role analytics_worker set default_transaction_read_only = on;
         revoke engagement_writer from blogs_api;
         drop owned by console;
         drop role console;",
    );
    assert!(!passed, "{said}");
    for (service, role, reason) in [
        ("notification-worker", "role notification_worker", "may no longer log in"),
        ("recommendation-api", "role recommendation_api", "has an expired password"),
        ("operators' commands", "role operator", "may no longer hold a connection"),
        ("analytics-worker", "role analytics_worker", "now has the setting default_transaction_read_only=on"),
        ("blogs-api (direct path)", "role blogs_api", "is no longer a member of engagement_writer"),
        ("console", "role console", "does not exist"),
    ] {
        assert_named(&said, service, role, reason);
    }
    let named_for_nothing = said.lines().any(|line| line.trim_start().starts_with("blogs-api   "));
    assert!(!named_for_nothing, "{said}");
    assert_eq!(rows(STATE), before, "the server of DATABASE_URL has changed");
}

#[test]
fn private_check_names_services_that_may_not_connect_any_more() {
    let before = rows(STATE);
    let (passed, said) = check_privately(
        "revoke connect on database postgres from public; grant connect on database postgres to blogs_api",
    );
    assert!(!passed, "{said}");
    assert_named(&said, "console", "role console", "may no longer connect to the database");
    assert!(!said.contains("role engagement_writer"), "a group never logs in:\n{said}");
    assert!(
        !said.lines().any(|line| line.trim_start().starts_with("blogs-api")),
        "named for nothing:\n{said}"
    );
    assert_eq!(rows(STATE), before, "the server of DATABASE_URL has changed");
}

/// The only right that the check needs on the deployed database is to read one table.
#[test]
fn private_check_only_reads_from_the_deployed_database_and_leaves_no_files() {
    let server = database_url().split_once('@').unwrap().1.to_owned();
    let url = format!("postgres://only_reader:for%20this%20test%20only@{server}");
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract-temporary");
    fs::create_dir_all(&temporary).unwrap();

    let migration = "create table blogs.later (id bigint); alter role console set work_mem = '8MB'";
    let mut command = commonplace(&["contract", "check"], &url);
    let (passed, said) = check_with(migration, command.env("TMPDIR", &temporary));
    assert!(passed && said.contains("nothing breaks"), "{said}");
    let pending = said.lines().find(|line| line.starts_with("pending: ")).unwrap();
    assert!(pending.ends_with("__pending") && !pending.contains(','), "{said}");

    let left = fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| !name.to_str().unwrap().ends_with(".lock")).collect();
    assert!(left.is_empty(), "{left:?} is left");
}

#[test]
fn check_on_server_refuses_what_would_change_the_server_before_anything_runs() {
    let before = rows(STATE);
    for (migration, command) in [
        ("alter role notification_worker nologin", "alter role"),
        ("revoke engagement_writer from blogs_api", "revoke of a membership"),
        ("create table blogs.later (id bigint); commit; alter user console nologin", "commit"),
        ("alter system set work_mem = '64MB'", "alter system"),
        ("revoke connect on database postgres from public", "revoke on database"),
        ("do $$ begin execute format('alter role %I nologin', 'notification_worker'); end $$", "alter role"),
    ] {
        check(migration);
        assert_eq!(rows(STATE), before, "{migration} has changed the server");
        // If any of this migration ran, the error would be a division by zero.
        let (passed, said) = check(&format!("select 1 / 0;\n{migration}"));
        assert!(!passed && said.contains("refused before anything ran"), "{said}");
        assert!(said.contains(&format!("__pending, line 2: `{command}`")), "{said}");
    }
}

/// The text of these migrations does not show the commands.
#[test]
fn check_on_server_rolls_back_a_migration_that_changes_the_server() {
    let before = rows(STATE);
    for (command, change) in [
        (
            "'alt' || chr(101) || 'r role notification_worker nologin'",
            "role notification_worker: rolcanlogin was true, is false now",
        ),
        ("format('revoke connect on database %I from public', 'postgres')", "database postgres: datacl was "),
    ] {
        let (passed, said) = check(&format!("do $$ begin execute {command}; end $$"));
        assert_eq!(rows(STATE), before, "the server has changed");
        assert!(!passed && said.contains("__pending changes the whole server"), "{said}");
        assert!(said.contains(change), "{said}");
    }
}

#[test]
fn commands_in_comments_and_text_are_not_refused() {
    let harmless = "
        -- alter role notification_worker nologin; commit;
        /* alter system set work_mem = '64MB'; /* drop role console; */ */
        create table blogs.later (id bigint primary key, role text);
        comment on table blogs.later is 'before: alter role notification_worker nologin; commit;';
        do $$ begin
          -- revoke engagement_writer from blogs_api;
          execute 'create index on blogs.later (role)';
        end $$;";
    for (passed, said) in [check(harmless), check_privately(harmless)] {
        assert!(passed && said.contains("nothing breaks"), "{said}");
    }
}
