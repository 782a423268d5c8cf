//! Rate limits per client: a number of requests a minute, with a burst of the same size.
//!
//! A client is the account that signed the request, or otherwise the network address: the single address for IPv4, the /64
//! for IPv6, because a household can use any address in it. Providers assign up to a /56, which contains 256 such networks;
//! together they get four times the limit. Clients are counted in a fixed number of buckets chosen by a keyed hash, so no
//! client can make the table grow or target another client's bucket. Refilled buckets are dropped.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use runtime::http::{DELEGATION_FACTOR, delegation, household};
use runtime::settings::{Bound, bound};
use serde::Deserialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::client_address::{ClientAddress, TrustedProxies};
use crate::problem::{Problem, Result};
use crate::tokens::{AnyPurpose, Signed, Tokens};

/// How often refilled buckets are dropped.
const SWEEP: Duration = Duration::from_secs(30);

/// The `[rate_limits]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSettings {
    /// Whether limits apply.
    pub enabled: bool,
    /// Sign-ups, sign-ins, password changes, deletions and export requests a minute, by network address.
    pub sign_in_per_minute: u32,
    /// Requests a minute that change accounts and blogs.
    pub write_per_minute: u32,
    /// Read requests a minute.
    pub read_per_minute: u32,
    /// Views, likes and shares a minute. Each event of a batch counts as one.
    pub engagement_per_minute: u32,
    /// Number of buckets for each of the above.
    pub buckets_max: u32,
}

/// The `[rate_limits]` section of an API that only reads.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadRateSettings {
    /// Whether limits apply.
    pub enabled: bool,
    /// Requests a minute.
    pub read_per_minute: u32,
    /// Number of buckets.
    pub buckets_max: u32,
}

impl From<ReadRateSettings> for RateSettings {
    fn from(settings: ReadRateSettings) -> Self {
        let ReadRateSettings { enabled, read_per_minute, buckets_max } = settings;
        Self {
            enabled,
            sign_in_per_minute: read_per_minute,
            write_per_minute: read_per_minute,
            read_per_minute,
            engagement_per_minute: read_per_minute,
            buckets_max,
        }
    }
}

/// Bounds of the `[rate_limits]` section. `rate_limits.enabled = false` turns limits off.
pub const BOUNDS: &[Bound] = &[
    bound("rate_limits.sign_in_per_minute", 1..=U32_MAX),
    bound("rate_limits.write_per_minute", 1..=U32_MAX),
    bound("rate_limits.read_per_minute", 1..=U32_MAX),
    bound("rate_limits.engagement_per_minute", 1..=U32_MAX),
    bound("rate_limits.buckets_max", 1..=U32_MAX),
];
const U32_MAX: u64 = 0xffff_ffff;

/// The kinds of requests with separate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Sign-ups, sign-ins, password changes, deletions and export requests.
    SignIn,
    /// Changes of accounts and blogs.
    Write,
    /// Reads.
    Read,
    /// Views, likes and shares.
    Engagement,
}

/// The client that a limit applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// A signed-in account.
    Account(i64),
    /// The network address of a client that did not sign in.
    Address(IpAddr),
}

/// The limits. Cheap to clone. If disabled, they allow everything.
#[derive(Clone)]
pub struct Limits {
    on: Option<Arc<On>>,
}

struct On {
    sign_in: Shares,
    write: Shares,
    read: Shares,
    engagement: Shares,
}

/// The limit of each client, and of the networks of one IPv6 delegation together.
struct Shares {
    of_client: Buckets,
    of_delegation: Buckets,
}

/// A limit for each key, counted in a fixed number of buckets.
pub struct Buckets {
    limiter: DefaultKeyedRateLimiter<u64>,
    hash: RandomState,
    count: u64,
    clock: DefaultClock,
}

impl Buckets {
    /// Creates buckets that each hold one minute's requests. A zero counts as one.
    #[must_use]
    pub fn new(per_minute: u32, count: u32) -> Self {
        let most = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::keyed(Quota::per_minute(most)),
            hash: RandomState::new(),
            count: count.max(1).into(),
            clock: DefaultClock::default(),
        }
    }

    /// Takes all of `n` or nothing from the bucket of a key.
    ///
    /// # Errors
    /// 429 with the time to wait; 429 with one minute if `n` is larger than the bucket.
    pub fn take(&self, key: impl Hash, n: NonZeroU32) -> Result<()> {
        match self.limiter.check_key_n(&(self.hash.hash_one(key) % self.count), n) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(Problem::too_many(not_until.wait_time_from(self.clock.now()))),
            Err(_more_than_ever) => Err(Problem::too_many(Duration::from_secs(60))),
        }
    }

    /// Drops refilled buckets every 30 s, until `shutdown`.
    pub async fn sweep<'a>(all: impl IntoIterator<Item = &'a Self>, shutdown: CancellationToken) {
        let all: Vec<&Self> = all.into_iter().collect();
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            for buckets in &all {
                buckets.limiter.retain_recent();
                buckets.limiter.shrink_to_fit();
            }
        }
    }
}

impl Limits {
    /// Creates the limits from the settings.
    #[must_use]
    pub fn new(settings: &RateSettings) -> Self {
        if !settings.enabled {
            return Self { on: None };
        }
        let shares = |per_minute: u32| Shares {
            of_client: Buckets::new(per_minute, settings.buckets_max),
            of_delegation: Buckets::new(per_minute.saturating_mul(DELEGATION_FACTOR), settings.buckets_max),
        };
        Self {
            on: Some(Arc::new(On {
                sign_in: shares(settings.sign_in_per_minute),
                write: shares(settings.write_per_minute),
                read: shares(settings.read_per_minute),
                engagement: shares(settings.engagement_per_minute),
            })),
        }
    }

    /// Takes all of `n` or nothing from the client's bucket.
    ///
    /// # Errors
    /// 429 with the time to wait; 429 with one minute if `n` is larger than the bucket.
    pub fn take(&self, class: Class, client: Client, n: u32) -> Result<()> {
        let (Some(on), Some(n)) = (&self.on, NonZeroU32::new(n)) else { return Ok(()) };
        on.shares(class).take(client, n)
    }

    /// Drops refilled buckets periodically, until `shutdown`.
    pub async fn sweep(self, shutdown: CancellationToken) {
        let Some(on) = self.on else { return shutdown.cancelled().await };
        let shares = [&on.sign_in, &on.write, &on.read, &on.engagement];
        let all = shares.into_iter().flat_map(|shares| [&shares.of_client, &shares.of_delegation]);
        Buckets::sweep(all, shutdown).await;
    }
}

impl On {
    fn shares(&self, class: Class) -> &Shares {
        match class {
            Class::SignIn => &self.sign_in,
            Class::Write => &self.write,
            Class::Read => &self.read,
            Class::Engagement => &self.engagement,
        }
    }
}

impl Shares {
    /// Checks the client's own bucket first, so that a client that has used it up takes nothing from its neighbours.
    fn take(&self, client: Client, n: NonZeroU32) -> Result<()> {
        self.of_client.take(client.of_one_household(), n)?;
        client.delegation().map_or(Ok(()), |network| self.of_delegation.take(network, n))
    }
}

impl Client {
    fn of_one_household(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(household(address)),
            account @ Self::Account(_) => account,
        }
    }

    /// The /56 of an IPv6 address.
    fn delegation(self) -> Option<Ipv6Addr> {
        match self {
            Self::Address(address) => delegation(address),
            Self::Account(_) => None,
        }
    }
}

/// Middleware: takes one from the bucket for each request to these routes. Reads are counted separately.
///
/// # Errors
/// 429, or 401 for an invalid token.
pub async fn requests<S>(State(state): State<S>, request: Request, next: Next) -> Result<Response>
where
    S: Clone + Send + Sync + 'static,
    Limits: FromRef<S>,
    Arc<Tokens>: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    let limits = Limits::from_ref(&state);
    if limits.on.is_none() {
        return Ok(next.run(request).await);
    }
    let class = if request.method().is_safe() { Class::Read } else { Class::Write };
    let (mut parts, body) = request.into_parts();
    requester(&limits, class, &mut parts, &state).await?;
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Counts one request of a client: of the account that signed it, or otherwise of the network address. A request with an
/// invalid token counts for the address, so that clients cannot try tokens without limit.
///
/// # Errors
/// 429, or the rejection of an invalid token.
pub async fn requester<S>(limits: &Limits, class: Class, parts: &mut Parts, state: &S) -> Result<Requester>
where
    S: Send + Sync + 'static,
    Arc<Tokens>: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    let signed = Option::<AnyPurpose>::from_request_parts(parts, state).await;
    let ClientAddress(address) = ClientAddress::from_request_parts(parts, state).await?;
    let client = match &signed {
        Ok(Some(AnyPurpose(signed))) => Client::Account(signed.account_id),
        _ => Client::Address(address),
    };
    limits.take(class, client, 1)?;
    Ok(Requester { client, address, signed: signed?.map(|AnyPurpose(signed)| signed) })
}

/// Who sent a request.
#[derive(Debug)]
pub struct Requester {
    /// The client that was counted.
    pub client: Client,
    /// The client's network address.
    pub address: IpAddr,
    /// The account that signed the request.
    pub signed: Option<Signed>,
}

/// Middleware for [`Class::SignIn`]. It counts by address only, because the account is what an attacker tries.
///
/// # Errors
/// 429.
pub async fn sign_ins<S>(State(state): State<S>, request: Request, next: Next) -> Result<Response>
where
    S: Clone + Send + Sync + 'static,
    Limits: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    let (mut parts, body) = request.into_parts();
    let ClientAddress(address) = ClientAddress::from_request_parts(&mut parts, &state).await?;
    Limits::from_ref(&state).take(Class::SignIn, Client::Address(address), 1)?;
    Ok(next.run(Request::from_parts(parts, body)).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(enabled: bool) -> Limits {
        Limits::new(&RateSettings {
            enabled,
            sign_in_per_minute: 2,
            write_per_minute: 5,
            read_per_minute: 5,
            engagement_per_minute: 5,
            buckets_max: u32::MAX,
        })
    }

    fn address(text: &str) -> Client {
        Client::Address(text.parse().unwrap())
    }

    #[test]
    fn each_client_and_class_has_a_bucket() {
        let limits = limits(true);
        let first = address("192.0.2.1");
        for _ in 0..2 {
            limits.take(Class::SignIn, first, 1).unwrap();
        }
        let refused = limits.take(Class::SignIn, first, 1).unwrap_err();
        assert_eq!(refused.status(), 429);
        limits.take(Class::Write, first, 5).unwrap();
        limits.take(Class::SignIn, address("192.0.2.2"), 1).unwrap();
        limits.take(Class::SignIn, Client::Account(1), 1).unwrap();
    }

    #[test]
    fn all_or_none_is_taken() {
        let limits = limits(true);
        assert!(limits.take(Class::Engagement, Client::Account(1), 6).is_err(), "more than it ever holds");
        limits.take(Class::Engagement, Client::Account(1), 5).unwrap();
    }

    #[test]
    fn one_household_has_one_bucket() {
        let limits = limits(true);
        limits.take(Class::SignIn, address("2001:db8::1"), 2).unwrap();
        assert!(limits.take(Class::SignIn, address("2001:db8::2"), 1).is_err());
        limits.take(Class::SignIn, address("2001:db8:0:1::1"), 1).unwrap();
    }

    #[test]
    fn networks_of_one_delegation_have_four_times_the_limit() {
        let limits = limits(true);
        for network in 0..4 {
            limits.take(Class::SignIn, address(&format!("2001:db8:0:{network:x}::1")), 2).unwrap();
        }
        assert!(limits.take(Class::SignIn, address("2001:db8:0:ff::1"), 1).is_err());
        limits.take(Class::SignIn, address("2001:db8:0:100::1"), 2).unwrap();
        // A network that has used up its limit takes nothing from the others.
        for _ in 0..20 {
            assert!(limits.take(Class::SignIn, address("2001:db8:0:100::1"), 1).is_err());
        }
        limits.take(Class::SignIn, address("2001:db8:0:101::1"), 2).unwrap();
    }

    #[test]
    fn disabled_limits_allow_everything() {
        limits(false).take(Class::SignIn, Client::Account(1), u32::MAX).unwrap();
    }
}
