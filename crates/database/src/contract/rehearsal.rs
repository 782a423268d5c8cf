//! Applies migrations to a scratch database on a shared server. Each migration runs in a transaction that commits only if
//! the state of the whole server is unchanged.

use refinery::{Migration, Runner, Target};
use tokio_postgres::{Client, Config};

use super::server::State;
use crate::migrations::LOCK_TIMEOUT;
use crate::session::Session;
use crate::{Error, Statement, migrations};

const TRANSACTION: Statement = crate::statement!("contract_transaction.sql");
const SETTLE: Statement = crate::statement!("contract_settle.sql");
const OWN_ROLE: Statement = crate::statement!("contract_own_role.sql");
const END: Statement = crate::statement!("contract_end.sql");
const BEGIN: Statement = crate::statement!("contract_begin.sql");
const COMMIT: Statement = crate::statement!("contract_commit.sql");

/// Applies the migrations that the database does not have yet, up to a version, like [`migrations::apply`].
pub(super) async fn apply(
    scratch: &Config,
    all: &[Migration],
    up_to: Option<i32>,
) -> Result<Vec<String>, Error> {
    let recorded = migrations::deployed(scratch).await?;
    let mut session = Session::open(scratch).await?;
    session.run(LOCK_TIMEOUT.file, LOCK_TIMEOUT.sql).await?;
    record(&mut session.client, all, recorded).await?;
    let before = State::read(&session.client).await?;
    let is_due = |migration: &&Migration| {
        migration.version() > recorded && up_to.is_none_or(|last| migration.version() <= last)
    };
    let mut applied = Vec::new();
    for migration in all.iter().filter(is_due) {
        let name = migration.to_string();
        session.run(BEGIN.file, BEGIN.sql).await?;
        let ran = apply_one(&session.client, migration, &name, &before).await;
        let end = if ran.is_ok() { COMMIT } else { END };
        session.run(end.file, end.sql).await?;
        ran?;
        record(&mut session.client, all, migration.version()).await?;
        applied.push(name);
    }
    Ok(applied)
}

/// Runs one migration in the current transaction.
async fn apply_one(client: &Client, migration: &Migration, name: &str, before: &State) -> Result<(), Error> {
    let began = transaction(client).await?;
    client
        .batch_execute(migration.sql().unwrap_or_default())
        .await
        .map_err(|source| Error::Rehearsal { migration: name.to_owned(), source: source.into() })?;
    for statement in [SETTLE, OWN_ROLE] {
        client.batch_execute(statement.sql).await.map_err(Error::statement(statement.file))?;
    }
    if transaction(client).await? != began {
        return Err(Error::EndedTransaction { migration: name.to_owned() });
    }
    let changes = before.changes(&State::read(client).await?);
    if changes.is_empty() {
        Ok(())
    } else {
        Err(Error::ChangesServer { migration: name.to_owned(), changes })
    }
}

async fn transaction(client: &Client) -> Result<String, Error> {
    let row = client.query_one(TRANSACTION.sql, &[]).await.map_err(Error::statement(TRANSACTION.file))?;
    Ok(row.get(0))
}

/// Records the migrations up to this version as applied, in the history that [`migrations`] uses.
async fn record(client: &mut Client, all: &[Migration], version: i32) -> Result<(), Error> {
    let runner = Runner::new(all).set_target(Target::FakeVersion(version));
    runner.run_async(client).await.map_err(|error| Error::Migration(Box::new(error)))?;
    Ok(())
}
