//! Attacks on the shared database by a login role. Each is refused or limited.

use std::time::Duration;

use stack::{Options, Postgres};
use test_servers::{Database, lift_connection_limits, roles};
use tokio::task::JoinSet;

/// Creates a type with the name of a catalog type in a role's temporary schema. The type's check fails and names the role that
/// runs it.
const PLANT: &str = "create function pg_temp.taken(value pg_catalog.date) returns boolean language plpgsql as
       'begin raise exception ''code of % ran as %'', session_user, current_user; end';
     create domain pg_temp.date as pg_catalog.date check (pg_temp.taken(value))";

/// A restored database grants TEMP to PUBLIC until `migrate` has run.
#[tokio::test]
async fn temporary_objects_never_run_as_an_owner() {
    let world = Database::new().await;
    world.run(&format!("grant temporary on database {} to public", world.name())).await;
    for (role, call) in [
        (
            "notification_worker",
            "select notify.create_day((pg_catalog.now() at time zone 'utc')::pg_catalog.date)",
        ),
        (
            "analytics_worker",
            "select analytics.create_day('blog_view', (pg_catalog.now() at time zone 'utc')::pg_catalog.date)",
        ),
    ] {
        let session = world.session(role).await;
        session.client.batch_execute(PLANT).await.unwrap();
        let made = session.client.query_one(call, &[]).await;
        let made = made.unwrap_or_else(|error| panic!("{role}: {error:?}"));
        assert_eq!(made.get::<_, &str>(0), "there", "{role}");
    }
}

#[tokio::test]
async fn every_function_of_an_owner_searches_the_catalog_before_temporary_objects() {
    let world = Database::new().await;
    let others = "select coalesce(array_agg(p.oid::regprocedure::text), '{}')
                  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                  where n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend', 'days', 'public')
                    and (p.prosecdef or p.proconfig::text like '%search_path%')
                    and not coalesce(p.proconfig, '{}') @> array['search_path=pg_catalog, pg_temp']";
    assert_eq!(world.value::<Vec<String>>(others, &[]).await, Vec::<String>::new());
    let definers = "select count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                    where n.nspname in ('blogs', 'analytics', 'notify') and p.prosecdef";
    assert!(world.value::<i64>(definers, &[]).await > 20);
}

#[tokio::test]
async fn migrate_does_not_wait_for_ever_and_names_the_session_that_it_waited_for() {
    let world = Database::new().await;
    let mut config = world.administrator();
    config.application_name("a session that stays");
    let holder = database::Session::open(&config).await.unwrap();
    let pid: i32 = holder.client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let hold = "select pg_advisory_lock(hashtextextended('commonplace.migrations', 0))";
    holder.client.batch_execute(hold).await.unwrap();
    let waited = database::migrations::run_waiting(&config, Duration::from_millis(200)).await;
    let said = waited.unwrap_err().to_string();
    for part in [&format!("process {pid} "), "role postgres", "application a session that stays"] {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
}

#[tokio::test]
async fn a_worker_makes_no_days_that_nobody_needs() {
    let world = Database::new().await;
    let days = "select count(*) from pg_inherits where inhparent = 'notify.notification'::regclass";
    let blog = world.blogs(1).await[0];
    let published = "update blogs.blog set first_published_at = now() - interval '300 days' where id = $1";
    world.client().execute(published, &[&blog]).await.unwrap();
    let before: i64 = world.value(days, &[]).await;
    let worker = world.session("notification_worker").await;
    let asked = "select notify.create_day((now() at time zone 'utc')::date + d) as made
                 from generate_series(-3650, 100) d order by d";
    let rows = worker.client.query(asked, &[]).await.unwrap();
    let made = rows.iter().filter(|row| row.get::<_, &str>("made") == "there").count();
    // Yesterday, today, 60 days ahead, and the one earlier day on which a blog was published.
    assert_eq!(made, 1 + 1 + 60 + 1, "of {} days", rows.len());
    assert!(world.value::<i64>(days, &[]).await <= before + 63);
    for call in ["select notify.create_day(null)", "select notify.drop_oldest_day(null)::text"] {
        let said: Option<String> = worker.client.query_one(call, &[]).await.unwrap().get(0);
        assert!(said.is_none_or(|said| said == "outside"), "{call}");
    }
}

#[tokio::test]
async fn a_worker_creates_only_allowed_days_and_drops_none_that_counting_needs() {
    let world = Database::new().await;
    let worker = world.session("analytics_worker").await;
    let days = "select count(*) from pg_inherits where inhparent in ('analytics.envelope_ledger'::regclass, 'analytics.blog_view'::regclass)";
    let asked = "select count(*) from (values ('envelope_ledger'), ('blog_view')) t (parent),
                 generate_series(-4000, 4000) d
                 where analytics.create_day(t.parent, (now() at time zone 'utc')::date + d) = 'there'";
    let made: i64 = worker.client.query_one(asked, &[]).await.unwrap().get(0);
    let before: i64 = world.value(days, &[]).await;
    assert!(made == before && before <= 2 * (60 + 3), "{made} of {before} days");
    // These days were marked as free two days ago, so only the number of days to keep protects them.
    let free = "insert into analytics.old_day (parent, day, free_since)
                select t.parent, (now() at time zone 'utc')::date + d, now() - interval '2 days'
                from (values ('envelope_ledger'), ('blog_view')) t (parent), generate_series(-2, 60) d";
    world.run(free).await;
    for kept in ["null", "2"] {
        let drop = format!(
            "select analytics.drop_day(t.parent, (now() at time zone 'utc')::date + d, {kept})
             from (values ('envelope_ledger'), ('blog_view')) t (parent), generate_series(-2, 60) d"
        );
        worker.client.batch_execute(&drop).await.unwrap();
        assert_eq!(world.value::<i64>(days, &[]).await, before, "kept {kept}");
    }
    for kept in ["1", "0", "-2147483648"] {
        let drop = format!(
            "select analytics.drop_day('envelope_ledger', (now() at time zone 'utc')::date - 3, {kept})"
        );
        let refused = worker.client.batch_execute(&drop).await.unwrap_err();
        assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some("22023"), "{refused:?}");
    }
}

/// The console's query returns the number of busy sessions of each role, but no role's statements.
#[tokio::test]
async fn the_console_sees_which_roles_are_busy_but_not_their_statements() {
    let world = Database::new().await;
    world.run("select pg_advisory_lock(7)").await;
    let busy = world.another().await;
    let mut waits = JoinSet::new();
    waits.spawn(async move {
        busy.client.batch_execute("select pg_advisory_lock(7) /* not for the console */").await
    });
    world.until("select count(*) from pg_locks where locktype = 'advisory' and not granted", 1_i64).await;
    let console = world.session("console").await;
    let seen = "select count(*) from pg_stat_activity where query like '%not for the console%' and pid <> pg_backend_pid()";
    assert_eq!(console.client.query_one(seen, &[]).await.unwrap().get::<_, i64>(0), 0);
    let rows = console
        .client
        .query(include_str!("../../../../services/console/sql/activity.sql"), &[])
        .await
        .unwrap();
    let seen: Vec<(String, i64)> = rows.iter().map(|row| (row.get("role"), row.get("sessions"))).collect();
    assert!(seen.contains(&("postgres".to_owned(), 1)), "{seen:?}");
    world.run("select pg_advisory_unlock(7)").await;
    waits.join_next().await.unwrap().unwrap().unwrap();
}

async fn log() -> String {
    tokio::task::spawn_blocking(test_servers::postgres_log).await.unwrap()
}

#[tokio::test]
async fn no_verifier_of_a_password_is_shown_or_logged() {
    const VERIFIER: &str = "SCRAM-SHA-256$";
    let world = Database::new().await;
    // A lock on the row of the last role stops bootstrap while it sets that password.
    let holder = world.another().await;
    holder.client.batch_execute("begin; alter role console connection limit 3").await.unwrap();
    let mut config = world.administrator();
    config.options("-c log_statement=all").application_name("a bootstrap that is looked at");
    let logged_before = log().await.len();
    let mut bootstrap = JoinSet::new();
    bootstrap.spawn(async move { database::bootstrap::run(&config, &roles()).await });
    let stopped = "select count(*) from pg_stat_activity
                   where application_name = 'a bootstrap that is looked at' and wait_event_type = 'Lock'";
    world.until(stopped, 1_i64).await;
    let shown = "select query from pg_stat_activity where application_name = 'a bootstrap that is looked at'";
    let shown: String = world.value(shown, &[]).await;
    holder.client.batch_execute("rollback").await.unwrap();
    bootstrap.join_next().await.unwrap().unwrap().unwrap();
    lift_connection_limits(&world.administrator()).await;
    assert!(!shown.contains(VERIFIER), "pg_stat_activity shows {shown:?}");
    let log = log().await.split_off(logged_before);
    assert!(log.contains("copy pg_temp.bootstrap_login"), "the log holds the statements of the bootstrap");
    assert!(!log.contains(VERIFIER), "the log holds a verifier");
}

/// In another database of the server, a role could fill the lock table and the disk.
#[tokio::test]
async fn no_role_connects_to_the_databases_postgres_and_template1() {
    let world = Database::new().await;
    for database in ["postgres", "template1"] {
        let mut config: tokio_postgres::Config = world.url("console").parse().unwrap();
        config.dbname(database);
        let refused = database::Session::open(&config).await.err().expect(database);
        assert_eq!(refused.sqlstate(), Some("42501"), "{database}");
    }
}

#[tokio::test]
async fn administrator_without_superuser_rights_is_told_what_it_may_not_change() {
    let mut options = Options::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/database_administrator"));
    (options.durable, options.fresh, options.max_connections) = (false, true, 400);
    let start = move || Postgres::start(&options, &mut |_step| ()).expect("a private server starts");
    let postgres = tokio::task::spawn_blocking(start).await.unwrap();
    let mut superuser: tokio_postgres::Config = postgres.url().parse().unwrap();
    let session = database::Session::open(&superuser).await.unwrap();
    for statement in [
        "create role administrator login createrole createdb password 'for this test only'",
        "create database app owner administrator",
    ] {
        session.client.batch_execute(statement).await.unwrap();
    }
    superuser.dbname("app");
    let mut administrator = superuser.clone();
    administrator.user("administrator").password("for this test only");
    database::bootstrap::run(&administrator, &roles()).await.unwrap();
    database::migrations::run(&administrator).await.unwrap();
    let found = database::drift::of_all(&administrator, &roles()).await.unwrap();
    for part in [
        "role console may call lo_creat, ",
        "pg_try_advisory_lock, ",
        "role console has no temp_file_limit = '1GB'",
        "role console may connect to database postgres",
    ] {
        assert!(found.iter().any(|difference| difference.contains(part)), "{part:?} is not in {found:#?}");
    }
    assert!(!found.iter().any(|difference| difference.contains("function ")), "{found:#?}");

    database::bootstrap::run(&superuser, &roles()).await.unwrap();
    let left = database::drift::of_all(&superuser, &roles()).await.unwrap();
    assert_eq!(left, Vec::<String>::new());
    // The administrator can no longer call the revoked functions, except those for the locks that these steps take.
    database::bootstrap::run(&administrator, &roles()).await.unwrap();
    database::migrations::run(&administrator).await.unwrap();
}
