//! Why a counter has a row of its own: compares additions to `blogs.blog_counter` with additions to a column of the blog's row.
//!
//! The wide table has the columns and indexes of `blogs.blog`, an additional counter, and a body as long as a short article
//! that still fits into the row. One session adds 1 to many blogs at a time, like a worker's batch.

use std::time::Instant;

use database::{Statement, statement};
use load::{Draw, Spread};
use rand::rngs::SmallRng;
use serde::Serialize;

use super::Error;
use super::meters::Meters;
use super::setting::{Place, Setting};
use crate::tables::Tables;

const FLUSH_STATISTICS: Statement = statement!("flush_statistics.sql");
const NARROW_ADD: Statement = statement!("narrow_add.sql");
const TABLE_STATE: Statement = statement!("table_state.sql");
const WIDE_ADD: Statement = statement!("wide_add.sql");
const WIDE_CREATE: Statement = statement!("wide_create.sql");
const WIDE_FILL: Statement = statement!("wide_fill.sql");

/// Bytes of a blog's text. Postgres moves texts out of a row that exceeds about 2000 bytes.
const BODY_BYTES: i32 = 1600;
/// Random draws for each batch; a popular blog is drawn more than once.
const DRAWS: usize = 200;

/// The place of the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// In a row of its own.
    Narrow,
    /// In the row of the blog.
    Wide,
}

/// The cost of additions in one of these places.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The place of the counter.
    pub row: RowKind,
    /// Counted from 1.
    pub round: u32,
    /// Rows that were updated.
    pub updates: i64,
    /// Updates per second.
    pub updates_per_s: f64,
    /// WAL bytes per update.
    pub wal_bytes_per_update: f64,
    /// Percentage of updates that were HOT.
    pub hot_percent: f64,
    /// Growth of table and indexes in bytes per update.
    pub growth_bytes_per_update: f64,
}

impl Setting<'_> {
    /// One round of both.
    pub(super) async fn rows(&mut self, round: u32) -> Result<Vec<Row>, Error> {
        let place = self.place().await?;
        let measured = self.rows_in(&place, round).await;
        let removed = self.remove(&place).await;
        let measured = measured?;
        removed?;
        Ok(measured)
    }

    async fn rows_in(&self, place: &Place, round: u32) -> Result<Vec<Row>, Error> {
        let tables = Tables::open(&place.database).await?;
        tables.session.run(WIDE_CREATE.file, WIDE_CREATE.sql).await?;
        tables.execute(WIDE_FILL, &[&BODY_BYTES]).await?;
        let mut rows = Vec::new();
        for row in [RowKind::Narrow, RowKind::Wide] {
            rows.push(self.row(&tables, row, round).await?);
        }
        Ok(rows)
    }

    async fn row(&self, tables: &Tables, row: RowKind, round: u32) -> Result<Row, Error> {
        let (table, add) = match row {
            RowKind::Narrow => ("blogs.blog_counter", NARROW_ADD),
            RowKind::Wide => ("public.wide_blog", WIDE_ADD),
        };
        let blogs = self.viewed();
        let draw = Draw::new(Spread::Zipf(1.1), blogs.len());
        tables.checkpoint().await?;
        let state_before = State::read(tables, table).await?;
        let before = Meters::read(tables).await?;
        let prepared = tables.session.client.prepare(add.sql).await;
        let prepared = prepared.map_err(database::Error::statement(add.file))?;
        let mut random: SmallRng = rand::make_rng();
        let began = Instant::now();
        while began.elapsed() < self.plan.duration && !self.stop.is_cancelled() {
            let mut drawn: Vec<i64> =
                (0..DRAWS).filter_map(|_| blogs.get(draw.draw(&mut random)).copied()).collect();
            drawn.sort_unstable();
            let (mut ids, mut views): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
            for same in drawn.chunk_by(|one, other| one == other) {
                ids.extend(same.first());
                views.push(i64::try_from(same.len()).unwrap_or_default());
            }
            let added = tables.session.client.execute(&prepared, &[&ids, &views]).await;
            added.map_err(database::Error::statement(add.file))?;
        }
        let elapsed_s = began.elapsed().as_secs_f64();
        let after = Meters::read(tables).await?;
        let state = State::read(tables, table).await?;
        let updates = state.updates - state_before.updates;
        let each = (updates as f64).max(1.0);
        Ok(Row {
            row,
            round,
            updates,
            updates_per_s: updates as f64 / elapsed_s,
            wal_bytes_per_update: (after.wal_bytes - before.wal_bytes) as f64 / each,
            hot_percent: 100.0 * (state.hot_updates - state_before.hot_updates) as f64 / each,
            growth_bytes_per_update: (state.bytes - state_before.bytes) as f64 / each,
        })
    }
}

/// The state of a table.
struct State {
    updates: i64,
    hot_updates: i64,
    bytes: i64,
}

impl State {
    async fn read(tables: &Tables, table: &str) -> Result<Self, database::Error> {
        tables.query_one(FLUSH_STATISTICS, &[]).await?;
        let row = tables.query_one(TABLE_STATE, &[&table]).await?;
        Ok(Self { updates: row.get("updates"), hot_updates: row.get("hot_updates"), bytes: row.get("bytes") })
    }
}
