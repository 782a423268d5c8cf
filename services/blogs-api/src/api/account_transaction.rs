//! Transactions in which an account does something.
//!
//! Such a transaction takes its id before it looks at the account, as a batch of events does. `account erase` waits for
//! every transaction whose id is older than its own, and those are the ones that may have seen the account alive. A
//! transaction that looked first and took its id with its first write would not be waited for, and would write the id of
//! the account after it has been erased.

use database::{Error, Statement, TransactionStep, statement};
use deadpool_postgres::{Object, Transaction};
use futures_util::join;

use crate::auth::Signed;
use crate::problem::{Problem, Result};

const ACCOUNT_IS_ACTIVE: Statement = statement!("account_is_active.sql");
const TRANSACTION_ID: Statement = statement!("transaction_id.sql");

/// A transaction in which the account may act. What a token says of it may be a minute old.
///
/// # Errors
/// 401 when the account may not act.
pub(crate) async fn begin<'client>(
    client: &'client mut Object,
    signed: &Signed,
) -> Result<Transaction<'client>> {
    // Prepared beforehand, both statements leave in one flight, and in this order.
    TRANSACTION_ID.prepare(client).await?;
    ACCOUNT_IS_ACTIVE.prepare(client).await?;
    let begun = client.transaction().await;
    let transaction = begun.map_err(Error::transaction(TransactionStep::Begin))?;
    let (id, is_active) = join!(take_id(&transaction), is_active(&transaction, signed.account_id));
    id?;
    if !is_active? {
        return Err(Problem::unauthorized("this account is suspended or gone"));
    }
    Ok(transaction)
}

async fn take_id(transaction: &Transaction<'_>) -> Result<()> {
    TRANSACTION_ID.query_one(transaction, &[]).await?;
    Ok(())
}

async fn is_active(transaction: &Transaction<'_>, account_id: i64) -> Result<bool> {
    Ok(ACCOUNT_IS_ACTIVE.query_one(transaction, &[&account_id]).await?.get("is_active"))
}

/// Ends it well.
pub(crate) async fn commit(transaction: Transaction<'_>) -> Result<()> {
    Ok(database::commit(transaction).await?)
}
