//! Whether there is something to tell of a blog, by what the tables say now.
//!
//! Not the event decides, for events come late, again, and past each other. The row of the fan-out is locked first, and
//! whether readers see the blog is read in a later statement: whoever settles the same blog at that moment waits, and then
//! sees what has been committed since. So after the event of the last change, the row is as that change left the blog.

use database::{Error, Pool, Statement, statement};
use deadpool_postgres::Transaction;

const FAN_OUT_AUTHOR: Statement = statement!("fan_out_author.sql");
const FAN_OUT_CREATE: Statement = statement!("fan_out_create.sql");
const FAN_OUT_LOCK: Statement = statement!("fan_out_lock.sql");
const FAN_OUT_RESUME: Statement = statement!("fan_out_resume.sql");
const FAN_OUT_WITHDRAW: Statement = statement!("fan_out_withdraw.sql");

/// Begins, resumes or withdraws the fan-out of a blog, or leaves it as it is.
///
/// # Errors
/// What the database said.
pub(crate) async fn settle(pool: &Pool, blog_id: i64) -> Result<(), Error> {
    let mut client = pool.get().await?;
    let begun = client.transaction().await;
    let transaction = begun.map_err(Error::transaction("beginning"))?;
    FAN_OUT_CREATE.execute(&transaction, &[&blog_id]).await?;
    if let Some(row) = FAN_OUT_LOCK.query_opt(&transaction, &[&blog_id]).await? {
        let is_live = author(&transaction, blog_id).await?.is_some();
        match (row.get("state"), is_live) {
            ("withdrawn", true) => FAN_OUT_RESUME.execute(&transaction, &[&blog_id]).await?,
            ("running", false) => FAN_OUT_WITHDRAW.execute(&transaction, &[&blog_id]).await?,
            _ => 0,
        };
    }
    transaction.commit().await.map_err(Error::transaction("committing"))
}

/// Whose a blog is, as long as readers see it.
pub(crate) async fn author(transaction: &Transaction<'_>, blog_id: i64) -> Result<Option<i64>, Error> {
    Ok(FAN_OUT_AUTHOR.query_opt(transaction, &[&blog_id]).await?.map(|row| row.get("author_id")))
}

/// A fan-out that is locked goes no further until readers see its blog again.
pub(crate) async fn withdraw(transaction: &Transaction<'_>, blog_id: i64) -> Result<(), Error> {
    FAN_OUT_WITHDRAW.execute(transaction, &[&blog_id]).await?;
    Ok(())
}
