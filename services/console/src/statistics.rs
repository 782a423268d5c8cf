//! Statistics from the database: the statements and the types of their rows.

use database::{Error, Pool, Statement, statement};
use jiff::Timestamp;

const ACTIVITY: Statement = statement!("activity.sql");
const DATABASE: Statement = statement!("database.sql");
const EQUATION: Statement = statement!("equation.sql");
const FAN_OUTS: Statement = statement!("fan_outs.sql");
const PARKED: Statement = statement!("parked.sql");

/// Maximum number of parked events that are read.
pub(crate) const PARKED_MAX: i64 = 10_000;

/// Counters since the database's statistics were reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Database {
    pub(crate) commits: i64,
    pub(crate) wal_bytes: i64,
    pub(crate) updates: i64,
    pub(crate) hot_updates: i64,
}

/// Both sides of the accounting of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Equation {
    /// Events of the envelopes in the ledger.
    pub(crate) ledger: i64,
    /// Events of days that have been dropped from the ledger.
    pub(crate) dropped_days: i64,
    pub(crate) kinds: Vec<Kind>,
}

/// The outcomes of the events of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) kind: String,
    pub(crate) counted: i64,
    pub(crate) repeat: i64,
    pub(crate) discarded: i64,
    pub(crate) parked: i64,
    /// Rows in the table of parked events, which must match the number counted as parked.
    pub(crate) parked_rows: i64,
}

/// Parked events with the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) kind: Option<String>,
    pub(crate) reason: String,
    pub(crate) sqlstate: Option<String>,
    pub(crate) events: i64,
    pub(crate) newest_at: Timestamp,
}

/// A fan-out and its progress.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FanOut {
    pub(crate) blog_id: i64,
    pub(crate) state: String,
    pub(crate) total: i64,
    pub(crate) looked_at: i64,
    pub(crate) notified: i64,
    pub(crate) per_s: f64,
}

/// The expensive statistics, which are taken less often.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Costly {
    pub(crate) equation: Equation,
    pub(crate) parked: Vec<Parked>,
    /// Number of parked events read; at [`PARKED_MAX`] there may be more.
    pub(crate) parked_events: i64,
    pub(crate) fan_outs: Vec<FanOut>,
}

/// Reads the cheap statistics.
pub(crate) async fn database(pool: &Pool) -> Result<Database, Error> {
    let client = pool.get().await?;
    let row = DATABASE.query_one(&client, &[]).await?;
    Ok(Database {
        commits: row.get("commits"),
        wal_bytes: row.get("wal_bytes"),
        updates: row.get("updates"),
        hot_updates: row.get("hot_updates"),
    })
}

/// The roles with busy sessions, and the number of these sessions.
pub(crate) async fn activity(pool: &Pool) -> Result<Vec<(String, i64)>, Error> {
    let client = pool.get().await?;
    let rows = ACTIVITY.query(&client, &[]).await?;
    Ok(rows.iter().map(|row| (row.get("role"), row.get("sessions"))).collect())
}

/// Reads the expensive statistics.
pub(crate) async fn costly(pool: &Pool) -> Result<Costly, Error> {
    let client = pool.get().await?;
    let mut equation = Equation::default();
    for row in EQUATION.query(&client, &[]).await? {
        (equation.ledger, equation.dropped_days) = (row.get("ledger"), row.get("dropped_days"));
        if let Some(kind) = row.get("kind") {
            equation.kinds.push(Kind {
                kind,
                counted: row.get("counted"),
                repeat: row.get("repeat"),
                discarded: row.get("discarded"),
                parked: row.get("parked"),
                parked_rows: row.get("parked_rows"),
            });
        }
    }
    let rows = PARKED.query(&client, &[&PARKED_MAX]).await?;
    let parked_events = rows.first().map_or(0, |row| row.get("looked_at"));
    let parked = rows.iter().map(|row| Parked {
        kind: row.get("kind"),
        reason: row.get("reason"),
        sqlstate: row.get("sqlstate"),
        events: row.get("events"),
        newest_at: row.get("newest_at"),
    });
    let parked = parked.collect();
    let rows = FAN_OUTS.query(&client, &[]).await?;
    let fan_outs = rows.iter().map(|row| FanOut {
        blog_id: row.get("blog_id"),
        state: row.get("state"),
        total: row.get("total"),
        looked_at: row.get("looked_at"),
        notified: row.get("notified"),
        per_s: row.get("rows_per_s"),
    });
    Ok(Costly { equation, parked, parked_events, fan_outs: fan_outs.collect() })
}

impl Equation {
    /// Events on the left side: taken in.
    pub(crate) fn taken_in(&self) -> i64 {
        self.ledger + self.dropped_days
    }

    /// The right side, summed over the kinds.
    pub(crate) fn total(&self) -> Kind {
        let mut total = Kind { kind: "all".to_owned(), ..Kind::default() };
        for kind in &self.kinds {
            total.counted += kind.counted;
            total.repeat += kind.repeat;
            total.discarded += kind.discarded;
            total.parked += kind.parked;
            total.parked_rows += kind.parked_rows;
        }
        total
    }

    /// Whether both sides agree, and the parked rows match the number counted as parked.
    pub(crate) fn holds(&self) -> bool {
        self.taken_in() == self.total().sum() && self.kinds.iter().all(|kind| kind.parked == kind.parked_rows)
    }
}

impl Kind {
    /// Events of this kind with any outcome.
    pub(crate) fn sum(&self) -> i64 {
        self.counted + self.repeat + self.discarded + self.parked
    }
}
