//! The administrator's operations of a measurement on the database: making a database for each cell and blogs to view, and
//! reading the tables at the end. The SQL is in `lab/bench/sql/`.

use database::{Session, Statement};
use serde::Serialize;
use tokio_postgres::Config;
use tokio_postgres::types::ToSql;

use crate::report::DatabaseSettings;

const CREATE_DATABASE: Statement = database::statement!("create_database.sql");
const CLONE_DATABASE: Statement = database::statement!("clone_database.sql");
const DROP_DATABASE: Statement = database::statement!("drop_database.sql");
const ANALYZE: Statement = database::statement!("analyze.sql");
const CHECKPOINT: Statement = database::statement!("checkpoint.sql");
const SEED_BLOGS: Statement = database::statement!("seed_blogs.sql");
const BLOG_VIEWS: Statement = database::statement!("blog_views.sql");
const VIEWS_COUNTED: Statement = database::statement!("views_counted.sql");
const PROOF: Statement = database::statement!("proof.sql");
const SERVER_SETTINGS: Statement = database::statement!("server_settings.sql");

/// A session with the statements of this module.
pub struct Tables {
    pub(crate) session: Session,
}

impl Tables {
    /// Opens a session.
    ///
    /// # Errors
    /// If it cannot connect.
    pub async fn open(config: &Config) -> Result<Self, database::Error> {
        Ok(Self { session: Session::open(config).await? })
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// The error of Postgres.
    pub async fn create_database(&self, name: &str) -> Result<(), database::Error> {
        let statement: String = self.query_one(CREATE_DATABASE, &[&name]).await?.get(0);
        self.session.run(CREATE_DATABASE.file, &statement).await
    }

    /// Copies a database that has no sessions.
    ///
    /// # Errors
    /// The error of Postgres.
    pub(crate) async fn clone_database(&self, name: &str, template: &str) -> Result<(), database::Error> {
        let statement: String = self.query_one(CLONE_DATABASE, &[&name, &template]).await?.get(0);
        self.session.run(CLONE_DATABASE.file, &statement).await
    }

    /// Drops a database and ends its sessions.
    ///
    /// # Errors
    /// The error of Postgres.
    pub async fn drop_database(&self, name: &str) -> Result<(), database::Error> {
        let statement: String = self.query_one(DROP_DATABASE, &[&name]).await?.get(0);
        self.session.run(DROP_DATABASE.file, &statement).await
    }

    /// Collects statistics, as autovacuum would after a minute. Without them the planner guesses, and scans small tables.
    ///
    /// # Errors
    /// The error of Postgres.
    pub(crate) async fn analyze(&self) -> Result<(), database::Error> {
        self.session.run(ANALYZE.file, ANALYZE.sql).await
    }

    /// Writes out dirty pages.
    ///
    /// # Errors
    /// The error of Postgres.
    pub async fn checkpoint(&self) -> Result<(), database::Error> {
        self.session.run(CHECKPOINT.file, CHECKPOINT.sql).await
    }

    /// Makes a number of blogs and returns their ids.
    ///
    /// # Errors
    /// The error of Postgres.
    pub async fn seed_blogs(&self, blogs: i32) -> Result<Vec<i64>, database::Error> {
        let rows = self.session.client.query(SEED_BLOGS.sql, &[&blogs]).await;
        let rows = rows.map_err(database::Error::statement(SEED_BLOGS.file))?;
        Ok(rows.iter().map(|row| row.get("id")).collect())
    }

    /// The views counted so far.
    ///
    /// # Errors
    /// The error of Postgres.
    pub async fn views_counted(&self) -> Result<i64, database::Error> {
        Ok(self.query_one(VIEWS_COUNTED, &[]).await?.get("views"))
    }

    /// The views of one blog that are counted so far.
    ///
    /// # Errors
    /// The error of Postgres.
    pub(crate) async fn views_of(&self, blog: i64) -> Result<i64, database::Error> {
        Ok(self.query_one(BLOG_VIEWS, &[&blog]).await?.get("views"))
    }

    /// What the tables contain after a cell.
    ///
    /// # Errors
    /// The error of Postgres.
    pub async fn proof(&self) -> Result<Proof, database::Error> {
        let row = self.query_one(PROOF, &[]).await?;
        Ok(Proof {
            total_views: row.get("total_views"),
            hour_views: row.get("hour_views"),
            ledger_events: row.get("ledger_events"),
            ledger_envelopes: row.get("ledger_envelopes"),
            counted: row.get("counted"),
            repeat: row.get("repeat"),
            discarded: row.get("discarded"),
            parked: row.get("parked"),
            outcomes: row.get("outcomes"),
            outbox_envelopes: row.get("outbox_envelopes"),
        })
    }

    /// The server's durability settings for the role of this session.
    ///
    /// # Errors
    /// The error of Postgres.
    pub async fn settings(&self) -> Result<DatabaseSettings, database::Error> {
        let row = self.query_one(SERVER_SETTINGS, &[]).await?;
        Ok(DatabaseSettings {
            server_version: row.get("server_version"),
            fsync: row.get("fsync"),
            synchronous_commit: row.get("synchronous_commit"),
            full_page_writes: row.get("full_page_writes"),
            shared_buffers: row.get("shared_buffers"),
        })
    }

    pub(crate) async fn query_one(
        &self,
        statement: Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<tokio_postgres::Row, database::Error> {
        let row = self.session.client.query_one(statement.sql, parameters).await;
        row.map_err(database::Error::statement(statement.file))
    }
}

impl Tables {
    pub(crate) async fn execute(
        &self,
        statement: Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, database::Error> {
        let executed = self.session.client.execute(statement.sql, parameters).await;
        executed.map_err(database::Error::statement(statement.file))
    }
}

/// The contents of the tables after a cell, in events unless the name says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The sum of `blog_counter.total_views`.
    pub total_views: i64,
    /// The sum of `blog_hour.views`.
    pub hour_views: i64,
    /// Events in the ledger.
    pub ledger_events: i64,
    /// Envelopes in the ledger.
    pub ledger_envelopes: i64,
    /// Counted events.
    pub counted: i64,
    /// Repeats of counted events.
    pub repeat: i64,
    /// Discarded events, whose blog was not live.
    pub discarded: i64,
    /// Parked events.
    pub parked: i64,
    /// The sum of all outcomes.
    pub outcomes: i64,
    /// Envelopes that still wait in the outbox.
    pub outbox_envelopes: i64,
}
