//! What each role is refused, statement by statement, with the SQLSTATE.
//!
//! The first guard rail: a service can only do what its own SQL needs. The table below is the proof of the other
//! half, that the grants are not wider than that.

use crate::world::World;

const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Tables that the worker does not own.
const BLOGS_TABLES: [&str; 8] =
    ["account", "blog", "blog_slug", "tag", "blog_tag", "blog_counter", "outbox", "idempotency_key"];
/// Tables that the Blogs API does not own.
const ANALYTICS_TABLES: [&str; 11] = [
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
];

/// What no service may do with a table that it does not own.
fn foreign(schema: &str, table: &str) -> Vec<String> {
    vec![
        format!("delete from {schema}.{table}"),
        format!("truncate {schema}.{table}"),
        format!("truncate {schema}.{table} cascade"),
        format!("lock table {schema}.{table} in access exclusive mode"),
        format!("drop table {schema}.{table}"),
        format!("alter table {schema}.{table} add column extra integer"),
        format!("alter table {schema}.{table} disable trigger all"),
        format!(
            "create trigger mine before insert on {schema}.{table} for each row execute function suppress_redundant_updates_trigger()"
        ),
        format!("create index on {schema}.{table} ((1))"),
    ]
}

fn refusals(role: &str) -> Vec<String> {
    let mut refused: Vec<String> = Vec::new();
    let (schema, tables): (&str, &[&str]) = match role {
        "analytics_worker" => ("blogs", &BLOGS_TABLES),
        _ => ("analytics", &ANALYTICS_TABLES),
    };
    refused.extend(tables.iter().flat_map(|table| foreign(schema, table)));
    if role == "operator" {
        refused.extend(BLOGS_TABLES.iter().flat_map(|table| foreign("blogs", table)));
    }
    let everywhere = [
        "create schema mine",
        "create table blogs.mine (id bigint)",
        "create table analytics.mine (id bigint)",
        "create table public.mine (id bigint)",
        "create temporary table mine (id bigint)",
        "drop schema blogs cascade",
        "drop schema analytics cascade",
        "alter role blogs_owner login",
        "create role mine",
        "set role blogs_owner",
        "set role analytics_owner",
        "set session authorization postgres",
        "drop function analytics.drop_day(text, date)",
        "update analytics.ledger_floor set day = '2000-01-01'",
        "select pg_read_file('/etc/passwd')",
        "copy blogs.blog to program 'cat'",
    ];
    refused.extend(everywhere.map(str::to_owned));
    refused.extend(particular(role).iter().map(|statement| (*statement).to_owned()));
    refused
}

/// What concerns one role alone.
fn particular(role: &str) -> &'static [&'static str] {
    match role {
        "analytics_worker" => &[
            "select email from blogs.account",
            "select password_hash from blogs.account",
            "select * from blogs.account",
            "select body from blogs.blog",
            "select title from blogs.blog",
            "select response from blogs.idempotency_key",
            "select body from blogs.outbox",
            "update blogs.blog set title = 'mine'",
            "update blogs.blog set body = 'mine'",
            "update blogs.blog set deleted_at = now()",
            "update blogs.blog_counter set blog_id = 1",
            "update blogs.account set token_epoch = 0",
            "insert into blogs.blog_counter (blog_id) values (1)",
            "insert into blogs.outbox (id, routing_key, events, body) values (gen_random_uuid(), 'engagement', 1, '')",
            "select id from blogs.blog for update",
            "delete from analytics.event_key",
            "delete from analytics.envelope_ledger",
            "truncate analytics.parked",
            "select blogs.suspend_account(1)",
            "select blogs.erase_account(1)",
            "select analytics.erase_account(1)",
            "select analytics.mend_counter(1)",
            "select blogs.export_account(1)",
        ],
        "blogs_api" => &[
            "delete from blogs.account",
            "delete from blogs.blog",
            "delete from blogs.blog_counter",
            "truncate blogs.blog",
            "truncate blogs.outbox",
            "update blogs.account set handle = 'mine'",
            "update blogs.blog set author_id = 1",
            "select analytics.drop_day('envelope_ledger', '2020-01-01')",
            "select analytics.raise_floor('2030-01-01')",
            "select analytics.forget_event_keys(1)",
            "select * from analytics.ledger_floor",
            "update blogs.account set suspended_at = null",
            "update blogs.blog set taken_down_at = null",
            "select blogs.restore_account(1)",
            "select blogs.restore_blog(1)",
            "select blogs.erase_account(1)",
            "select analytics.drop_parked(gen_random_uuid(), 0)",
        ],
        _ => &[
            "select email from blogs.account",
            "select password_hash from blogs.account",
            "update blogs.blog set title = 'mine'",
            "update blogs.blog_counter set total_views = 0",
            "update blogs.account set suspended_at = now()",
            "update blogs.blog set taken_down_at = now()",
            "update analytics.parked set body = ''",
            "select analytics.drop_day('envelope_ledger', '2020-01-01')",
            // A member of engagement_writer that inherits nothing: without saying so first, it may not count.
            "insert into analytics.outcome (hour, kind, outcome, slot, n) values (now(), 'view', 'counted', 0, 1)",
        ],
    }
}

async fn prove(role: &str) {
    let world = World::new().await;
    let session = world.session(role).await;
    let mut allowed = Vec::new();
    // The administrator's own session is there to be ended, if one may.
    let administrator: i32 = world.value("select pg_backend_pid()", &[]).await;
    let end_another = format!("select pg_terminate_backend({administrator})");
    for statement in refusals(role).into_iter().chain([end_another]) {
        // LOCK wants a transaction; the rest does not mind.
        session.client.batch_execute("begin").await.unwrap();
        match session.client.batch_execute(&statement).await {
            Ok(()) => allowed.push((statement, "no refusal".to_owned())),
            Err(error) => {
                let code = error.code().map_or_else(String::new, |code| code.code().to_owned());
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
async fn the_worker_is_refused_what_is_not_its_own() {
    prove("analytics_worker").await;
}

#[tokio::test]
async fn the_blogs_api_is_refused_what_is_not_its_own() {
    prove("blogs_api").await;
}

#[tokio::test]
async fn the_operator_is_refused_what_would_change_anything() {
    prove("operator").await;
}

#[tokio::test]
async fn without_the_direct_path_the_blogs_api_cannot_write_engagement() {
    let world = World::new().await;
    let session = world.session("blogs_api").await;
    let insert =
        "insert into analytics.envelope_ledger (day, id, n) values (current_date, gen_random_uuid(), 1)";
    // The membership belongs to the cluster, which other tests share: it is taken away in a transaction that is
    // rolled back, by a session of the administrator that then acts as the role.
    world.run("begin; revoke engagement_writer from blogs_api; set local role blogs_api").await;
    let refused = world.client().batch_execute(insert).await.unwrap_err();
    world.run("rollback").await;
    assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some(INSUFFICIENT_PRIVILEGE));
    // With it, what is refused is only that there is no partition yet: 23514.
    let no_partition = session.client.batch_execute(insert).await.unwrap_err();
    assert_eq!(no_partition.code().map(tokio_postgres::error::SqlState::code), Some("23514"));
}

#[tokio::test]
async fn every_login_role_has_its_time_limits() {
    let world = World::new().await;
    for role in ["blogs_api", "analytics_worker", "operator"] {
        let session = world.session(role).await;
        for setting in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] {
            let sql = "select setting::bigint from pg_settings where name = $1";
            let milliseconds: i64 = session.client.query_one(sql, &[&setting]).await.unwrap().get(0);
            assert!(milliseconds > 0, "{role} has no {setting}");
        }
    }
}
