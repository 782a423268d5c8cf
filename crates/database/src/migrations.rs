//! The schema of a database, from the files in `migrations/`. One migration is one transaction; landed files are
//! never edited (their checksums are recorded and compared).

use std::path::Path;
use std::time::Duration;

use refinery::{Migration, Runner, Target};
use tokio_postgres::Config;

use crate::session::Session;
use crate::{Error, Statement, lock};

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

const ANY: Statement = crate::statement!("migrations_any.sql");
const DEPLOYED: Statement = crate::statement!("migrations_deployed.sql");
const LOCK: Statement = crate::statement!("migrations_lock.sql");
const LOCK_NAME: &str = "commonplace.migrations";
pub(crate) const LOCK_TIMEOUT: Statement = crate::statement!("migrations_lock_timeout.sql");

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The migrations that this run applied, in order, as `V1__schemas`.
    pub applied: Vec<String>,
}

/// The migrations that this build carries, in order.
#[must_use]
pub fn embedded() -> Vec<Migration> {
    embedded::migrations::runner().get_migrations().clone()
}

/// The migrations in a folder, in order.
///
/// # Errors
/// [`Error::Migration`] when a file cannot be read or is not named like one.
pub fn in_folder(folder: &Path) -> Result<Vec<Migration>, Error> {
    let mut migrations =
        refinery::load_sql_migrations(folder).map_err(|error| Error::Migration(Box::new(error)))?;
    migrations.sort();
    Ok(migrations)
}

/// The version of a database's schema; 0 when nothing was ever applied to it. Read in a transaction that may not write.
///
/// # Errors
/// What Postgres said.
pub async fn deployed(database: &Config) -> Result<i32, Error> {
    let mut session = Session::open(database).await?;
    let transaction = session.read_only().await?;
    let any = transaction.query_one(ANY.sql, &[]).await.map_err(Error::statement(ANY.file))?;
    if !any.get::<_, bool>(0) {
        return Ok(0);
    }
    let row = transaction.query_one(DEPLOYED.sql, &[]).await.map_err(Error::statement(DEPLOYED.file))?;
    Ok(row.get("version"))
}

/// Brings the database to the newest schema of this build. Several at once wait for each other, for a minute at most.
///
/// # Errors
/// What Postgres said, or that an applied file was edited.
pub async fn run(administrator: &Config) -> Result<Report, Error> {
    run_waiting(administrator, lock::WAIT_MAX).await
}

/// [`run`], and how long to wait for another run.
///
/// # Errors
/// As [`run`]; [`Error::Held`] names the session that was waited for in vain.
pub async fn run_waiting(administrator: &Config, wait: Duration) -> Result<Report, Error> {
    apply_waiting(administrator, &embedded(), None, wait).await
}

/// Applies those of the migrations that the database does not have yet, up to a version.
///
/// # Errors
/// What Postgres said, or that an applied file was edited.
pub async fn apply(
    administrator: &Config,
    migrations: &[Migration],
    up_to: Option<i32>,
) -> Result<Report, Error> {
    apply_waiting(administrator, migrations, up_to, lock::WAIT_MAX).await
}

async fn apply_waiting(
    administrator: &Config,
    migrations: &[Migration],
    up_to: Option<i32>,
    wait: Duration,
) -> Result<Report, Error> {
    let mut session = Session::open(administrator).await?;
    if let Err(error) = lock::take(&session.client, LOCK, wait, false).await {
        return Err(lock::explain(&session.client, LOCK_NAME, error).await);
    }
    // A migration that waits for a lock makes everybody behind it wait: rather give up and be run again.
    session.run(LOCK_TIMEOUT.file, LOCK_TIMEOUT.sql).await?;
    let target = up_to.map_or(Target::Latest, Target::Version);
    let report = Runner::new(migrations)
        .set_target(target)
        .run_async(&mut session.client)
        .await
        .map_err(|error| Error::Migration(Box::new(error)))?;
    Ok(Report { applied: report.applied_migrations().iter().map(ToString::to_string).collect() })
}
