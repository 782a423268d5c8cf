//! What each role is refused, statement by statement, with the SQLSTATE.
//!
//! The first guard rail: a service can only do what its own SQL needs. The table below is the proof of the other
//! half, that the grants are not wider than that.

use database::Session;

use crate::world::World;

const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Tables that the worker does not own.
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
/// Tables that the Blogs API does not own.
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
/// Tables that only Notification may write, but for when something was read.
const NOTIFY_TABLES: [&str; 2] = ["fan_out", "notification"];
/// Tables that only Recommendation may write.
const RECOMMEND_TABLES: [&str; 2] = ["neighbour", "progress"];

/// What no service may do with a table that it does not own.
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
        // Disk and WAL that no limit bounds.
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

/// What concerns one role alone.
fn particular(role: &str) -> &'static [&'static str] {
    match role {
        "analytics_worker" => OF_ANALYTICS,
        "notification_worker" => OF_NOTIFICATION,
        "recommendation_api" => OF_RECOMMENDATION,
        "blogs_api" => OF_BLOGS,
        "console" => OF_CONSOLE,
        _ => OF_OPERATORS,
    }
}

const OF_ANALYTICS: &[&str] = &[
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
    "delete from analytics.old_day",
    "update analytics.old_day set dropped_at = null",
    "truncate analytics.parked",
    "select follower_id from social.follow",
    "select recipient_id from notify.notification",
    "select * from notify.fan_out",
    "select blogs.suspend_account(1)",
    "select blogs.undelete_account(1)",
    "select blogs.forget_deleted_accounts(14, 100)",
    "select blogs.erase_account(1)",
    "select analytics.erase_account(1)",
    "select analytics.mend_counter(1)",
    "select blogs.export_account(1)",
    "select blogs.sample_again()",
    "select analytics.sample_again()",
];

const OF_NOTIFICATION: &[&str] = &[
    "select * from blogs.account",
    "select email from blogs.account",
    "select title from blogs.blog",
    "select published_at from blogs.live_blog",
    "update blogs.first_publishing set first_published_at = now()",
    "delete from blogs.first_publishing",
    "select first_published_at from blogs.blog",
    "select body from blogs.outbox",
    "select following from social.follow_counter",
    "insert into social.follow (followee_id, follower_id) values (1, 2)",
    "update social.follow set followed_at = now()",
    "select follower_id from social.follow for update",
    "update social.follow_counter set followers = 0",
    // It writes inboxes; it does not read them, nor can it unwrite them.
    "select recipient_id from notify.notification",
    "update notify.notification set read_at = now()",
    "delete from notify.notification",
    "truncate notify.notification",
    "delete from notify.fan_out",
    "update notify.fan_out set published_at = now()",
    "update notify.fan_out set blog_id = 1",
    "insert into analytics.outcome (hour, kind, outcome, slot, n) values (now(), 'view', 'counted', 0, 1)",
    "select total_views from blogs.blog_counter",
    "select notify.cancel_fan_out(1)",
    "select notify.erase_account(1)",
    "select analytics.create_day('blog_view', current_date)",
    "select blogs.undelete_account(1)",
    "select blogs.forget_deleted_accounts(14, 100)",
];

const OF_RECOMMENDATION: &[&str] = &[
    "select * from blogs.account",
    "select email from blogs.account",
    "select body from blogs.blog",
    "select deleted_at from blogs.blog",
    "select total_views from blogs.blog_counter",
    "select body from blogs.outbox",
    "select followed_at from social.follow",
    "select recipient_id from notify.notification",
    // Which likes there are, not which event each came by.
    "select version_id from analytics.blog_like",
    "select blog_id from analytics.blog_view",
    "select * from analytics.blog_hour",
    "insert into analytics.blog_like (blog_id, account_id, liked, version_us, version_id) values (1, 1, true, 1, gen_random_uuid())",
    "update analytics.blog_like set liked = false",
    "select blog_id from analytics.blog_like for update",
    "update analytics.blog_popularity set rank = 0",
    "select analytics.refresh_popularity('0s')",
    "select analytics.popularity(1, 1, 1, '1h', '1 day')",
    "truncate recommend.neighbour",
    "update recommend.neighbour set blog_id = 1",
    "delete from recommend.progress",
    "insert into recommend.progress default values",
    "create index on recommend.neighbour (blog_id)",
    "alter function recommend.pairs_of(bigint[], bigint, bigint) owner to recommendation_api",
    "set temp_file_limit = '100GB'",
    "select blogs.suspend_account(1)",
    "select analytics.erase_account(1)",
    "select blogs.undelete_account(1)",
    "select blogs.forget_deleted_accounts(14, 100)",
];

const OF_BLOGS: &[&str] = &[
    "insert into analytics.blog_popularity values ('day', 1, 1, 1)",
    "select analytics.refresh_popularity('0s')",
    "select blog_id from recommend.neighbour",
    "update notify.notification set recipient_id = 1",
    "update notify.notification set blog_id = 1",
    "insert into notify.notification (recipient_id, published_at, blog_id) values (1, now(), 1)",
    "insert into notify.fan_out (blog_id, published_at, total) values (1, now(), 0)",
    "update notify.fan_out set state = 'done'",
    "select notify.create_day(current_date)",
    "select notify.drop_oldest_day(1)",
    "select notify.pause_fan_out(1)",
    "update social.follow set followed_at = '2000-01-01'",
    "truncate social.follow",
    "insert into social.follow_counter values (1, 0, 1, 1)",
    "update social.follow_counter set followers = 0",
    "delete from blogs.account",
    "delete from blogs.blog",
    "delete from blogs.tag",
    "update blogs.tag set name = 'mine'",
    "select blogs.forget_unused_tags()",
    "delete from blogs.blog_counter",
    "truncate blogs.blog",
    "truncate blogs.outbox",
    "update blogs.account set handle = 'mine'",
    "update blogs.blog set author_id = 1",
    "select analytics.drop_day('envelope_ledger', '2020-01-01', 14)",
    "select analytics.old_days('envelope_ledger', 14)",
    "select analytics.forget_event_keys(1)",
    "select * from analytics.ledger_floor",
    "update blogs.account set suspended_at = null",
    "update blogs.blog set taken_down_at = null",
    "update blogs.account set email = null",
    "select blogs.restore_account(1)",
    "select blogs.undelete_account(1)",
    "select blogs.restore_blog(1)",
    "select blogs.erase_account(1)",
    "select blogs.open_export(1)",
    "select blogs.export_account(1)",
    "select blogs.account_parts(1)",
    "select exported_by from blogs.export_record",
    "update blogs.export_record set exported_by = 'another'",
    "delete from blogs.export_record",
    "delete from blogs.export_request",
    "update blogs.export_request set account_id = 1",
    "select analytics.drop_parked(gen_random_uuid(), 0)",
];

/// It looks at numbers, and at why events were parked: at nobody's texts, and changes nothing.
const OF_CONSOLE: &[&str] = &[
    "select body from analytics.parked",
    "select envelope_id from analytics.parked",
    "select * from analytics.envelope_ledger",
    "select account_id from analytics.blog_like",
    "select visitor from analytics.blog_view",
    "update analytics.outcome set n = 0",
    "insert into analytics.outcome (hour, kind, outcome, slot, n) values (now(), 'view', 'counted', 0, 1)",
    "select handle from blogs.account",
    "select title from blogs.blog",
    "select total_views from blogs.blog_counter",
    "select body from blogs.outbox",
    "select follower_id from social.follow",
    "select recipient_id from notify.notification",
    "update notify.fan_out set state = 'done'",
    "select notify.pause_fan_out(1)",
    "select analytics.drop_parked(gen_random_uuid(), 0)",
    "select analytics.mend_counter(1)",
    "select blogs.suspend_account(1)",
    "select blogs.undelete_account(1)",
    "select blogs.forget_deleted_accounts(14, 100)",
];

const OF_OPERATORS: &[&str] = &[
    "select follower_id from social.follow",
    "select recipient_id from notify.notification",
    "update notify.fan_out set state = 'done'",
    "select notify.drop_oldest_day(1)",
    "select email from blogs.account",
    "select password_hash from blogs.account",
    // No account has asked for an export.
    "select blogs.open_export(1)",
    "select blogs.export_account(1)",
    "select analytics.export_account(1)",
    "select notify.export_account(1)",
    "select blogs.account_parts(1)",
    "select analytics.account_parts(1)",
    "select notify.account_parts(1)",
    "select blogs.require_export(1)",
    "insert into blogs.export_request (account_id) values (1)",
    "update blogs.export_request set requested_at = now()",
    "update blogs.export_record set exported_by = 'another'",
    "update blogs.blog set title = 'mine'",
    "update blogs.blog_counter set total_views = 0",
    "update blogs.account set suspended_at = now()",
    "update blogs.account set deleted_at = null",
    "select blogs.forget_deleted_accounts(14, 100)",
    "update blogs.blog set taken_down_at = now()",
    "update analytics.parked set body = ''",
    "select analytics.drop_day('envelope_ledger', '2020-01-01', 14)",
    // A member of engagement_writer that inherits nothing: without saying so first, it may not count.
    "insert into analytics.outcome (hour, kind, outcome, slot, n) values (now(), 'view', 'counted', 0, 1)",
];

/// What is refused to whoever writes engagement, such as an operator who redrives: to count is all that it may.
const NOT_COUNTING: [&str; 29] = [
    "delete from analytics.event_key",
    "delete from analytics.envelope_ledger",
    "delete from analytics.blog_like",
    "delete from analytics.parked",
    "truncate analytics.parked",
    "update analytics.parked set body = ''",
    "update analytics.parked set dropped_at = now()",
    "update analytics.parked set envelope_id = gen_random_uuid()",
    "update analytics.envelope_ledger set n = 0",
    "update analytics.blog_like set account_id = 1",
    "update analytics.event_key set expires_at = now()",
    "update analytics.ledger_floor set day = '2000-01-01'",
    "update analytics.old_day set dropped_at = null",
    "select analytics.drop_day('envelope_ledger', '2020-01-01', 14)",
    "select analytics.old_days('envelope_ledger', 14)",
    "select analytics.erase_account(1)",
    "select analytics.drop_parked(gen_random_uuid(), 0)",
    "select analytics.mend_counter(1)",
    "select handle from blogs.account",
    "select email from blogs.account",
    "select title from blogs.blog",
    "select body from blogs.outbox",
    "update blogs.blog set deleted_at = now()",
    "update blogs.account set suspended_at = null",
    "update blogs.blog_counter set blog_id = 1",
    "insert into blogs.blog_counter (blog_id) values (1)",
    "delete from blogs.blog_counter",
    "select blogs.erase_account(1)",
    "create table analytics.mine (id bigint)",
];

/// A table that is not listed above would be looked after by no test here.
#[tokio::test]
async fn every_table_is_listed() {
    let world = World::new().await;
    // Partitions come and go, and are not named by anybody.
    let tables = "select coalesce(array_agg(relname::text order by relname::text collate \"C\"), '{}') from pg_class
                  where relnamespace = $1::text::regnamespace and relkind in ('r', 'p', 'f') and not relispartition";
    for (schema, listed, _) in SCHEMAS {
        let mut listed = listed.to_vec();
        listed.sort_unstable();
        assert_eq!(world.value::<Vec<String>>(tables, &[&schema]).await, listed, "the tables of {schema}");
    }
    // In `public` stands what the migrations keep of themselves.
    let schemas = "select array_agg(nspname::text order by nspname::text collate \"C\") from pg_namespace n
                   where nspname not in ('pg_catalog', 'pg_toast', 'information_schema', 'public')
                     and exists (select from pg_class c where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'f'))";
    let mut listed = SCHEMAS.map(|(schema, _, _)| schema);
    listed.sort_unstable();
    assert_eq!(world.value::<Vec<String>>(schemas, &[]).await, listed, "schemas with tables");
}

async fn prove(role: &str) {
    let world = World::new().await;
    // The administrator's own session is there to be ended, if one may.
    let administrator: i32 = world.value("select pg_backend_pid()", &[]).await;
    let end_another = format!("select pg_terminate_backend({administrator})");
    let refused = refusals(role).into_iter().chain([end_another]);
    let session = world.session(role).await;
    assert_refused(&session, role, refused).await;
}

/// Asserts that each of these is refused for want of a right.
async fn assert_refused(session: &Session, role: &str, statements: impl IntoIterator<Item = String>) {
    let mut allowed = Vec::new();
    for statement in statements {
        // LOCK wants a transaction; the rest does not mind.
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
async fn the_worker_is_refused_what_is_not_its_own() {
    prove("analytics_worker").await;
}

#[tokio::test]
async fn the_blogs_api_is_refused_what_is_not_its_own() {
    prove("blogs_api").await;
}

#[tokio::test]
async fn the_notification_worker_is_refused_what_is_not_its_own() {
    prove("notification_worker").await;
}

#[tokio::test]
async fn the_recommendation_api_is_refused_what_is_not_its_own() {
    prove("recommendation_api").await;
}

#[tokio::test]
async fn the_operator_is_refused_what_would_change_anything() {
    prove("operator").await;
}

#[tokio::test]
async fn the_console_is_refused_everything_but_looking_at_numbers() {
    prove("console").await;
}

#[tokio::test]
async fn an_operator_who_redrives_may_count_and_nothing_else() {
    let world = World::new().await;
    let session = world.session("operator").await;
    session.client.batch_execute("set role engagement_writer").await.unwrap();
    assert_refused(&session, "operator as engagement_writer", NOT_COUNTING.map(str::to_owned)).await;
    // What the operator itself may is not among it.
    let own = ["select blogs.suspend_account(1)", "select handle from blogs.account"].map(str::to_owned);
    assert_refused(&session, "operator as engagement_writer", own).await;
    let counting = "begin; update analytics.parked set redriven_at = now(); rollback";
    session.client.batch_execute(counting).await.unwrap();
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

/// What the bootstrap sets on the roles themselves; a test's own database may be more patient.
#[tokio::test]
async fn every_login_role_has_its_limits() {
    let world = World::new().await;
    let set =
        "select coalesce((select setconfig from pg_db_role_setting s join pg_roles r on r.oid = s.setrole
                                where r.rolname = $1 and s.setdatabase = 0), '{}')";
    for role in
        ["blogs_api", "analytics_worker", "notification_worker", "recommendation_api", "operator", "console"]
    {
        let set: Vec<String> = world.value(set, &[&role]).await;
        for setting in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] {
            let value = set.iter().find_map(|line| line.strip_prefix(&format!("{setting}=")));
            assert!(value.is_some_and(|value| value != "0"), "{role} has no {setting}: {set:?}");
        }
        assert!(set.contains(&"temp_file_limit=1GB".to_owned()), "{role}: {set:?}");
        match role {
            "operator" | "console" => {}
            // Takes little, and waits for no disk.
            "recommendation_api" => {
                for own in ["synchronous_commit=off", "work_mem=32MB", "jit=off"] {
                    assert!(set.contains(&own.to_owned()), "{role}: {set:?}");
                }
            }
            _ => assert!(set.contains(&"synchronous_commit=on".to_owned()), "{role}: {set:?}"),
        }
    }
}
