//! Tries at a password, limited by account: the limit by address alone lets an attacker with many addresses guess on.
//!
//! All tries at signing in under a name share a bucket, whether there is such an account or not, so that an answer does not
//! tell which accounts exist. It is asked before the password is verified, and the right password is one of the tries.
//!
//! An attacker could keep that bucket empty and thereby the owner out. So a network from which the account has been signed in
//! to has a bucket of its own, which others cannot reach; sessions go on in any case. Networks are remembered in memory: after
//! a restart, and from a new network, the owner competes with the attacker for the shared bucket.
//!
//! Changing the password, deleting the account and asking for an export take the present password. These tries are counted
//! together, by the account's id. A holder of a stolen token can
//! empty that bucket too, until the owner signs out everywhere.

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

/// The limits of tries; cheap to clone. Off, they let everything through.
#[derive(Clone)]
pub struct Tries {
    on: Option<Arc<On>>,
}

struct On {
    buckets: Buckets,
    /// By hash of name and network: where accounts have been signed in to.
    known: Cache<u64, ()>,
    hash: RandomState,
}

/// What has a bucket of its own.
#[derive(Hash)]
enum Key<'a> {
    /// A name, tried from wherever it is not known.
    Name(&'a str),
    /// A name, tried from a network from which it has been signed in to.
    NameFrom(&'a str, IpAddr),
    /// An account, tried with its token.
    Account(i64),
}

impl Tries {
    /// Limits as they are set; off where rate limits are.
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

    /// Takes one try at signing in under a name.
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

    /// Remembers a network from which an account has been signed in to.
    pub(crate) async fn signed_in(&self, name: &str, address: IpAddr) {
        if let Some(on) = &self.on {
            on.known.insert(on.hash.hash_one((&normal(name), household(address))), ()).await;
        }
    }

    /// Takes one try at the password of an account whose token the client has.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub(crate) fn with_token(&self, account_id: i64) -> Result<()> {
        self.on.as_ref().map_or(Ok(()), |on| on.buckets.take(Key::Account(account_id), NonZeroU32::MIN))
    }

    /// Drops refilled buckets now and then, until `shutdown`.
    pub async fn sweep(self, shutdown: CancellationToken) {
        let Some(on) = self.on else { return shutdown.cancelled().await };
        Buckets::sweep([&on.buckets], shutdown).await;
    }
}

/// One name, however it is typed.
fn normal(name: &str) -> String {
    name.trim().to_lowercase()
}
