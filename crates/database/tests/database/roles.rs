//! The statements that each role must be refused, with the SQLSTATE.
//!
//! A service may only do what its own SQL needs. `contract check` proves that the grants are sufficient; these tests prove
//! that they are not wider.

mod particular;

use database::Session;
use test_servers::Database;

use self::particular::{NOT_COUNTING, particular};

const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// The tables of the schema `blogs`.
const BLOGS_TABLES: [&str; 10] = [
    "account",
    "blog",
    "blog_slug",
    "tag",
    "blog_tag",
    "blog_counter",
    "outbox",
    "idempotency_key",
    "export_request",
    "export_record",
];
/// The tables of the schema `analytics`.
const ANALYTICS_TABLES: [&str; 16] = [
    "envelope_ahead",
    "ledger_floor",
    "old_day",
    "envelope_ledger",
    "event_key",
    "blog_view",
    "blog_view_history",
    "blog_like",
    "blog_share",
    "blog_hour",
    "parked",
    "outcome",
    "attempt",
    "intake",
    "blog_popularity",
    "popularity_run",
];

/// Tables that only Blogs may write.
const SOCIAL_TABLES: [&str; 2] = ["follow", "follow_counter"];
/// Tables that only Notification may write, except the time when a notification was read.
const NOTIFY_TABLES: [&str; 2] = ["fan_out", "notification"];
/// Tables that only Recommendation may write.
const RECOMMEND_TABLES: [&str; 2] = ["neighbour", "progress"];

/// Statements that no service may run on another owner's table.
fn foreign(schema: &str, table: &str) -> Vec<String> {
    vec![
        format!("delete from {schema}.{table}"),
        format!("truncate {schema}.{table}"),
        format!("truncate {schema}.{table} cascade"),
        format!("lock table {schema}.{table} in access exclusive mode"),
        format!("lock table {schema}.{table} in share mode"),
        format!("drop table {schema}.{table}"),
        format!("alter table {schema}.{table} add column extra integer"),
        format!("alter table {schema}.{table} disable trigger all"),
        format!(
            "create trigger mine before insert on {schema}.{table} for each row execute function suppress_redundant_updates_trigger()"
        ),
        format!("create index on {schema}.{table} ((1))"),
    ]
}

/// Each schema with its tables, and the role of the service that owns them.
const SCHEMAS: [(&str, &[&str], &str); 5] = [
    ("blogs", &BLOGS_TABLES, "blogs_api"),
    ("social", &SOCIAL_TABLES, "blogs_api"),
    ("analytics", &ANALYTICS_TABLES, "analytics_worker"),
    ("notify", &NOTIFY_TABLES, "notification_worker"),
    ("recommend", &RECOMMEND_TABLES, "recommendation_api"),
];

fn refusals(role: &str) -> Vec<String> {
    let mut refused: Vec<String> = Vec::new();
    for (schema, tables, _) in SCHEMAS.into_iter().filter(|(_, _, own)| *own != role) {
        refused.extend(tables.iter().flat_map(|table| foreign(schema, table)));
    }
    let everywhere = [
        "create schema mine",
        "create table blogs.mine (id bigint)",
        "create table analytics.mine (id bigint)",
        "create table social.mine (id bigint)",
        "create table notify.mine (id bigint)",
        "create table recommend.mine (id bigint)",
        "create table days.mine (id bigint)",
        "create table public.mine (id bigint)",
        "select * from public.home",
        "update public.home set database_oid = 0",
        "create temporary table mine (id bigint)",
        "drop schema blogs cascade",
        "drop schema analytics cascade",
        "alter role blogs_owner login",
        "create role mine",
        "set role blogs_owner",
        "set role analytics_owner",
        "set role notify_owner",
        "set role recommend_owner",
        "select days.make('notify', 'notification', '2030-01-01', '1', '2')",
        "select social.count_follows()",
        "set session authorization postgres",
        "drop function analytics.drop_day(text, date, integer)",
        "update analytics.ledger_floor set day = '2000-01-01'",
        "insert into analytics.envelope_ahead values (gen_random_uuid(), '2000-01-01')",
        "delete from analytics.envelope_ahead",
        "select pg_read_file('/etc/passwd')",
        // One session could fill the lock table of the server, or hold a lock of the application.
        "select count(pg_advisory_lock(i)) from generate_series(1, 30000) i",
        "select pg_advisory_lock_shared(1)",
        "select pg_advisory_xact_lock(1)",
        "select pg_advisory_xact_lock_shared(1)",
        "select pg_try_advisory_lock(hashtextextended('commonplace.migrations', 0))",
        "select pg_try_advisory_lock_shared(1)",
        "select pg_try_advisory_xact_lock(1)",
        "select pg_try_advisory_xact_lock_shared(1)",
        "select pg_advisory_lock(1, 1)",
        // Functions that use disk and WAL without a limit.
        "select lo_create(0)",
        "select lo_creat(-1)",
        "select lo_from_bytea(0, '\\x00')",
        "select lo_open(1, 393216)",
        "select lo_put(1, 0, '\\x00')",
        "select lowrite(0, '\\x00')",
        "select pg_logical_emit_message(false, 'mine', repeat('x', 1000))",
        "select pg_logical_emit_message(true, 'mine', '\\x00'::bytea)",
        "select pg_export_snapshot()",
        "set temp_file_limit = '100GB'",
        "copy blogs.blog to program 'cat'",
    ];
    refused.extend(everywhere.map(str::to_owned));
    refused.extend(particular(role).iter().map(|statement| (*statement).to_owned()));
    refused
}

/// A table that is not listed above would not be tested here.
#[tokio::test]
async fn every_table_is_listed() {
    let world = Database::new().await;
    // Partitions come and go, and no statement names them.
    let tables = "select coalesce(array_agg(relname::text order by relname::text collate \"C\"), '{}') from pg_class
                  where relnamespace = $1::text::regnamespace and relkind in ('r', 'p', 'f') and not relispartition";
    for (schema, listed, _) in SCHEMAS {
        let mut listed = listed.to_vec();
        listed.sort_unstable();
        assert_eq!(world.value::<Vec<String>>(tables, &[&schema]).await, listed, "the tables of {schema}");
    }
    // `public` contains the migration history.
    let schemas = "select array_agg(nspname::text order by nspname::text collate \"C\") from pg_namespace n
                   where nspname not in ('pg_catalog', 'pg_toast', 'information_schema', 'public')
                     and exists (select from pg_class c where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'f'))";
    let mut listed = SCHEMAS.map(|(schema, _, _)| schema);
    listed.sort_unstable();
    assert_eq!(world.value::<Vec<String>>(schemas, &[]).await, listed, "schemas with tables");
}

#[tokio::test]
async fn every_login_role_is_refused_what_is_not_its_own() {
    let world = Database::new().await;
    for role in database::bootstrap::login_roles() {
        prove(&world, role).await;
    }
}

async fn prove(world: &Database, role: &str) {
    // The role tries to end the administrator's own session.
    let administrator: i32 = world.value("select pg_backend_pid()", &[]).await;
    let end_another = format!("select pg_terminate_backend({administrator})");
    let refused = refusals(role).into_iter().chain([end_another]);
    let session = world.session(role).await;
    // A role can change its own defaults, so a default must not be the reason for a refusal.
    session.client.batch_execute("set default_transaction_read_only = off").await.unwrap();
    assert_refused(&session, role, refused).await;
}

/// Asserts that each of these is refused because a privilege is missing.
async fn assert_refused(session: &Session, role: &str, statements: impl IntoIterator<Item = String>) {
    let mut allowed = Vec::new();
    for statement in statements {
        // LOCK needs a transaction; the other statements also run in one.
        session.client.batch_execute("begin").await.unwrap();
        match session.client.batch_execute(&statement).await {
            Ok(()) => allowed.push((statement, "no refusal".to_owned())),
            Err(error) => {
                let code = error.code().map_or_else(String::new, |code| code.code().to_owned());
                println!("{role:<17} {code}  {statement}");
                if code != INSUFFICIENT_PRIVILEGE {
                    allowed.push((statement, code));
                }
            }
        }
        session.client.batch_execute("rollback").await.unwrap();
    }
    assert!(allowed.is_empty(), "{role} is not refused with 42501: {allowed:#?}");
}

#[tokio::test]
async fn an_operator_who_redrives_may_count_and_nothing_else() {
    let world = Database::new().await;
    let session = world.session("operator").await;
    session.client.batch_execute("set role engagement_writer").await.unwrap();
    assert_refused(&session, "operator as engagement_writer", NOT_COUNTING.map(str::to_owned)).await;
    // The rights of the operator's own role are not among those of `engagement_writer`.
    let own = ["select blogs.suspend_account(1)", "select handle from blogs.account"].map(str::to_owned);
    assert_refused(&session, "operator as engagement_writer", own).await;
    let counting = "begin; update analytics.parked set redriven_at = now(); rollback";
    session.client.batch_execute(counting).await.unwrap();
}

#[tokio::test]
async fn without_the_direct_path_the_blogs_api_cannot_write_engagement() {
    let world = Database::new().await;
    let session = world.session("blogs_api").await;
    let insert =
        "insert into analytics.envelope_ledger (day, id, n) values (current_date, gen_random_uuid(), 1)";
    // The membership belongs to the cluster, which other tests share. So an administrator's session revokes it in a
    // transaction that is rolled back, and then acts as the role.
    world.run("begin; revoke engagement_writer from blogs_api; set local role blogs_api").await;
    let refused = world.client().batch_execute(insert).await.unwrap_err();
    world.run("rollback").await;
    assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some(INSUFFICIENT_PRIVILEGE));
    // With the membership, the only error is the missing partition: 23514.
    let no_partition = session.client.batch_execute(insert).await.unwrap_err();
    assert_eq!(no_partition.code().map(tokio_postgres::error::SqlState::code), Some("23514"));
}

/// The defaults that bootstrap sets on the roles; a test's own database may have longer timeouts.
#[tokio::test]
async fn every_login_role_has_its_limits() {
    let world = Database::new().await;
    let set =
        "select coalesce((select setconfig from pg_db_role_setting s join pg_roles r on r.oid = s.setrole
                                where r.rolname = $1 and s.setdatabase = 0), '{}')";
    for role in database::bootstrap::login_roles() {
        let set: Vec<String> = world.value(set, &[&role]).await;
        for setting in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] {
            let value = set.iter().find_map(|line| line.strip_prefix(&format!("{setting}=")));
            assert!(value.is_some_and(|value| value != "0"), "{role} has no {setting}: {set:?}");
        }
        assert!(set.contains(&"temp_file_limit=1GB".to_owned()), "{role}: {set:?}");
        match role {
            "operator" | "console" => {}
            // It gets little memory, and its commits do not wait for the disk.
            "recommendation_api" => {
                for own in ["synchronous_commit=off", "work_mem=32MB", "jit=off"] {
                    assert!(set.contains(&own.to_owned()), "{role}: {set:?}");
                }
            }
            // Its commits survive a crash, or it only reads.
            _ => {
                let has = |setting: &str| set.iter().any(|line| line == setting);
                let is_safe = has("synchronous_commit=on") || has("default_transaction_read_only=on");
                assert!(is_safe, "{role}: {set:?}");
            }
        }
    }
}
