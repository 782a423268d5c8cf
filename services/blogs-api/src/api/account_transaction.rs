//! Transactions in which an account acts.
//!
//! Such a transaction takes its transaction id before it reads the account, as a batch of events does. `account erase`
//! waits for every transaction with an id older than its own, because those may have read the account as active. A
//! transaction that read the account first and took its id with its first write would not be waited for, and would
//! write the account's id after the account has been erased.

use database::{Error, Statement, TransactionStep, statement};
use deadpool_postgres::{Object, Transaction};
use futures_util::join;

use crate::auth::Signed;
use crate::problem::{Problem, Result};

const ACCOUNT_IS_ACTIVE: Statement = statement!("account_is_active.sql");
const TRANSACTION_ID: Statement = statement!("transaction_id.sql");

/// Begins a transaction in which the account may act. The account is read again because its token may be a minute out
/// of date.
///
/// # Errors
/// 401 when the account may not act.
pub(crate) async fn begin<'client>(
    client: &'client mut Object,
    signed: &Signed,
) -> Result<Transaction<'client>> {
    // Prepared first, so that both statements leave in one round trip and in this order.
    TRANSACTION_ID.prepare(client).await?;
    ACCOUNT_IS_ACTIVE.prepare(client).await?;
    let begun = client.transaction().await;
    let transaction = begun.map_err(Error::transaction(TransactionStep::Begin))?;
    let (id, is_active) = join!(take_id(&transaction), is_active(&transaction, signed.account_id));
    id?;
    if !is_active? {
        return Err(Problem::unauthorized("this account is suspended or deleted"));
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

/// Commits the transaction.
pub(crate) async fn commit(transaction: Transaction<'_>) -> Result<()> {
    Ok(database::commit(transaction).await?)
}
