//! Transactions in which an account does something.

use database::{Error, Statement, statement};
use deadpool_postgres::{Object, Transaction};

use crate::auth::Signed;
use crate::problem::{Problem, Result};

const ACCOUNT_IS_ACTIVE: Statement = statement!("account_is_active.sql");

/// A transaction in which the account may act. What a token says of it may be a minute old.
pub(crate) async fn begin<'client>(
    client: &'client mut Object,
    signed: &Signed,
) -> Result<Transaction<'client>> {
    let begun = client.transaction().await;
    let transaction = begun.map_err(Error::transaction("beginning"))?;
    let row = ACCOUNT_IS_ACTIVE.query_one(&transaction, &[&signed.account_id]).await?;
    if !row.get::<_, bool>("is_active") {
        return Err(Problem::unauthorized("this account is suspended or gone"));
    }
    Ok(transaction)
}

/// Ends it well.
pub(crate) async fn commit(transaction: Transaction<'_>) -> Result<()> {
    let committed = transaction.commit().await;
    Ok(committed.map_err(Error::transaction("committing"))?)
}
