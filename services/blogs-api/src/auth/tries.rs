//! Limits password attempts per account. A limit per address alone would not stop an attacker with many addresses.
//!
//! All sign-in attempts for a name share a bucket, whether the account exists or not, so that an answer does not reveal
//! which accounts exist. The bucket is checked before the password is verified, and attempts with the right password
//! also count.
//!
//! An attacker could keep this bucket empty and so lock the owner out. Therefore each network from which the account
//! has signed in has its own bucket, which others cannot drain; existing sessions are not affected at all. The networks
//! are remembered in memory: after a restart, and from a new network, the owner competes with the attacker for the
//! shared bucket.
//!
//! Changing the password, deleting the account and requesting an export require the current password. These attempts
//! share a bucket per account id. The holder of a stolen token can drain this bucket too, until the owner signs out
//! everywhere.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use moka::future::Cache;
use runtime::http::household;
use tokio_util::sync::CancellationToken;

use super::PasswordSettings;
use crate::limits::{Buckets, RateSettings};
use crate::problem::Result;

/// The limits; cheap to clone. If disabled, they allow everything.
#[derive(Clone)]
pub struct Tries {
    on: Option<Arc<On>>,
}

struct On {
    buckets: Buckets,
    /// The networks from which accounts have signed in, by the hash of name and network.
    known: Cache<u64, ()>,
    hash: RandomState,
}

/// What has its own bucket.
#[derive(Hash)]
enum Key<'a> {
    /// A name, from unknown networks.
    Name(&'a str),
    /// A name, from a network from which it has signed in.
    NameFrom(&'a str, IpAddr),
    /// An account, with its token.
    Account(i64),
}

impl Tries {
    /// Builds the limits; disabled if rate limits are.
    #[must_use]
    pub fn new(settings: &PasswordSettings, rates: &RateSettings) -> Self {
        let on = rates.enabled.then(|| {
            Arc::new(On {
                buckets: Buckets::new(settings.tries_per_minute, rates.buckets_max),
                known: Cache::new(settings.known_networks_max),
                hash: RandomState::new(),
            })
        });
        Self { on }
    }

    /// Takes one sign-in attempt for a name.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub(crate) async fn sign_in(&self, name: &str, address: IpAddr) -> Result<()> {
        let Some(on) = &self.on else { return Ok(()) };
        let (name, network) = (normal(name), household(address));
        let is_known = on.known.get(&on.hash.hash_one((&name, network))).await.is_some();
        let key = if is_known { Key::NameFrom(&name, network) } else { Key::Name(&name) };
        on.buckets.take(key, NonZeroU32::MIN)
    }

    /// Remembers a network from which an account has signed in.
    pub(crate) async fn signed_in(&self, name: &str, address: IpAddr) {
        if let Some(on) = &self.on {
            on.known.insert(on.hash.hash_one((&normal(name), household(address))), ()).await;
        }
    }

    /// Takes one attempt at the password of the account whose token the client holds.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub(crate) fn with_token(&self, account_id: i64) -> Result<()> {
        self.on.as_ref().map_or(Ok(()), |on| on.buckets.take(Key::Account(account_id), NonZeroU32::MIN))
    }

    /// Removes full buckets periodically, until `shutdown`.
    pub async fn sweep(self, shutdown: CancellationToken) {
        let Some(on) = self.on else { return shutdown.cancelled().await };
        Buckets::sweep([&on.buckets], shutdown).await;
    }
}

/// Normalizes a name as the sign-in does.
fn normal(name: &str) -> String {
    name.trim().to_lowercase()
}
