//! Caches the epoch of each account. A token of an older epoch has been revoked.
//!
//! A process reads an account's epoch again when the cached one is older than `tokens.epoch_age_max_s`. Simultaneous
//! requests of one account share one query. If the database does not answer in time, the last known epoch is used, and the
//! process sends no further query for a second: an outage costs one short wait a second, not one per request.
//!
//! If a token's epoch is higher than the cached one, either another process has raised the epoch, or the token was issued
//! before the database was replaced by an older copy. Only the database can tell, so the process queries it again, at most
//! once a second for an account and epoch, however many requests carry such a token.

use std::time::Duration;

use database::{Pool, Statement, statement};
use jiff::Timestamp;
use moka::future::Cache;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::TokenSettings;

const ACCOUNT_EPOCH: Statement = statement!("account_epoch.sql");
/// How long to send no query after the database did not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// How long to cache the database's answer about a token whose epoch is higher than the cached one.
const AHEAD: Duration = Duration::from_secs(1);

/// What is known about an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Tokens of this epoch are valid.
    Account {
        /// The token epoch.
        epoch: i32,
        /// When the account was created, by the database's clock. None of its tokens is older.
        created_at: Timestamp,
    },
    /// No token of this account is valid: it was deleted or suspended, or never existed.
    Gone,
    /// The database does not answer, and the cache contains no reason to reject the token.
    Nothing,
}

/// The cached epochs of accounts.
#[derive(Clone)]
pub struct Epochs {
    pool: Option<Pool>,
    wait_max: Duration,
    /// Entries that are recent enough to rely on; the cache drops those that are too old.
    fresh: Cache<i64, Known>,
    /// The last known epochs, for when the database is down.
    last: Cache<i64, Known>,
    /// The database's answers about tokens whose epoch was higher than the cached one, by account and that epoch.
    ahead: Cache<(i64, i32), Known>,
    /// Contains an entry while no query should be sent.
    pause: Cache<(), ()>,
    unverified: Counter,
}

impl Epochs {
    /// Epochs from the database.
    #[must_use]
    pub fn new(settings: &TokenSettings, pool: Pool, registry: &mut Registry) -> Self {
        let epochs = Self { pool: Some(pool), ..Self::without_database(settings) };
        registry.register(
            "tokens_epoch_unverified",
            "Tokens accepted without checking the current epoch, because the database did not answer",
            epochs.unverified.clone(),
        );
        epochs
    }

    /// Epochs without a database: the values given to [`Epochs::raised`] count, otherwise the token itself.
    #[must_use]
    pub fn without_database(settings: &TokenSettings) -> Self {
        Self {
            pool: None,
            wait_max: Duration::from_millis(settings.epoch_wait_max_ms),
            fresh: Cache::builder()
                .max_capacity(settings.epochs_max)
                .time_to_live(Duration::from_secs(settings.epoch_age_max_s.into()))
                .build(),
            last: Cache::new(settings.epochs_max),
            ahead: Cache::builder().max_capacity(settings.epochs_max).time_to_live(AHEAD).build(),
            pause: Cache::builder().max_capacity(1).time_to_live(PAUSE).build(),
            unverified: Counter::default(),
        }
    }

    /// What is known about this account, for a token of this epoch. If the result is lower than the token's epoch, it comes
    /// from the database and is at most a second old.
    pub async fn of(&self, account_id: i64, token_epoch: i32) -> Known {
        let asked = self.fresh.entry(account_id).or_try_insert_with(self.ask(account_id)).await;
        let Ok(entry) = asked else {
            self.unverified.inc();
            let last = self.last.get(&account_id).await;
            return last.filter(|known| !known.is_below(token_epoch)).unwrap_or(Known::Nothing);
        };
        let was_asked_now = entry.is_fresh();
        let known = entry.into_value();
        if was_asked_now || !known.is_below(token_epoch) {
            return known;
        }
        self.ask_again(account_id, token_epoch).await
    }

    /// Asks the database, because the cached epoch is lower than the token's.
    async fn ask_again(&self, account_id: i64, token_epoch: i32) -> Known {
        let asked = self.ahead.try_get_with((account_id, token_epoch), self.ask(account_id)).await;
        let Ok(known) = asked else {
            self.unverified.inc();
            return Known::Nothing;
        };
        if !known.is_below(token_epoch) {
            self.fresh.insert(account_id, known).await;
        }
        known
    }

    /// Records that this process raised the account's epoch or deleted it. This takes effect here at once.
    pub async fn raised(&self, account_id: i64, known: Known) {
        self.fresh.insert(account_id, known).await;
        self.last.insert(account_id, known).await;
    }

    async fn ask(&self, account_id: i64) -> Result<Known, Away> {
        let pool = self.pool.as_ref().ok_or(Away)?;
        if self.pause.contains_key(&()) {
            return Err(Away);
        }
        let asked = tokio::time::timeout(self.wait_max, read(pool, account_id)).await;
        match asked {
            Ok(Ok(known)) => {
                self.last.insert(account_id, known).await;
                Ok(known)
            }
            failed => {
                self.pause.insert((), ()).await;
                let reason = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "no answer in time".to_owned(),
                };
                tracing::warn!(reason, "cannot read token epochs; using the last known ones");
                Err(Away)
            }
        }
    }
}

impl Known {
    /// Whether this epoch is lower than a token's.
    fn is_below(self, token_epoch: i32) -> bool {
        matches!(self, Self::Account { epoch, .. } if epoch < token_epoch)
    }
}

/// The database did not answer.
#[derive(Debug, Clone, Copy)]
struct Away;

async fn read(pool: &Pool, account_id: i64) -> Result<Known, database::Error> {
    let client = pool.get().await?;
    let row = ACCOUNT_EPOCH.query_opt(&client, &[&account_id]).await?;
    Ok(match row {
        Some(row) if row.get("is_active") => {
            Known::Account { epoch: row.get("token_epoch"), created_at: row.get("created_at") }
        }
        _ => Known::Gone,
    })
}
