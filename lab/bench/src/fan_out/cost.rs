//! The cost of an operation: time, WAL, time in the database, and processor time of each participant.

use std::time::{Duration, Instant};

use database::{Statement, statement};
use serde::Serialize;

use crate::process::Service;
use crate::processes::{Stat, everybody};
use crate::tables::Tables;

const BACKEND_PID: Statement = statement!("backend_pid.sql");
const DATABASE_TIME: Statement = statement!("database_time.sql");
const SESSIONS: Statement = statement!("sessions.sql");
const WAL_POSITION: Statement = statement!("wal_position.sql");

const SESSIONS_END_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// The cost of notifying a number of followers with one method.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// The number of notified followers.
    pub followers: i64,
    /// How long it took.
    pub elapsed_s: f64,
    /// Followers per second.
    pub followers_per_s: f64,
    /// WAL of the whole cluster per follower.
    pub wal_bytes_per_follower: f64,
    /// Milliseconds that sessions spent executing, per thousand followers.
    pub database_ms_per_1000: f64,
    /// Processor time of Postgres per thousand followers.
    pub postgres_cpu_ms_per_1000: f64,
    /// Processor time of the notifying process per thousand followers; none if Postgres does all the work.
    pub process_cpu_ms_per_1000: f64,
    /// Bytes over HTTP per follower.
    pub http_bytes_per_follower: f64,
}

/// The meters before an operation.
#[derive(Debug)]
pub(crate) struct Meters {
    wal_bytes: i64,
    database_ms: f64,
    postgres_cpu_s: f64,
    process_cpu_s: f64,
}

/// The process whose processor time is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Process<'a> {
    /// No process.
    None,
    /// A service.
    Service(&'a Service),
    /// This process.
    Own,
}

impl Meters {
    /// Reads the meters.
    pub(crate) async fn read(tables: &Tables, process: Process<'_>) -> Result<Self, database::Error> {
        Ok(Self {
            wal_bytes: tables.query_one(WAL_POSITION, &[]).await?.get("bytes"),
            database_ms: tables.query_one(DATABASE_TIME, &[]).await?.get("ms"),
            postgres_cpu_s: postgres_cpu_s(tables).await?,
            process_cpu_s: process.cpu_s(),
        })
    }

    /// The cost since then. `after` was read as soon as the operation ended; the time in the database was read after its
    /// sessions had ended and so had reported it.
    pub(crate) fn cost(
        &self,
        after: &Self,
        database_ms: f64,
        followers: i64,
        elapsed_s: f64,
        http_bytes: u64,
    ) -> Cost {
        let each = (followers as f64).max(1.0);
        let thousands = each / 1000.0;
        Cost {
            followers,
            elapsed_s,
            followers_per_s: followers as f64 / elapsed_s,
            wal_bytes_per_follower: (after.wal_bytes - self.wal_bytes) as f64 / each,
            database_ms_per_1000: (database_ms - self.database_ms) / thousands,
            postgres_cpu_ms_per_1000: (after.postgres_cpu_s - self.postgres_cpu_s) * 1000.0 / thousands,
            process_cpu_ms_per_1000: (after.process_cpu_s - self.process_cpu_s) * 1000.0 / thousands,
            http_bytes_per_follower: http_bytes as f64 / each,
        }
    }
}

/// The time in the database, after all sessions except the API's have ended.
pub(crate) async fn database_ms(tables: &Tables) -> Result<f64, database::Error> {
    let deadline = Instant::now() + SESSIONS_END_WITHIN;
    while Instant::now() < deadline {
        let sessions: i64 = tables.query_one(SESSIONS, &[]).await?.get("sessions");
        if sessions == 0 {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(tables.query_one(DATABASE_TIME, &[]).await?.get("ms"))
}

impl Process<'_> {
    fn cpu_s(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Own => Stat::of(std::process::id()).map_or(0.0, |stat| stat.own_s),
            Self::Service(service) => service.pid().and_then(Stat::of).map_or(0.0, |stat| stat.own_s),
        }
    }
}

/// The postmaster, its children, and those of them that have ended.
async fn postgres_cpu_s(tables: &Tables) -> Result<f64, database::Error> {
    let backend: i32 = tables.query_one(BACKEND_PID, &[]).await?.get("pid");
    let backend = u32::try_from(backend).unwrap_or_default();
    let Some(postmaster) = Stat::of(backend).map(|stat| stat.parent) else { return Ok(0.0) };
    let ended = Stat::of(postmaster).map_or(0.0, |stat| stat.own_s + stat.children_s);
    Ok(ended
        + everybody().filter(|(_, stat)| stat.parent == postmaster).map(|(_, stat)| stat.own_s).sum::<f64>())
}
