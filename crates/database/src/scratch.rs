//! Databases that are created for one step and dropped after it.

use tokio_postgres::Client;

use crate::{Error, Statement};

const CREATE: Statement = crate::statement!("scratch_create.sql");
const DROP: Statement = crate::statement!("scratch_drop.sql");

/// Creates an empty database whose name has this prefix, and returns the name.
pub(crate) async fn create(client: &Client, prefix: &str) -> Result<String, Error> {
    let name = format!("{prefix}_{:016x}", rand::random::<u64>());
    run_made(client, CREATE, &name).await?;
    Ok(name)
}

/// Drops the database and ends its sessions.
pub(crate) async fn drop(client: &Client, name: &str) -> Result<(), Error> {
    run_made(client, DROP, name).await
}

/// Runs the statement whose text another statement returns.
async fn run_made(client: &Client, maker: Statement, name: &str) -> Result<(), Error> {
    let text: String =
        client.query_one(maker.sql, &[&name]).await.map_err(Error::statement(maker.file))?.get(0);
    client.batch_execute(&text).await.map_err(Error::statement(maker.file))
}
