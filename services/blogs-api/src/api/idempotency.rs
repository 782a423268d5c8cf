//! `Idempotency-Key`: a client that does not know the outcome of its request repeats it with the same key and gets the
//! response to the first one.
//!
//! The response is stored by the last statement of the transaction that does the work. If two requests with the same
//! key run concurrently, the second waits for the first to commit, at this statement or at another unique value (a
//! source path). It then rolls back its own work and returns the first one's response. Keys belong to an account and
//! are kept for a day.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use database::{Error, Pool, Statement, statement};
use deadpool_postgres::GenericClient;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::problem::{Problem, Result};

const IDEMPOTENCY_CREATE: Statement = statement!("idempotency_create.sql");
const IDEMPOTENCY_FIND: Statement = statement!("idempotency_find.sql");
const IDEMPOTENCY_FORGET: Statement = statement!("idempotency_forget.sql");

/// Marks a response that repeats an earlier one.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const HEADER: &str = "idempotency-key";
const KEY_LENGTH_MAX: usize = 128;

/// The pause between runs of the clean-up, and the keys per transaction.
const FORGET_EVERY: Duration = Duration::from_secs(60);
const FORGET_MOST: i64 = 1000;

/// A client's key and the request that it identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    account_id: i64,
    key: String,
    request_hash: Vec<u8>,
}

/// The stored response to an earlier request.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Its status.
    pub status: StatusCode,
    /// Its body as it was then, even if a later release would answer differently.
    pub answer: Value,
}

impl Key {
    /// The key of a request, if it has one. `request` and `body` identify the request.
    ///
    /// # Errors
    /// 400 when the key is invalid.
    pub(crate) fn of(
        headers: &HeaderMap,
        account_id: i64,
        request: &str,
        body: &impl Serialize,
    ) -> Result<Option<Self>> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let key = value.to_str().ok().filter(|key| {
            (1..=KEY_LENGTH_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
        });
        let (Some(key), None) = (key, values.next()) else {
            return Err(Problem::bad_parameter(
                HEADER,
                format!("must be one key of 1 to {KEY_LENGTH_MAX} visible ASCII characters"),
            ));
        };
        let body = serde_json::to_vec(body).map_err(|error| Problem::internal(&error))?;
        let request_hash =
            Sha256::new().chain_update(request).chain_update([0]).chain_update(body).finalize();
        Ok(Some(Self { account_id, key: key.to_owned(), request_hash: request_hash.to_vec() }))
    }
}

/// The response stored under this key.
///
/// # Errors
/// 422 when the key was used for another request.
pub(crate) async fn find(client: &impl GenericClient, key: &Key) -> Result<Option<Replay>> {
    let Some(row) = IDEMPOTENCY_FIND.query_opt(client, &[&key.account_id, &key.key]).await? else {
        return Ok(None);
    };
    if row.get::<_, &[u8]>("request_hash") != key.request_hash {
        return Err(Problem::invalid(HEADER, "was used for another request; use a new key"));
    }
    let status =
        u16::try_from(row.get::<_, i16>("status")).ok().and_then(|code| StatusCode::from_u16(code).ok());
    Ok(Some(Replay { status: status.unwrap_or(StatusCode::OK), answer: row.get("response") }))
}

/// Stores the response in the transaction that did the work. Returns false if another request with this key came first:
/// the caller must then roll back.
///
/// # Errors
/// A failure of the database.
pub(crate) async fn keep(
    transaction: &impl GenericClient,
    key: &Key,
    status: StatusCode,
    answer: &impl Serialize,
) -> Result<bool> {
    let answer = serde_json::to_value(answer).map_err(|error| Problem::internal(&error))?;
    let status = i16::try_from(status.as_u16()).map_err(|error| Problem::internal(&error))?;
    let kept = IDEMPOTENCY_CREATE
        .execute(transaction, &[&key.account_id, &key.key, &key.request_hash, &status, &answer])
        .await?;
    Ok(kept > 0)
}

/// Deletes keys that are older than a day, every minute until `shutdown`.
pub(crate) async fn forget_old(pool: Pool, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = forget(&pool, &shutdown).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not delete old idempotency keys; trying again in a minute"
            );
        }
    }
}

/// Runs one short transaction per batch until none is left.
async fn forget(pool: &Pool, shutdown: &CancellationToken) -> std::result::Result<(), Error> {
    let most = u64::try_from(FORGET_MOST).unwrap_or(u64::MAX);
    while !shutdown.is_cancelled() {
        let client = pool.get().await?;
        if IDEMPOTENCY_FORGET.execute(&client, &[&FORGET_MOST]).await? < most {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn key(values: &[&[u8]], body: &str) -> Result<Option<Key>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        Key::of(&headers, 7, "POST /x", &body)
    }

    #[test]
    fn idempotency_key_is_bound_to_its_request() {
        assert_eq!(key(&[], "a").unwrap(), None);
        let first = key(&[b"k"], "a").unwrap();
        assert_eq!(first, key(&[b"k"], "a").unwrap());
        assert_ne!(first, key(&[b"k"], "b").unwrap());
    }

    #[test]
    fn invalid_idempotency_key_is_rejected() {
        let long = [b'k'; 129];
        for bad in [&[&b""[..]][..], &[b"a b"], &[&long], &[b"\xff"], &[b"a", b"a"]] {
            assert_eq!(key(bad, "a").unwrap_err().errors()[0].field, "idempotency-key", "{bad:?}");
        }
    }
}
