//! Days of engagement as maintenance makes and drops them, by the functions of the owner.

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

/// Asks once for a day to be dropped, as a round of maintenance does that keeps two days.
pub async fn drop_day(database: &Database, table: &str, day: Date) -> bool {
    drop_day_keeping(database, table, day, 2).await
}

/// [`drop_day`] where maintenance keeps this many days.
pub async fn drop_day_keeping(database: &Database, table: &str, day: Date, kept: i32) -> bool {
    let session = database.session("analytics_worker").await;
    let drop = "select analytics.drop_day($1, $2, $3)";
    session.client.query_one(drop, &[&table, &day, &kept]).await.unwrap().get(0)
}

/// Asks for a day to be dropped, and again a day later: the first time it is only found free.
pub async fn leaves(database: &Database, table: &str, day: Date) -> bool {
    assert!(!drop_day(database, table, day).await, "{day} of {table} is dropped as soon as it is found free");
    a_day_passes(database).await;
    drop_day(database, table, day).await
}

/// As if the rounds of maintenance so far had been a day ago.
pub async fn a_day_passes(database: &Database) {
    database.run("update analytics.old_day set free_since = free_since - interval '1 day'").await;
}

/// As if a day of both tables had been found free two days ago.
pub async fn found_free(database: &Database, day: Date) {
    for table in TABLES {
        let mark = "insert into analytics.old_day (parent, day, free_since) values ($1, $2, now() - interval '2 days')";
        database.client().execute(mark, &[&table, &day]).await.unwrap();
    }
}

/// As if the installation had begun on this day: no earlier one is ever made.
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
