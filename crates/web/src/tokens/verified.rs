//! Caches tokens whose signature was verified, by their hash, until they expire.
//!
//! Only valid tokens are cached, so a flood of forged ones evicts nothing. The hash is SHA-256, so no client can create a token
//! that is mistaken for another, and the cache contains no tokens.
//!
//! Measured for a token of 265 bytes in an optimized build on a machine with two busy cores: 53 µs to verify it, 0.5 µs to
//! find it here. HMAC, which signed tokens before, took 3.9 µs.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use moka::Expiry;
use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::{Purpose, expired};
use crate::problem::Result;

/// The contents of a verified token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) account_id: i64,
    pub(super) purpose: Purpose,
    pub(super) epoch: i32,
    /// When it was issued, in seconds.
    pub(super) iat: i64,
    /// When it expires, in seconds.
    pub(super) exp: i64,
}

/// The verified tokens.
pub(super) struct VerifiedTokens(Cache<[u8; 32], Verified>);

impl VerifiedTokens {
    /// Creates a cache of at most this many tokens.
    pub(super) fn new(most: u64) -> Self {
        Self(Cache::builder().max_capacity(most).expire_after(UntilExpired).build())
    }

    /// Returns the cached contents of the token, or verifies it with `verify` and caches the result.
    ///
    /// # Errors
    /// 401 if the token has expired, and the errors of `verify`.
    pub(super) fn get_or_verify(
        &self,
        token: &str,
        verify: impl FnOnce() -> Result<Verified>,
    ) -> Result<Verified> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(verified) = self.0.get(&hash) {
            // The cache's clock does not follow the clock that dates tokens.
            return if verified.has_expired(Timestamp::now()) { Err(expired()) } else { Ok(verified) };
        }
        let verified = verify()?;
        self.0.insert(hash, verified);
        Ok(verified)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

impl Verified {
    /// Whether the token was issued before this time, in whole seconds and by more than the clocks of the issuer and the
    /// database may differ.
    pub(super) fn is_before(&self, created_at: Timestamp) -> bool {
        self.iat.saturating_add(skew_max_s()) < created_at.as_second()
    }

    /// Like `jsonwebtoken`: in whole seconds, and valid during the last one.
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.exp < now.as_second()
    }
}

/// The allowed difference between the clocks of two machines, in whole seconds.
pub(super) fn skew_max_s() -> i64 {
    i64::try_from(database::CLOCK_SKEW_MAX.as_secs()).unwrap_or(i64::MAX)
}

struct UntilExpired;

impl Expiry<[u8; 32], Verified> for UntilExpired {
    fn expire_after_create(&self, _hash: &[u8; 32], verified: &Verified, _now: Instant) -> Option<Duration> {
        let left_s = verified.exp.saturating_sub(Timestamp::now().as_second()).saturating_add(1);
        Some(Duration::from_secs(u64::try_from(left_s).unwrap_or_default()))
    }
}
