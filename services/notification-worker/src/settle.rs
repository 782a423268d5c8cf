//! Decides from the current tables whether followers must be notified of a blog.
//!
//! The event does not decide, because events arrive late, twice, out of order, or never. The fan-out's row is locked
//! first, and a later statement reads whether readers see the blog. Another worker that settles the same blog at that
//! moment waits, and then sees what has been committed. So after the event of the last change, the row matches the
//! state that this change left.

use database::{Error, Pool, Statement, TransactionStep, statement};
use deadpool_postgres::Transaction;

const FAN_OUT_AUTHOR: Statement = statement!("fan_out_author.sql");
const FAN_OUT_CREATE: Statement = statement!("fan_out_create.sql");
const FAN_OUT_LOCK: Statement = statement!("fan_out_lock.sql");
const FAN_OUT_RESUME: Statement = statement!("fan_out_resume.sql");
const FAN_OUT_WITHDRAW: Statement = statement!("fan_out_withdraw.sql");

/// Begins, resumes or withdraws the fan-out of a blog, or leaves it unchanged. Returns true if it was begun or resumed.
///
/// # Errors
/// The database's error.
pub(crate) async fn settle(pool: &Pool, blog_id: i64) -> Result<bool, Error> {
    let mut client = pool.get().await?;
    let begun = client.transaction().await;
    let transaction = begun.map_err(Error::transaction(TransactionStep::Begin))?;
    let mut is_under_way = FAN_OUT_CREATE.execute(&transaction, &[&blog_id]).await? > 0;
    if let Some(row) = FAN_OUT_LOCK.query_opt(&transaction, &[&blog_id]).await? {
        let may_tell = author(&transaction, blog_id).await?.is_some();
        match (row.get("state"), may_tell) {
            ("withdrawn", true) => {
                is_under_way = FAN_OUT_RESUME.execute(&transaction, &[&blog_id]).await? > 0;
            }
            ("running", false) => {
                FAN_OUT_WITHDRAW.execute(&transaction, &[&blog_id]).await?;
                is_under_way = false;
            }
            _ => {}
        }
    }
    database::commit(transaction).await?;
    Ok(is_under_way)
}

/// The author of a blog, if followers may be notified of it.
pub(crate) async fn author(transaction: &Transaction<'_>, blog_id: i64) -> Result<Option<i64>, Error> {
    Ok(FAN_OUT_AUTHOR.query_opt(transaction, &[&blog_id]).await?.map(|row| row.get("author_id")))
}

/// Withdraws a locked fan-out until followers may be notified of the blog again.
pub(crate) async fn withdraw(transaction: &Transaction<'_>, blog_id: i64) -> Result<(), Error> {
    FAN_OUT_WITHDRAW.execute(transaction, &[&blog_id]).await?;
    Ok(())
}
