//! Creates the schema of a database from the files in `migrations/`. Each migration is one transaction. A file that has
//! landed is never edited: its checksum is recorded and compared. The rights of services are in `grants.sql`, which may be
//! edited, because every run applies it after the migrations.

mod grants;
mod takeover;

use std::path::Path;
use std::time::Duration;

use refinery::{Migration, Runner, Target};
use tokio_postgres::Config;

pub use self::grants::Grants;
use self::takeover::Numbering;
use crate::session::Session;
use crate::{Error, Statement, lock};

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

const ANY: Statement = crate::statement!("migrations_any.sql");
const LOCK: Statement = crate::statement!("migrations_lock.sql");
const LOCK_NAME: &str = "commonplace.migrations";
const REWRITE: &str = "rewrite the history of the old migrations for the squashed ones";
pub(crate) const LOCK_TIMEOUT: Statement = crate::statement!("migrations_lock_timeout.sql");

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether the history was from before the migrations were squashed and has been rewritten.
    pub taken_over: bool,
    /// The migrations that this run applied, in order, such as `V1__owners`.
    pub applied: Vec<String>,
}

/// The migrations and grants of a build or of a folder.
#[derive(Debug, Clone)]
pub struct Schema {
    /// In order.
    pub migrations: Vec<Migration>,
    /// The rights of services, applied after the migrations.
    pub grants: Grants,
}

impl Schema {
    /// The schema of this build.
    #[must_use]
    pub fn embedded() -> Self {
        Self { migrations: embedded(), grants: Grants::embedded() }
    }

    /// The schema in a folder such as `migrations/`.
    ///
    /// # Errors
    /// A file cannot be read or is not named like a migration, or there is no `grants.sql`.
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        Ok(Self { migrations: in_folder(folder)?, grants: Grants::in_folder(folder)? })
    }

    /// The name and the text of each migration, and of the grants.
    pub(crate) fn files(&self) -> impl Iterator<Item = (String, &str)> {
        let migrations = self.migrations.iter();
        let migrations = migrations.map(|file| (file.to_string(), file.sql().unwrap_or_default()));
        migrations.chain([("grants".to_owned(), self.grants.text())])
    }
}

/// The migrations compiled into this build, in order.
#[must_use]
pub fn embedded() -> Vec<Migration> {
    embedded::migrations::runner().get_migrations().clone()
}

/// The migrations in a folder, in order.
///
/// # Errors
/// [`Error::Migration`] if a file cannot be read or is not named like a migration.
pub fn in_folder(folder: &Path) -> Result<Vec<Migration>, Error> {
    let mut migrations =
        refinery::load_sql_migrations(folder).map_err(|error| Error::Migration(Box::new(error)))?;
    migrations.sort();
    Ok(migrations)
}

/// The version of a database's schema; 0 if no migration was applied. Reads in a read-only transaction.
///
/// # Errors
/// [`Error::OldHistory`], otherwise the error from Postgres.
pub async fn deployed(database: &Config) -> Result<i32, Error> {
    match numbering(database).await? {
        Numbering::Squashed(version) => Ok(version),
        Numbering::LastOld => Ok(takeover::SQUASHED),
        Numbering::Older(newest) => Err(Error::OldHistory { newest }),
    }
}

/// What [`run`] would do to a database, one line per step.
///
/// # Errors
/// [`Error::OldHistory`], otherwise the error from Postgres.
pub async fn pending(database: &Config) -> Result<Vec<String>, Error> {
    let (rewrite, deployed) = match numbering(database).await? {
        Numbering::Squashed(version) => (None, version),
        Numbering::LastOld => (Some(REWRITE.to_owned()), takeover::SQUASHED),
        Numbering::Older(newest) => return Err(Error::OldHistory { newest }),
    };
    let newer = embedded().into_iter().filter(|migration| migration.version() > deployed);
    Ok(rewrite.into_iter().chain(newer.map(|migration| migration.to_string())).collect())
}

async fn numbering(database: &Config) -> Result<Numbering, Error> {
    let mut session = Session::open(database).await?;
    let transaction = session.read_only().await?;
    takeover::numbering(&transaction).await
}

/// Migrates the database to the newest schema of this build. Concurrent runs wait for each other, for at most a minute.
///
/// # Errors
/// The error from Postgres; an applied file was edited; or an old history cannot be taken over.
pub async fn run(administrator: &Config) -> Result<Report, Error> {
    run_waiting(administrator, lock::WAIT_MAX).await
}

/// Like [`run`], with a limit for the wait for another run.
///
/// # Errors
/// As [`run`]; [`Error::Held`] names the session that still holds the lock after the wait.
pub async fn run_waiting(administrator: &Config, wait: Duration) -> Result<Report, Error> {
    let Schema { migrations, grants } = Schema::embedded();
    let mut session = locked(administrator, wait).await?;
    let taken_over = takeover::run(&mut session, administrator, &migrations).await?;
    let applied = apply_to(&mut session, &migrations, None).await?;
    grants.apply(&mut session.client).await?;
    Ok(Report { taken_over, applied })
}

/// Applies the migrations that the database does not have yet, up to a version, without grants. Returns those it applied.
///
/// # Errors
/// The error from Postgres, or an applied file was edited.
pub async fn apply(
    administrator: &Config,
    migrations: &[Migration],
    up_to: Option<i32>,
) -> Result<Vec<String>, Error> {
    let mut session = locked(administrator, lock::WAIT_MAX).await?;
    apply_to(&mut session, migrations, up_to).await
}

/// Opens a session that holds the lock for migration runs.
async fn locked(administrator: &Config, wait: Duration) -> Result<Session, Error> {
    let session = Session::open(administrator).await?;
    if let Err(error) = lock::take(&session.client, LOCK, wait, false).await {
        return Err(lock::explain(&session.client, LOCK_NAME, error).await);
    }
    // A migration that waits for a table lock blocks all sessions behind it. It gives up early and can be run again.
    session.run(LOCK_TIMEOUT.file, LOCK_TIMEOUT.sql).await?;
    Ok(session)
}

async fn apply_to(
    session: &mut Session,
    migrations: &[Migration],
    up_to: Option<i32>,
) -> Result<Vec<String>, Error> {
    let target = up_to.map_or(Target::Latest, Target::Version);
    let report = Runner::new(migrations).set_target(target).run_async(&mut session.client).await;
    let report = report.map_err(|error| Error::Migration(Box::new(error)))?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}
