//! Filters for parked events, which are read page by page.

use database::{Statement, statement};
use deadpool_postgres::Object;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;
use uuid::Uuid;

const PARKED_LIST: Statement = statement!("parked_list.sql");
const PARKED_COUNT: Statement = statement!("parked_count.sql");
/// Rows that one statement reads.
const PAGE: i64 = 500;

/// Selects parked events.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Filter {
    /// Only events whose reason contains this text, ignoring case
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Only events that Postgres refused with this SQLSTATE, as in 23514
    #[arg(long, value_name = "CODE")]
    pub(super) sqlstate: Option<String>,
    /// Only events parked at this time or later: RFC 3339, or YYYY-MM-DD for the start of a UTC day
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) since: Option<Timestamp>,
    /// Only events parked before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) until: Option<Timestamp>,
}

/// A parked event without its body.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Parked {
    pub(super) envelope_id: Uuid,
    pub(super) index: i32,
    pub(super) kind: Option<String>,
    pub(super) reason: String,
    pub(super) sqlstate: Option<String>,
    pub(super) in_ledger: bool,
    pub(super) attempts: i32,
    pub(super) first_seen_at: Timestamp,
    pub(super) redriven_at: Option<Timestamp>,
    pub(super) dropped_at: Option<Timestamp>,
    pub(super) body_bytes: i32,
}

/// All waiting events that match, page by page.
pub(super) struct Pages {
    filter: Filter,
    last: Option<Parked>,
}

impl Filter {
    /// The first events that match; with `all`, also those that were redriven or given up.
    ///
    /// # Errors
    /// If the query fails.
    pub(super) async fn first(&self, client: &Object, all: bool, most: i64) -> anyhow::Result<Vec<Parked>> {
        self.after(client, all, None, most).await
    }

    /// The number of events that match; `all` as for [`Filter::first`].
    ///
    /// # Errors
    /// If the query fails.
    pub(super) async fn count(&self, client: &Object, all: bool) -> anyhow::Result<i64> {
        let Self { reason, sqlstate, since, until } = self;
        let row = PARKED_COUNT.query_one(client, &[&all, reason, sqlstate, since, until]).await?;
        Ok(row.get("matching"))
    }

    /// All events that wait and match now. Later ones are excluded, so that the iteration ends.
    pub(super) fn pages(&self) -> Pages {
        let until = self.until.or(Some(Timestamp::now()));
        Pages { filter: Self { until, ..self.clone() }, last: None }
    }

    async fn after(
        &self,
        client: &Object,
        all: bool,
        last: Option<&Parked>,
        most: i64,
    ) -> anyhow::Result<Vec<Parked>> {
        let Self { reason, sqlstate, since, until } = self;
        let last_seen = last.map(|last| last.first_seen_at);
        let (envelope, index) = (last.map(|last| last.envelope_id), last.map(|last| last.index));
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
            [&all, reason, sqlstate, since, until, &last_seen, &envelope, &index, &most];
        let rows = PARKED_LIST.query(client, &parameters).await?;
        Ok(rows.iter().map(Parked::new).collect())
    }
}

impl Pages {
    /// The next page; empty at the end. Earlier events may have changed state meanwhile.
    ///
    /// # Errors
    /// If the query fails.
    pub(super) async fn next(&mut self, client: &Object) -> anyhow::Result<Vec<Parked>> {
        let page = self.filter.after(client, false, self.last.as_ref(), PAGE).await?;
        if let Some(last) = page.last() {
            self.last = Some(last.clone());
        }
        Ok(page)
    }
}

impl Parked {
    /// Reads the columns that both statements return.
    pub(super) fn new(row: &tokio_postgres::Row) -> Self {
        Self {
            envelope_id: row.get("envelope_id"),
            index: row.get("index"),
            kind: row.get("kind"),
            reason: row.get("reason"),
            sqlstate: row.get("sqlstate"),
            in_ledger: row.get("in_ledger"),
            attempts: row.get("attempts"),
            first_seen_at: row.get("first_seen_at"),
            redriven_at: row.get("redriven_at"),
            dropped_at: row.get("dropped_at"),
            body_bytes: row.get("body_bytes"),
        }
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let day = || Some(Date::strptime("%Y-%m-%d", text).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    text.parse()
        .ok()
        .or_else(day)
        .ok_or_else(|| "neither a time such as 2026-11-22T18:30:00Z nor a day such as 2026-11-22".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_parsed_as_a_moment_or_as_the_start_of_a_day() {
        let moment = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(time("2026-11-22"), Ok(moment("2026-11-22T00:00:00Z")));
        assert_eq!(time("2026-11-22T18:30:00+02:00"), Ok(moment("2026-11-22T16:30:00Z")));
        for wrong in ["yesterday", "2026-11-22T18:30:00", "2026-13-01", ""] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
