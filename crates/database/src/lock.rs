//! The advisory locks of the application, each under the name that `hashtextextended` makes a key of. In its database only
//! the owners' functions and the administrator may take one, where the administrator may revoke that from the rest.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use crate::{Error, Statement};

const HOLDER: Statement = crate::statement!("advisory_holder.sql");
const WAIT: Statement = crate::statement!("advisory_wait.sql");

/// How long a step of `migrate` waits for another one.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// The session that holds a lock, as a sentence can name it; nothing when it is free.
///
/// # Errors
/// What Postgres said.
pub async fn holder(client: &Client, name: &str) -> Result<Option<String>, Error> {
    let row = client.query_opt(HOLDER.sql, &[&name]).await.map_err(Error::statement(HOLDER.file))?;
    Ok(row.map(|row| row.get("holder")))
}

/// Takes a lock by this statement and gives up after `wait`. The limit also holds for what follows: in the transaction, or
/// in the session if it is in none.
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

/// An error that says who holds the lock, where the wait for it took too long. The client must not be in a transaction.
pub(crate) async fn explain(client: &Client, name: &'static str, error: Error) -> Error {
    if error.sqlstate() != Some(SqlState::LOCK_NOT_AVAILABLE.code()) {
        return error;
    }
    match holder(client, name).await {
        Ok(Some(holder)) => Error::Held { name, holder },
        Ok(None) | Err(_) => error,
    }
}
