//! The epoch of each account, as last seen. A token of an older epoch has been taken back.
//!
//! Every process asks the database again when what it knows of an account is older than
//! `tokens.epoch_age_max_s`; requests of one account that arrive together ask once. When the database does not
//! answer in time, the last known epoch counts, and for a second nobody asks again: an outage costs one short
//! wait a second, not one a request.
//!
//! A token of an epoch above the remembered one is either newer than the memory, because another process has raised the
//! epoch, or it was issued under a database that has since been replaced by an older copy. Only the database can tell, so
//! the process asks it again: once a second for an account and an epoch, however many requests carry such a token.

use std::time::Duration;

use database::{Pool, Statement, statement};
use jiff::Timestamp;
use moka::future::Cache;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::TokenSettings;

const ACCOUNT_EPOCH: Statement = statement!("account_epoch.sql");
/// How long nobody asks after the database did not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the database's answer about a token with an epoch above the remembered one is good for.
const AHEAD: Duration = Duration::from_secs(1);

/// What is known of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Tokens of this epoch count.
    Account {
        /// The token epoch.
        epoch: i32,
        /// When the account was created, by the database's clock: no token of it is older.
        created_at: Timestamp,
    },
    /// No token of this account counts: it was deleted or suspended, or was never there.
    Gone,
    /// The database does not answer, and nothing is remembered that could refuse the token.
    Nothing,
}

/// The epochs of accounts, as last seen.
#[derive(Clone)]
pub struct Epochs {
    pool: Option<Pool>,
    wait_max: Duration,
    /// What may be relied upon: entries leave when they are too old.
    fresh: Cache<i64, Known>,
    /// What was known last, for when the database is away.
    last: Cache<i64, Known>,
    /// What the database said when a token had an epoch above the remembered one, by account and that epoch.
    ahead: Cache<(i64, i32), Known>,
    /// Holds one entry, for as long as nobody should ask.
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
            "Tokens that were taken at the last known epoch or their own word, since the database did not answer",
            epochs.unverified.clone(),
        );
        epochs
    }

    /// Epochs that nobody can be asked for: what [`Epochs::raised`] was told counts, and else a token's own
    /// word.
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

    /// What is known of this account, for a token of this epoch. An epoch below the token's is always the database's own
    /// word, at most a second old.
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

    /// The remembered epoch is below the token's: what the database says.
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

    /// This process has itself raised the epoch of the account, or deleted it: it counts at once here.
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
                tracing::warn!(reason, "token epochs cannot be looked up; the last known count");
                Err(Away)
            }
        }
    }
}

impl Known {
    /// True for an epoch that is below that of a token.
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
