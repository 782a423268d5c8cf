//! Removes the e-mail addresses and password hashes of deleted accounts after their grace period.
//!
//! Every process runs this task. The owner's function skips accounts that another process is removing or restoring, so
//! the processes neither wait for each other nor need to take turns.

use std::time::Duration;

use database::{Error, Pool, Statement, statement};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::settings::AccountSettings;

const ACCOUNT_FORGET: Statement = statement!("account_forget.sql");

/// The pause between runs, and the accounts per transaction.
const FORGET_EVERY: Duration = Duration::from_secs(60);
const FORGET_MOST: i32 = 100;

/// Removes what is due at start and then every minute, until `shutdown`.
pub(crate) async fn forget_deleted(settings: AccountSettings, pool: Pool, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = forget(settings, &pool, &shutdown).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not remove the e-mail addresses and password hashes of deleted accounts; trying again in a minute"
            );
        }
    }
}

/// Runs one short transaction per batch until nothing is due.
async fn forget(
    settings: AccountSettings,
    pool: &Pool,
    shutdown: &CancellationToken,
) -> std::result::Result<(), Error> {
    let days = settings.deletion_grace_days;
    while !shutdown.is_cancelled() {
        let client = pool.get().await?;
        let row = ACCOUNT_FORGET.query_one(&client, &[&days, &FORGET_MOST]).await?;
        let forgotten: i64 = row.get("forgotten");
        if forgotten > 0 {
            tracing::info!(
                accounts = forgotten,
                "removed the e-mail addresses and password hashes of deleted accounts"
            );
        }
        if forgotten < i64::from(FORGET_MOST) {
            break;
        }
    }
    Ok(())
}
