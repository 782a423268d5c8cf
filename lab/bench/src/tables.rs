//! What a measurement asks of the database itself, as its administrator: a database for each cell, blogs to
//! view, and in the end the account that the tables give. The SQL is in `lab/bench/sql/`.

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
    /// That of connecting.
    pub async fn open(config: &Config) -> Result<Self, database::Error> {
        Ok(Self { session: Session::open(config).await? })
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// What Postgres said.
    pub async fn create_database(&self, name: &str) -> Result<(), database::Error> {
        let statement: String = self.query_one(CREATE_DATABASE, &[&name]).await?.get(0);
        self.session.run(CREATE_DATABASE.file, &statement).await
    }

    /// Makes a copy of a database that nobody is in.
    ///
    /// # Errors
    /// What Postgres said.
    pub(crate) async fn clone_database(&self, name: &str, template: &str) -> Result<(), database::Error> {
        let statement: String = self.query_one(CLONE_DATABASE, &[&name, &template]).await?.get(0);
        self.session.run(CLONE_DATABASE.file, &statement).await
    }

    /// Removes a database, whoever is still in it.
    ///
    /// # Errors
    /// What Postgres said.
    pub async fn drop_database(&self, name: &str) -> Result<(), database::Error> {
        let statement: String = self.query_one(DROP_DATABASE, &[&name]).await?.get(0);
        self.session.run(DROP_DATABASE.file, &statement).await
    }

    /// Lets the planner know what was made, as it does by itself after a minute: without that it guesses, and reads small
    /// tables whole.
    ///
    /// # Errors
    /// What Postgres said.
    pub(crate) async fn analyze(&self) -> Result<(), database::Error> {
        self.session.run(ANALYZE.file, ANALYZE.sql).await
    }

    /// Writes out what is dirty.
    ///
    /// # Errors
    /// What Postgres said.
    pub async fn checkpoint(&self) -> Result<(), database::Error> {
        self.session.run(CHECKPOINT.file, CHECKPOINT.sql).await
    }

    /// Makes so many blogs and returns their ids.
    ///
    /// # Errors
    /// What Postgres said.
    pub async fn seed_blogs(&self, blogs: i32) -> Result<Vec<i64>, database::Error> {
        let rows = self.session.client.query(SEED_BLOGS.sql, &[&blogs]).await;
        let rows = rows.map_err(database::Error::statement(SEED_BLOGS.file))?;
        Ok(rows.iter().map(|row| row.get("id")).collect())
    }

    /// The views counted so far.
    ///
    /// # Errors
    /// What Postgres said.
    pub async fn views_counted(&self) -> Result<i64, database::Error> {
        Ok(self.query_one(VIEWS_COUNTED, &[]).await?.get("views"))
    }

    /// The views of one blog that are counted so far.
    ///
    /// # Errors
    /// What Postgres said.
    pub(crate) async fn views_of(&self, blog: i64) -> Result<i64, database::Error> {
        Ok(self.query_one(BLOG_VIEWS, &[&blog]).await?.get("views"))
    }

    /// The account of all that was accepted.
    ///
    /// # Errors
    /// What Postgres said.
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

    /// What the server promises to the role of this session.
    ///
    /// # Errors
    /// What Postgres said.
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

/// What the tables say after a cell, in events unless the name says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The sum of `blog_counter.total_views`.
    pub total_views: i64,
    /// The sum of `blog_hour.views`.
    pub hour_views: i64,
    /// What the ledger let in.
    pub ledger_events: i64,
    /// In so many envelopes.
    pub ledger_envelopes: i64,
    /// What counted.
    pub counted: i64,
    /// What had counted before.
    pub repeat: i64,
    /// What was about no live blog.
    pub discarded: i64,
    /// What was set aside.
    pub parked: i64,
    /// All outcomes, of whatever name.
    pub outcomes: i64,
    /// Envelopes that still wait to be published.
    pub outbox_envelopes: i64,
}
