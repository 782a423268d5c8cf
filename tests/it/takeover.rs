//! Databases from before the migrations were squashed. The old files are in `crates/database/tests/last_old`.

use std::path::Path;

use database::{Error, migrations};
use engagement::{Engagement, Incoming, OnBadEvent, Settings};
use events::{Action, Channel, EngagementEvent, EnvelopeId, Malformed, Visitor};
use jiff::Timestamp;
use tests::World;
use uuid::Uuid;

const OLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/database/tests/last_old");
const ACL: &str = include_str!("sql/acl.sql");
const LINES: &str = include_str!("../../crates/database/sql/schema_lines.sql");
const COMMENTS: &str = include_str!("../../crates/database/sql/schema_comments.sql");
const HISTORY: &str = "select array_agg(format('%s %s %s', version, name, checksum) order by version)
                       from public.refinery_schema_history";
/// Definitions name every object with its schema, whatever the session searches.
const PATH: &str = "set search_path = pg_catalog";

async fn old_world(up_to: Option<i32>) -> World {
    let world = World::empty().await;
    let old = migrations::in_folder(Path::new(OLD)).unwrap();
    let applied = migrations::apply(&world.administrator(), &old, up_to).await.unwrap();
    assert!(!applied.is_empty());
    world
}

async fn column(world: &World, sql: &str) -> Vec<String> {
    let session = world.another().await;
    session.client.batch_execute(PATH).await.unwrap();
    session.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn list(world: &World, sql: &str) -> Vec<String> {
    world.value(sql, &[]).await
}

/// A hash of the rows of each table.
async fn data(world: &World) -> Vec<String> {
    let mut hashes = Vec::new();
    for text in column(world, include_str!("sql/all_data.sql")).await {
        hashes.push(world.value::<String>(&text, &[]).await);
    }
    hashes
}

fn envelope(blogs: &[i64], accounts: &[i64], bad: bool) -> Incoming {
    let event = |blog_id: &i64, action| EngagementEvent {
        id: Uuid::now_v7(),
        blog_id: *blog_id,
        time: Timestamp::now(),
        action,
        key: None,
        imported: false,
    };
    let mut events = Vec::new();
    for blog in blogs {
        events.push(Ok(event(blog, Action::Viewed(Visitor(rand::random())))));
        events.push(Ok(event(blog, Action::Shared(Channel::Link))));
        for account in accounts {
            events.push(Ok(event(blog, Action::Liked { account_id: *account })));
        }
    }
    if bad {
        events.push(Err(Malformed { reason: "not an event".to_owned(), body: "{}".to_owned() }));
    }
    Incoming { id: EnvelopeId::now(), traceparent: None, events }
}

/// Everything that a service leaves in a database: engagement, parked events, days, follows, notifications.
async fn fill(world: &World) {
    let blogs = world.blogs(4).await;
    let accounts = world.accounts(5).await;
    let settings = Settings { view_window_s: 1800 };
    let engagement = Engagement::new(world.pool("analytics_worker"), &settings).unwrap();
    for bad in [false, true, false] {
        let batch = [envelope(&blogs, &accounts, bad), envelope(&blogs[..2], &accounts[..2], false)];
        engagement.apply(&batch, OnBadEvent::Park).await.unwrap();
    }
    world.followers(accounts[0], 20).await;
    let told = format!(
        "select notify.create_day((now() at time zone 'utc')::date);
         insert into notify.fan_out (blog_id, published_at, total) values ({blog}, now(), 20);
         insert into notify.notification (recipient_id, published_at, blog_id)
         select follower_id, now(), {blog} from social.follow where followee_id = {author}",
        blog = blogs[0],
        author = accounts[0]
    );
    world.run(&told).await;
}

#[tokio::test]
async fn last_old_database_is_taken_over_with_its_data() {
    let (old, fresh) = (old_world(None).await, World::new().await);
    fill(&old).await;
    old.assert_consistent().await;
    let before = data(&old).await;
    // The takeover, and the migrations since.
    let pending = migrations::pending(&old.administrator()).await.unwrap();

    let report = migrations::run(&old.administrator()).await.unwrap();

    assert!(report.taken_over);
    assert_eq!(report.applied, pending[1..], "the squashed files are not applied");
    assert_same("data", data(&old).await, before);
    old.assert_consistent().await;
    assert_same("schema", column(&old, LINES).await, column(&fresh, LINES).await);
    assert_same("comments", column(&old, COMMENTS).await, column(&fresh, COMMENTS).await);
    assert_same("history", list(&old, HISTORY).await, list(&fresh, HISTORY).await);
    assert_same("rights", list(&old, ACL).await, list(&fresh, ACL).await);
    // It counts on, and a second run finds nothing to do.
    fill_on(&old).await;
    old.assert_consistent().await;
    let again = migrations::run(&old.administrator()).await.unwrap();
    assert!(!again.taken_over && again.applied.is_empty(), "{again:?}");
    assert_eq!(migrations::pending(&old.administrator()).await.unwrap(), [""; 0]);
}

/// That two databases have the same lines; says only those that one of them has.
fn assert_same(what: &str, old: Vec<String>, fresh: Vec<String>) {
    let without = |these: &[String], others: &[String]| {
        these.iter().filter(|line| !others.contains(line)).cloned().collect::<Vec<_>>()
    };
    let (only_old, only_fresh) = (without(&old, &fresh), without(&fresh, &old));
    assert!(old == fresh, "{what}: only the old one has {only_old:#?}, only the fresh one {only_fresh:#?}");
}

async fn fill_on(world: &World) {
    let (blogs, accounts): (Vec<i64>, Vec<i64>) = (
        world.value("select array_agg(id order by id) from blogs.blog", &[]).await,
        world.value("select array_agg(id order by id) from blogs.active_account", &[]).await,
    );
    let engagement =
        Engagement::new(world.pool("analytics_worker"), &Settings { view_window_s: 1800 }).unwrap();
    engagement.apply(&[envelope(&blogs, &accounts, true)], OnBadEvent::Park).await.unwrap();
}

#[tokio::test]
async fn older_database_is_refused_with_the_command_that_brings_it_to_the_last_old_version() {
    let world = old_world(Some(42)).await;
    let before = list(&world, HISTORY).await;
    let administrator = world.administrator();
    let errors = [
        migrations::run(&administrator).await.map(drop),
        migrations::pending(&administrator).await.map(drop),
        migrations::deployed(&administrator).await.map(drop),
    ];
    for error in errors.map(Result::unwrap_err) {
        assert!(
            matches!(&error, Error::OldHistory { newest } if newest == "V42__deleted_accounts"),
            "{error:?}"
        );
        assert!(error.to_string().contains("cargo run --release -- migrate"), "{error}");
    }
    assert_eq!(list(&world, HISTORY).await, before);
}

#[tokio::test]
async fn changed_schema_is_not_taken_over() {
    let world = old_world(None).await;
    let changes = "alter table blogs.blog add column extra integer;
                   drop index analytics.parked_key;
                   alter table blogs.blog_counter set (fillfactor = 60);
                   create or replace function notify.cancel_fan_out(wanted bigint) returns boolean language sql
                     security definer set search_path = pg_catalog, pg_temp as 'select false'";
    world.run(changes).await;
    let before = list(&world, HISTORY).await;
    let error = migrations::run(&world.administrator()).await.unwrap_err();
    let Error::SchemaDiffers(differences) = &error else { panic!("{error:?}") };
    for expected in [
        "unexpected: column blogs.blog.extra: number 13, integer",
        "missing: index analytics.parked_key: CREATE INDEX",
        "unexpected: table blogs.blog_counter: owner blogs_owner, with (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=5000, fillfactor=60)",
        "unexpected: function notify.cancel_fan_out(wanted bigint)",
    ] {
        assert!(differences.iter().any(|line| line.starts_with(expected)), "{expected}: {differences:#?}");
    }
    assert_eq!(list(&world, HISTORY).await, before);
    assert_eq!(column(&world, COMMENTS).await, [""; 0], "comments");
    // What is left is still refused; the databases for comparing are gone.
    let undone =
        "alter table blogs.blog drop column extra; alter table blogs.blog_counter set (fillfactor = 50)";
    world.run(undone).await;
    let error = migrations::run(&world.administrator()).await.unwrap_err();
    assert!(matches!(&error, Error::SchemaDiffers(rest) if rest.len() < differences.len()), "{error:?}");
    world.until("select count(*) from pg_database where datname like 'commonplace\\_squashed%'", 0_i64).await;
}
