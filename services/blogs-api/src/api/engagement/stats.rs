//! A blog's engagement over time.
//!
//! The series has a bucket for every UTC hour or day of the range, also for those without events, because charts need
//! them. The range is rounded outwards to whole buckets. Series and totals are read from one snapshot, so they never
//! contradict each other.

use axum::Json;
use axum::extract::State;
use database::{Error, Statement, TransactionStep, statement};
use deadpool_postgres::Transaction;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use tokio_postgres::{IsolationLevel, Row};
use utoipa::{IntoParams, ToSchema};

use crate::api::openapi::{AuthProblems, CommonProblems, ParameterProblems};
use crate::auth::Signed;
use crate::extract::{Path, Query};
use crate::problem::{Problem, ProblemBody, Result};
use crate::state::AppState;

mod range;

use range::{Interval, Range};

const STATS_SERIES: Statement = statement!("stats_series.sql");
const STATS_TOTALS: Statement = statement!("stats_totals.sql");

/// The range and its resolution.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Start of the range, as a UTC date or an RFC 3339 time. Seven days before `to` by default.
    #[param(example = "2026-11-15")]
    from: Option<String>,
    /// End of the range (exclusive), as a UTC date or an RFC 3339 time. The end of the current hour or day by default.
    #[param(example = "2026-11-22T12:00:00Z")]
    to: Option<String>,
    /// Length of a bucket: `hour` or `day` (UTC). `day` by default.
    #[param(example = "day")]
    interval: Option<String>,
}

/// The engagement of a blog.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    /// One bucket for every hour or day of the range, oldest first.
    series: Vec<Bucket>,
    /// Totals since the blog was created, independent of the range.
    totals: BlogTotals,
    /// The sums over the series.
    in_range: Sums,
    /// Start of the first bucket.
    from: Timestamp,
    /// End of the last bucket.
    to: Timestamp,
    /// When the series and the totals were read.
    as_of: Timestamp,
}

/// One hour or day of the series.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Bucket {
    /// Start of the bucket.
    at: Timestamp,
    #[serde(flatten)]
    sums: Sums,
}

/// Events counted in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Sums {
    /// Views.
    views: i64,
    /// Likes added.
    likes: i64,
    /// Likes removed.
    unlikes: i64,
    /// Shares.
    shares: i64,
}

/// A blog's totals.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BlogTotals {
    /// Views.
    total_views: i64,
    /// Accounts that like it.
    total_likes: i64,
    /// Shares.
    total_shares: i64,
}

/// Show a blog's engagement by hour or day.
///
/// Every reader can see the statistics of a live blog. Only the author can see those of an unpublished blog.
#[utoipa::path(
    get,
    path = "/v1/blogs/{id}/stats",
    tag = "engagement",
    params(("id" = i64, Path, description = "The blog."), Parameters),
    responses(
        (status = 200, description = "The series and the totals.", body = Stats),
        (status = 404, description = "The blog does not exist or is not visible to this reader.", body = ProblemBody,
            content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, CommonProblems,
    ),
    security((), ("bearer" = []))
)]
pub(super) async fn stats(
    State(state): State<AppState>,
    Path(blog_id): Path<i64>,
    signed: Option<Signed>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Stats>> {
    let range = parameters.range(Timestamp::now(), state.settings.engagement.series_buckets_max)?;
    let reader = signed.map(|signed| signed.account_id);

    let mut client = state.pool.get().await?;
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = snapshot.start().await.map_err(Error::transaction(TransactionStep::Begin))?;
    let Some(totals) = STATS_TOTALS.query_opt(&transaction, &[&blog_id, &reader]).await? else {
        return Err(Problem::not_found("there is no such blog"));
    };
    let counted = series(&transaction, blog_id, range).await?;
    database::commit(transaction).await?;

    let series = range.fill(&counted);
    Ok(Json(Stats {
        in_range: series.iter().map(|bucket| bucket.sums).sum(),
        series,
        totals: BlogTotals {
            total_views: totals.get("total_views"),
            total_likes: totals.get("total_likes"),
            total_shares: totals.get("total_shares"),
        },
        from: range.from(),
        to: range.to(),
        as_of: totals.get("as_of"),
    }))
}

async fn series(transaction: &Transaction<'_>, blog_id: i64, range: Range) -> Result<Vec<(Timestamp, Sums)>> {
    let unit = range.interval().name();
    let rows = STATS_SERIES.query(transaction, &[&blog_id, &unit, &range.from(), &range.to()]).await?;
    let sums = |row: &Row| Sums {
        views: row.get("views"),
        likes: row.get("likes"),
        unlikes: row.get("unlikes"),
        shares: row.get("shares"),
    };
    Ok(rows.iter().map(|row| (row.get("at"), sums(row))).collect())
}

impl Parameters {
    fn range(&self, now: Timestamp, buckets_max: u32) -> Result<Range> {
        let interval = match self.interval.as_deref() {
            None => Interval::Day,
            Some(name) => Interval::named(name)
                .ok_or_else(|| Problem::bad_parameter("interval", "must be hour or day"))?,
        };
        let from = self.from.as_deref().map(|text| moment("from", text)).transpose()?;
        let to = self.to.as_deref().map(|text| moment("to", text)).transpose()?;
        let range = Range::new(interval, from, to, now)
            .ok_or_else(|| Problem::bad_parameter("to", "must be after `from`"))?;
        if range.buckets() > i64::from(buckets_max) {
            let reason = format!(
                "the range has {} buckets of one {} and the maximum is {buckets_max}: choose a later start",
                range.buckets(),
                interval.name()
            );
            return Err(Problem::bad_parameter("from", reason));
        }
        Ok(range)
    }
}

/// Parses a UTC date or an RFC 3339 time. The year is limited to a range that Postgres timestamps hold with room to
/// spare.
fn moment(parameter: &'static str, text: &str) -> Result<Timestamp> {
    let date = || text.parse::<Date>().ok().and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    let moment = text.parse::<Timestamp>().ok().or_else(|| date().map(|day| day.timestamp()));
    let Some(moment) = moment else {
        return Err(Problem::bad_parameter(
            parameter,
            "must be a date such as 2026-11-22 or an RFC 3339 time",
        ));
    };
    if !(1970..=9990).contains(&moment.to_zoned(TimeZone::UTC).year()) {
        return Err(Problem::bad_parameter(parameter, "must be between the years 1970 and 9990"));
    }
    Ok(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T10:30:00Z";

    fn range(
        from: Option<&str>,
        to: Option<&str>,
        interval: Option<&str>,
    ) -> std::result::Result<String, String> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let parameters = Parameters { from: owned(from), to: owned(to), interval: owned(interval) };
        parameters
            .range(NOW.parse().unwrap(), 1000)
            .map(|range| format!("{} {} {}", range.from(), range.to(), range.buckets()))
            .map_err(|problem| {
                assert_eq!(problem.status(), 400);
                problem.errors()[0].field.to_string()
            })
    }

    #[test]
    fn default_range_is_the_last_seven_days() {
        assert_eq!(range(None, None, None).unwrap(), "2026-11-16T00:00:00Z 2026-11-23T00:00:00Z 7");
        assert_eq!(range(None, None, Some("hour")).unwrap(), "2026-11-15T11:00:00Z 2026-11-22T11:00:00Z 168");
    }

    #[test]
    fn dates_and_times_are_whole_buckets() {
        assert_eq!(
            range(Some("2026-11-01"), Some("2026-11-03"), None).unwrap(),
            "2026-11-01T00:00:00Z 2026-11-03T00:00:00Z 2"
        );
        assert_eq!(
            range(Some("2026-11-01T10:20:00Z"), Some("2026-11-01T14:00:00+02:00"), Some("hour")).unwrap(),
            "2026-11-01T10:00:00Z 2026-11-01T12:00:00Z 2"
        );
        assert_eq!(
            range(Some("2026-11-01T23:59:59Z"), Some("2026-11-02T00:00:01Z"), Some("day")).unwrap(),
            "2026-11-01T00:00:00Z 2026-11-03T00:00:00Z 2"
        );
    }

    #[test]
    fn error_names_the_invalid_parameter() {
        assert_eq!(range(Some("yesterday"), None, None).unwrap_err(), "from");
        assert_eq!(range(None, Some("2026-13-01"), None).unwrap_err(), "to");
        assert_eq!(range(Some("-004000-01-01"), None, None).unwrap_err(), "from");
        assert_eq!(range(None, Some("9999-12-31"), None).unwrap_err(), "to");
        assert_eq!(range(None, None, Some("week")).unwrap_err(), "interval");
        assert_eq!(range(Some("2026-11-02"), Some("2026-11-01"), None).unwrap_err(), "to");
        assert_eq!(range(Some("2026-11-02"), Some("2026-11-02"), None).unwrap_err(), "to");
        assert_eq!(range(Some("2027-01-01"), None, None).unwrap_err(), "to");
        assert_eq!(range(Some("1970-01-01"), None, None).unwrap_err(), "from");
        assert_eq!(range(Some("2026-01-01"), Some("2026-03-01"), Some("hour")).unwrap_err(), "from");
    }
}
