//! `account exports`: lists open requests for an export, and past exports with the operator who made them.

use database::{Statement, statement};
use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::operator::Place;
use crate::terminal::{self, Format};

const EXPORT_REQUESTS: Statement = statement!("export_requests.sql");
const EXPORT_RECORDS: Statement = statement!("export_records.sql");

const EXAMPLES: &str = "\
Examples:
  commonplace account exports              lists open requests, then the newest exports
  commonplace account exports --json | jq .requests[].handle

Exit codes: 0 done; 1 it failed; 2 wrong usage.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Exports {
    /// Show at most this many requests and records
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// The command's output.
#[derive(Debug, Serialize)]
struct Shown {
    requests: Vec<Request>,
    records: Vec<Record>,
}

/// An open request.
#[derive(Debug, Serialize)]
struct Request {
    request_id: Uuid,
    account_id: i64,
    handle: String,
    requested_at: Timestamp,
    expires_at: Timestamp,
}

/// A past export.
#[derive(Debug, Serialize)]
struct Record {
    request_id: Uuid,
    account_id: i64,
    /// None once the account is erased.
    handle: Option<String>,
    requested_at: Timestamp,
    exported_at: Timestamp,
    /// The login role.
    exported_by: String,
    /// The address from which it connected; none for a Unix socket.
    client: Option<String>,
}

impl Exports {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.place.pool()?.get().await?;
        let requests = EXPORT_REQUESTS.query(&client, &[&self.limit]).await?;
        let records = EXPORT_RECORDS.query(&client, &[&self.limit]).await?;
        let shown = Shown {
            requests: requests.iter().map(Request::from).collect(),
            records: records.iter().map(Record::from).collect(),
        };
        if self.format.json {
            return terminal::json(&shown);
        }
        if shown.requests.is_empty() {
            terminal::line("there is no open request for an export");
        } else {
            let header = ["request", "account", "handle", "asked", "expires"];
            terminal::table(header, &[1], shown.requests.iter().map(Request::cells));
        }
        if shown.records.is_empty() {
            terminal::line("no account has been exported yet");
        } else {
            let header = ["request", "account", "handle", "asked", "exported", "by", "from"];
            terminal::table(header, &[1], shown.records.iter().map(Record::cells));
        }
        Ok(())
    }
}

impl From<&Row> for Request {
    fn from(row: &Row) -> Self {
        Self {
            request_id: row.get("id"),
            account_id: row.get("account_id"),
            handle: row.get("handle"),
            requested_at: row.get("requested_at"),
            expires_at: row.get("expires_at"),
        }
    }
}

impl Request {
    fn cells(&self) -> [String; 5] {
        let Self { request_id, account_id, handle, requested_at, expires_at } = self;
        [
            request_id.to_string(),
            account_id.to_string(),
            handle.clone(),
            format!("{requested_at:.0}"),
            format!("{expires_at:.0}"),
        ]
    }
}

impl From<&Row> for Record {
    fn from(row: &Row) -> Self {
        Self {
            request_id: row.get("request_id"),
            account_id: row.get("account_id"),
            handle: row.get("handle"),
            requested_at: row.get("requested_at"),
            exported_at: row.get("exported_at"),
            exported_by: row.get("exported_by"),
            client: row.get("client"),
        }
    }
}

impl Record {
    fn cells(&self) -> [String; 7] {
        let Self { request_id, account_id, handle, requested_at, exported_at, exported_by, client } = self;
        [
            request_id.to_string(),
            account_id.to_string(),
            handle.clone().unwrap_or_else(|| "(erased)".to_owned()),
            format!("{requested_at:.0}"),
            format!("{exported_at:.0}"),
            exported_by.clone(),
            client.clone().unwrap_or_else(|| "socket".to_owned()),
        ]
    }
}
