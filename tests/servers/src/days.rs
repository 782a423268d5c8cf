//! Makes and drops days of engagement with the owner's functions, like maintenance.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::Database;

/// The tables of engagement that have a partition for each day.
pub const TABLES: [&str; 2] = ["envelope_ledger", "blog_view"];

/// The time this many days ago.
pub fn ago(days: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(24 * days)
}

/// The day (UTC) of a time.
pub fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// Requests once that a day be dropped, like a round of maintenance that keeps two days.
pub async fn drop_day(database: &Database, table: &str, day: Date) -> bool {
    drop_day_keeping(database, table, day, 2).await
}

/// [`drop_day`] for maintenance that keeps this many days.
pub async fn drop_day_keeping(database: &Database, table: &str, day: Date, kept: i32) -> bool {
    let session = database.session("analytics_worker").await;
    let drop = "select analytics.drop_day($1, $2, $3)";
    session.client.query_one(drop, &[&table, &day, &kept]).await.unwrap().get(0)
}

/// Requests that a day be dropped, and again a day later: the first request only marks it as unused.
pub async fn leaves(database: &Database, table: &str, day: Date) -> bool {
    assert!(!drop_day(database, table, day).await, "{day} of {table} is dropped as soon as it is found free");
    a_day_passes(database).await;
    drop_day(database, table, day).await
}

/// Moves all rounds of maintenance until now one day into the past.
pub async fn a_day_passes(database: &Database) {
    database.run("update analytics.old_day set free_since = free_since - interval '1 day'").await;
}

/// Marks a day of both tables as unused two days ago.
pub async fn found_free(database: &Database, day: Date) {
    for table in TABLES {
        let mark = "insert into analytics.old_day (parent, day, free_since) values ($1, $2, now() - interval '2 days')";
        database.client().execute(mark, &[&table, &day]).await.unwrap();
    }
}

/// Makes this the first day of the installation; workers never make an earlier one.
pub async fn begin_on(database: &Database, day: Date) {
    database.run(&format!("update analytics.ledger_floor set day = '{day}'")).await;
}

/// The days that a table has, in order.
pub async fn days_of(database: &Database, table: &str) -> Vec<Date> {
    let days = "select coalesce(array_agg(to_date(right(c.relname, 8), 'YYYYMMDD') order by c.relname), '{}')
                from pg_inherits i join pg_class c on c.oid = i.inhrelid
                where i.inhparent = to_regclass('analytics.' || $1::text)";
    database.value(days, &[&table]).await
}
