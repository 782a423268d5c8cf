//! The application's advisory locks. Each has a name that `hashtextextended` turns into a key. If the administrator may
//! revoke the right to take advisory locks, only the owners' functions and the administrator can take one in the
//! application's database.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use crate::{Error, Statement};

const HOLDER: Statement = crate::statement!("advisory_holder.sql");
const WAIT: Statement = crate::statement!("advisory_wait.sql");

/// How long a step of `migrate` waits for another run.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// Describes the session that holds a lock; None if the lock is free.
///
/// # Errors
/// The error from Postgres.
pub async fn holder(client: &Client, name: &str) -> Result<Option<String>, Error> {
    let row = client.query_opt(HOLDER.sql, &[&name]).await.map_err(Error::statement(HOLDER.file))?;
    Ok(row.map(|row| row.get("holder")))
}

/// Takes a lock with this statement and gives up after `wait`. The limit stays in force for the rest of the transaction, or
/// of the session if there is no transaction.
pub(crate) async fn take<C: GenericClient + Sync>(
    client: &C,
    lock: Statement,
    wait: Duration,
    in_transaction: bool,
) -> Result<(), Error> {
    let limit = format!("{}ms", wait.as_millis());
    client.query(WAIT.sql, &[&limit, &in_transaction]).await.map_err(Error::statement(WAIT.file))?;
    client.batch_execute(lock.sql).await.map_err(Error::statement(lock.file))
}

/// If the wait for the lock timed out, returns an error that names its holder. The client must not be in a transaction.
pub(crate) async fn explain(client: &Client, name: &'static str, error: Error) -> Error {
    if error.sqlstate() != Some(SqlState::LOCK_NOT_AVAILABLE.code()) {
        return error;
    }
    match holder(client, name).await {
        Ok(Some(holder)) => Error::Held { name, holder },
        Ok(None) | Err(_) => error,
    }
}
