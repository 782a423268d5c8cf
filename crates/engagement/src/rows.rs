//! The statements of a batch as typed functions. They are prepared before the transaction begins, so that inside the
//! transaction every query is sent at once and in program order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use database::{Error, Statement, statement};
use deadpool_postgres::{GenericClient, Object, Transaction};
use events::EnvelopeId;
use jiff::Timestamp;
use uuid::Uuid;

use crate::fold::{Deltas, Like, View};
use crate::{Outcome, Totals};

mod parked;

pub(crate) use parked::{
    Parked, Waiting, adopt, late_count, mark_redriven, mark_refused, park, prepare_redrive,
    take_transaction_id, waiting,
};

const LEDGER_INSERT: Statement = statement!("ledger_insert.sql");
const LIVE_BLOGS: Statement = statement!("live_blogs.sql");
const ACTIVE_ACCOUNTS: Statement = statement!("active_accounts.sql");
const EVENT_KEY_INSERT: Statement = statement!("event_key_insert.sql");
const BLOG_VIEW_INSERT: Statement = statement!("blog_view_insert.sql");
const BLOG_VIEW_HISTORY_INSERT: Statement = statement!("blog_view_history_insert.sql");
const BLOG_LIKE_UPSERT: Statement = statement!("blog_like_upsert.sql");
const BLOG_SHARE_UPSERT: Statement = statement!("blog_share_upsert.sql");
const BLOG_HOUR_UPSERT: Statement = statement!("blog_hour_upsert.sql");
const BLOG_COUNTER_LOCK: Statement = statement!("blog_counter_lock.sql");
const BLOG_COUNTER_ADD: Statement = statement!("blog_counter_add.sql");
const BLOG_COUNTER_TOTALS: Statement = statement!("blog_counter_totals.sql");
const INTAKE_ADD: Statement = statement!("intake_add.sql");
const OUTCOME_ADD: Statement = statement!("outcome_add.sql");
const CREATE_DAY: Statement = statement!("create_day.sql");
const ENVELOPES_AHEAD: Statement = statement!("envelopes_ahead.sql");
const PLACE_AHEAD: Statement = statement!("place_ahead.sql");
const NOW: Statement = statement!("now.sql");

/// Prepares the statements on this connection. Statements that are already prepared cost no round trip.
pub(crate) async fn prepare(client: &Object) -> Result<(), Error> {
    let statements = [
        LEDGER_INSERT,
        LIVE_BLOGS,
        ACTIVE_ACCOUNTS,
        EVENT_KEY_INSERT,
        BLOG_VIEW_INSERT,
        BLOG_VIEW_HISTORY_INSERT,
        BLOG_LIKE_UPSERT,
        BLOG_SHARE_UPSERT,
        BLOG_HOUR_UPSERT,
        BLOG_COUNTER_LOCK,
        BLOG_COUNTER_ADD,
        BLOG_COUNTER_TOTALS,
        parked::PARKED_INSERT,
        INTAKE_ADD,
        OUTCOME_ADD,
    ];
    prepare_all(client, &statements).await
}

async fn prepare_all(client: &Object, statements: &[Statement]) -> Result<(), Error> {
    futures_util::future::try_join_all(statements.iter().map(|statement| statement.prepare(client))).await?;
    Ok(())
}

/// The envelopes that are new to the ledger.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) ids: HashSet<Uuid>,
    /// The time of the transaction by the database's clock; None if no envelope is new.
    pub(crate) now: Option<Timestamp>,
}

/// Inserts envelopes and returns those that are new.
pub(crate) async fn ledger_insert(
    transaction: &Transaction<'_>,
    envelopes: &BTreeMap<EnvelopeId, i32>,
) -> Result<Fresh, Error> {
    let days: Vec<_> = envelopes.keys().map(|id| id.day()).collect();
    let ids: Vec<_> = envelopes.keys().map(|id| id.as_uuid()).collect();
    let counts: Vec<_> = envelopes.values().copied().collect();
    let rows = LEDGER_INSERT.query(transaction, &[&days, &ids, &counts]).await?;
    let ids = rows.iter().map(|row| row.get("id")).collect();
    Ok(Fresh { ids, now: rows.first().map(|row| row.get("now")) })
}

/// Returns those blogs that are live.
pub(crate) async fn live_blogs(
    transaction: &Transaction<'_>,
    blogs: &BTreeSet<i64>,
) -> Result<HashSet<i64>, Error> {
    let ids: Vec<_> = blogs.iter().copied().collect();
    let rows = LIVE_BLOGS.query(transaction, &[&ids]).await?;
    Ok(rows.iter().map(|row| row.get("id")).collect())
}

/// Returns those accounts that may act.
pub(crate) async fn active_accounts(
    transaction: &Transaction<'_>,
    accounts: &BTreeSet<i64>,
) -> Result<HashSet<i64>, Error> {
    if accounts.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<_> = accounts.iter().copied().collect();
    let rows = ACTIVE_ACCOUNTS.query(transaction, &[&ids]).await?;
    Ok(rows.iter().map(|row| row.get("id")).collect())
}

/// Inserts keys and returns those that were free.
pub(crate) async fn keys_insert(
    transaction: &Transaction<'_>,
    keys: &BTreeMap<Uuid, Option<Timestamp>>,
) -> Result<HashSet<Uuid>, Error> {
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let (keys, expiries): (Vec<_>, Vec<_>) = keys.iter().map(|(key, expires_at)| (*key, *expires_at)).unzip();
    let rows = EVENT_KEY_INSERT.query(transaction, &[&keys, &expiries]).await?;
    Ok(rows.iter().map(|row| row.get("key")).collect())
}

/// Inserts recent views and returns the new ones.
pub(crate) async fn views_insert(
    transaction: &Transaction<'_>,
    views: &BTreeSet<View>,
) -> Result<HashSet<View>, Error> {
    insert_views(transaction, BLOG_VIEW_INSERT, views).await
}

/// Inserts imported views and returns the new ones.
pub(crate) async fn view_history_insert(
    transaction: &Transaction<'_>,
    views: &BTreeSet<View>,
) -> Result<HashSet<View>, Error> {
    insert_views(transaction, BLOG_VIEW_HISTORY_INSERT, views).await
}

async fn insert_views(
    transaction: &Transaction<'_>,
    statement: Statement,
    views: &BTreeSet<View>,
) -> Result<HashSet<View>, Error> {
    if views.is_empty() {
        return Ok(HashSet::new());
    }
    let windows: Vec<_> = views.iter().map(|view| view.0).collect();
    let blogs: Vec<_> = views.iter().map(|view| view.1).collect();
    let visitors: Vec<_> = views.iter().map(|view| view.2).collect();
    let rows = statement.query(transaction, &[&windows, &blogs, &visitors]).await?;
    Ok(rows.iter().map(|row| (row.get("window_start"), row.get("blog_id"), row.get("visitor"))).collect())
}

/// Sets likes to their newest versions. Returns the previous state of each row that changed.
pub(crate) async fn likes_upsert(
    transaction: &Transaction<'_>,
    likes: &[Like],
) -> Result<HashMap<(i64, i64), bool>, Error> {
    if likes.is_empty() {
        return Ok(HashMap::new());
    }
    let blogs: Vec<_> = likes.iter().map(|like| like.blog_id).collect();
    let accounts: Vec<_> = likes.iter().map(|like| like.account_id).collect();
    let liked: Vec<_> = likes.iter().map(|like| like.liked).collect();
    let versions: Vec<_> = likes.iter().map(|like| like.version_us).collect();
    let ids: Vec<_> = likes.iter().map(|like| like.version_id).collect();
    let rows = BLOG_LIKE_UPSERT.query(transaction, &[&blogs, &accounts, &liked, &versions, &ids]).await?;
    Ok(rows.iter().map(|row| ((row.get("blog_id"), row.get("account_id")), row.get("was_liked"))).collect())
}

/// Adds shares by channel.
pub(crate) async fn shares_add(transaction: &Transaction<'_>, deltas: &Deltas) -> Result<(), Error> {
    if deltas.shares.is_empty() {
        return Ok(());
    }
    let blogs: Vec<_> = deltas.shares.keys().map(|key| key.0).collect();
    let channels: Vec<_> = deltas.shares.keys().map(|key| key.1).collect();
    let shares: Vec<_> = deltas.shares.values().copied().collect();
    BLOG_SHARE_UPSERT.execute(transaction, &[&blogs, &channels, &shares]).await?;
    Ok(())
}

/// Adds to the hourly series.
pub(crate) async fn hours_add(transaction: &Transaction<'_>, deltas: &Deltas) -> Result<(), Error> {
    if deltas.hours.is_empty() {
        return Ok(());
    }
    let blogs: Vec<_> = deltas.hours.keys().map(|key| key.0).collect();
    let hours: Vec<_> = deltas.hours.keys().map(|key| key.1).collect();
    let column = |of: fn(&crate::fold::Hour) -> i64| deltas.hours.values().map(of).collect::<Vec<_>>();
    let (views, likes) = (column(|hour| hour.views), column(|hour| hour.likes));
    let (unlikes, shares) = (column(|hour| hour.unlikes), column(|hour| hour.shares));
    BLOG_HOUR_UPSERT.execute(transaction, &[&blogs, &hours, &views, &likes, &unlikes, &shares]).await?;
    Ok(())
}

/// Locks the counters in key order. A single row needs no order and is not locked here.
pub(crate) async fn counters_lock(transaction: &Transaction<'_>, deltas: &Deltas) -> Result<(), Error> {
    if deltas.counters.len() > 1 {
        let blogs: Vec<_> = deltas.counters.keys().copied().collect();
        BLOG_COUNTER_LOCK.query_one(transaction, &[&blogs]).await?;
    }
    Ok(())
}

/// Adds to the totals and returns the number of rows updated.
pub(crate) async fn counters_add(transaction: &Transaction<'_>, deltas: &Deltas) -> Result<u64, Error> {
    if deltas.counters.is_empty() {
        return Ok(0);
    }
    let blogs: Vec<_> = deltas.counters.keys().copied().collect();
    let column = |of: fn(&(i64, i64, i64)) -> i64| deltas.counters.values().map(of).collect::<Vec<_>>();
    let (views, likes, shares) = (column(|d| d.0), column(|d| d.1), column(|d| d.2));
    BLOG_COUNTER_ADD.execute(transaction, &[&blogs, &views, &likes, &shares]).await
}

/// The totals of the blogs.
pub(crate) async fn totals(
    transaction: &Transaction<'_>,
    blogs: &BTreeSet<i64>,
) -> Result<BTreeMap<i64, Totals>, Error> {
    if blogs.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<_> = blogs.iter().copied().collect();
    let rows = BLOG_COUNTER_TOTALS.query(transaction, &[&ids]).await?;
    let totals = |row: &tokio_postgres::Row| Totals {
        total_views: row.get("total_views"),
        total_likes: row.get("total_likes"),
        total_shares: row.get("total_shares"),
    };
    Ok(rows.iter().map(|row| (row.get("blog_id"), totals(row))).collect())
}

/// Records events by hour, kind and outcome.
pub(crate) async fn outcomes_add(
    transaction: &Transaction<'_>,
    outcomes: &BTreeMap<(Timestamp, &'static str, Outcome), i64>,
) -> Result<(), Error> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let hours: Vec<_> = outcomes.keys().map(|key| key.0).collect();
    let kinds: Vec<_> = outcomes.keys().map(|key| key.1).collect();
    let names: Vec<_> = outcomes.keys().map(|key| key.2.name()).collect();
    let counts: Vec<_> = outcomes.values().copied().collect();
    OUTCOME_ADD.execute(transaction, &[&hours, &kinds, &names, &counts]).await?;
    Ok(())
}

/// Records how many events a worker took in, and whether some of them were not parked. The rule that stops workers reads
/// this record.
pub(crate) async fn intake_add<C: GenericClient + Sync>(
    client: &C,
    events: usize,
    some_good: bool,
) -> Result<(), Error> {
    if events == 0 {
        return Ok(());
    }
    let events = i64::try_from(events).unwrap_or(i64::MAX);
    INTAKE_ADD.execute(client, &[&events, &some_good]).await?;
    Ok(())
}

/// The result of asking for a day's partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Day {
    There,
    Outside,
    Busy,
}

/// Creates a day's partition of a table in a separate transaction.
pub(crate) async fn create_day(client: &Object, table: &str, day: jiff::civil::Date) -> Result<Day, Error> {
    let row = CREATE_DAY.query_one(client, &[&table, &day]).await?;
    Ok(match row.get(0) {
        "there" => Day::There,
        "outside" => Day::Outside,
        _ => Day::Busy,
    })
}

/// The database's clock.
pub(crate) async fn now(client: &Object) -> Result<Timestamp, Error> {
    Ok(NOW.query_one(client, &[]).await?.get("now"))
}

/// The ledger day of each envelope whose id is far in the future.
pub(crate) async fn envelopes_ahead(
    client: &Object,
    envelopes: impl Iterator<Item = EnvelopeId>,
) -> Result<BTreeMap<Uuid, jiff::civil::Date>, Error> {
    let ids: Vec<Uuid> = envelopes.map(EnvelopeId::as_uuid).collect();
    let rows = ENVELOPES_AHEAD.query(client, &[&ids]).await?;
    Ok(rows.iter().map(|row| (row.get("id"), row.get("day"))).collect())
}

/// Decides under which day the ledger holds an envelope whose id is far in the future, in a separate transaction. Returns
/// None if the id is not far in the future.
pub(crate) async fn place_ahead(client: &Object, id: EnvelopeId) -> Result<Option<jiff::civil::Date>, Error> {
    Ok(PLACE_AHEAD.query_one(client, &[&id.as_uuid()]).await?.get("day"))
}
