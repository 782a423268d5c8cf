//! What a deleted account forgets after its grace period: e-mail address and password hash.
//!
//! Every process forgets, at start and then every minute. The owner's function passes over accounts that another process is
//! forgetting or bringing back, so processes neither wait for each other nor take turns.

use std::time::Duration;

use database::{Error, Pool, Statement, statement};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::settings::AccountSettings;

const ACCOUNT_FORGET: Statement = statement!("account_forget.sql");

/// How often accounts are forgotten, and how many of them in one transaction.
const FORGET_EVERY: Duration = Duration::from_secs(60);
const FORGET_MOST: i32 = 100;

/// Forgets what is due at start and then every minute, until `shutdown`.
pub(crate) async fn forget_deleted(settings: AccountSettings, pool: Pool, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = forget(settings, &pool, &shutdown).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "e-mail addresses and passwords of deleted accounts could not be forgotten"
            );
        }
    }
}

/// A short transaction for each batch, until none is due.
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
                "deleted accounts have forgotten e-mail address and password"
            );
        }
        if forgotten < i64::from(FORGET_MOST) {
            break;
        }
    }
    Ok(())
}
