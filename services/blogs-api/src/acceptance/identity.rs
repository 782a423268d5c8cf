//! Identifies the sender of an event without storing who it was.
//!
//! A visitor is a 64-bit keyed hash; addresses, user agents and clients' names for visitors are never published or
//! stored. The key is derived from the service's secret and the UTC day of the event. All processes therefore agree on
//! it, also after a restart and for imported days, but a visitor cannot be tracked from one day to the next. An
//! idempotency key is hashed in the same way, but with a key that does not depend on the day, because it must still
//! match tomorrow.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use events::{EngagementKind, Visitor};
use hkdf::Hkdf;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use siphasher::{sip, sip128};
use uuid::Uuid;

/// A SipHash key.
type SipKey = [u8; 16];

const DAY_S: i64 = 86_400;

/// The best identification of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity<'a> {
    /// A signed-in account.
    Account(i64),
    /// The client's name for its visitor.
    Named(&'a str),
    /// Only the address and the user agent of the request.
    Address(IpAddr, &'a [u8]),
}

/// The client's idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientKey<'a> {
    /// The key that the client sent.
    pub(crate) key: &'a str,
    /// The event's index in the batch, if the key is the whole batch's.
    pub(crate) index: Option<u64>,
}

/// The keys of both hashes. The visitor keys of the last two days used are cached.
pub(crate) struct Secrets {
    root: Hkdf<Sha256>,
    event_key: SipKey,
    days: Mutex<[Option<(i64, SipKey)>; 2]>,
}

impl Secrets {
    pub(crate) fn new(secret: &SecretString) -> Self {
        let root = Hkdf::new(None, secret.expose_secret().as_bytes());
        let event_key = derive(&root, b"event key");
        Self { root, event_key, days: Mutex::default() }
    }

    /// The visitor with this identity, on the UTC day of `time`.
    pub(crate) fn visitor(&self, time: Timestamp, identity: Identity<'_>) -> Visitor {
        let mut bytes = Vec::with_capacity(160);
        identity.write(&mut bytes);
        Visitor(sip::SipHasher24::new_with_key(&self.day_key(time)).hash(&bytes))
    }

    /// The key under which an event counts once: a hash of the sender, the action, the blog and the client's key.
    pub(crate) fn event_key(
        &self,
        identity: Identity<'_>,
        kind: EngagementKind,
        blog_id: i64,
        client: ClientKey<'_>,
    ) -> Uuid {
        let mut bytes = Vec::with_capacity(320);
        identity.write(&mut bytes);
        write(&mut bytes, kind.name().as_bytes());
        write(&mut bytes, &blog_id.to_be_bytes());
        match client.index {
            Some(index) => write(&mut bytes, &index.to_be_bytes()),
            None => write(&mut bytes, &[]),
        }
        write(&mut bytes, client.key.as_bytes());
        Uuid::from_u128(sip128::SipHasher24::new_with_key(&self.event_key).hash(&bytes).into())
    }

    fn day_key(&self, time: Timestamp) -> SipKey {
        let day = time.as_second().div_euclid(DAY_S);
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        // Consecutive days use different slots.
        let [even, odd] = &mut *days;
        let slot = if day.rem_euclid(2) == 0 { even } else { odd };
        match slot {
            Some((kept, key)) if *kept == day => *key,
            _ => {
                let key = derive(&self.root, format!("visitor {}", time.strftime("%Y-%m-%d")).as_bytes());
                *slot = Some((day, key));
                key
            }
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Identity<'_> {
    /// Encodes the identity so that different identities, of the same or different kinds, never have the same bytes.
    fn write(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Account(account_id) => {
                bytes.push(1);
                write(bytes, &account_id.to_be_bytes());
            }
            Self::Named(name) => {
                bytes.push(2);
                write(bytes, name.as_bytes());
            }
            Self::Address(address, agent) => {
                bytes.push(3);
                match address {
                    IpAddr::V4(address) => write(bytes, &address.octets()),
                    IpAddr::V6(address) => write(bytes, &address.octets()),
                }
                write(bytes, agent);
            }
        }
    }
}

/// Appends a part, prefixed with its length.
fn write(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

fn derive(root: &Hkdf<Sha256>, info: &[u8]) -> SipKey {
    let mut key = SipKey::default();
    // HKDF fails only for outputs longer than 255 hashes.
    let _ = root.expand(info, &mut key);
    key
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn secrets(secret: &str) -> Secrets {
        Secrets::new(&SecretString::from(secret))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn visitor_hash_is_the_same_in_every_process() {
        let (one, other) = (secrets("secret"), secrets("secret"));
        let identity = Identity::Named("reader");
        let (morning, evening) = (at("2026-11-22T00:00:00Z"), at("2026-11-22T23:59:59.999999Z"));
        assert_eq!(one.visitor(morning, identity), other.visitor(evening, identity));
        assert_ne!(one.visitor(morning, identity), secrets("another").visitor(morning, identity));
    }

    #[test]
    fn the_hash_never_changes_between_releases() {
        let secrets = secrets("0123456789abcdef0123456789abcdef");
        let visitor = secrets.visitor(at("2026-11-22T10:00:00Z"), Identity::Named("reader"));
        let client = ClientKey { key: "k", index: None };
        let key = secrets.event_key(Identity::Account(7), EngagementKind::Share, 42, client);
        // Computed from RFC 5869 and the definition of SipHash-2-4, independently of this code.
        assert_eq!(visitor.0, 0x1c32_0322_9683_a28f);
        assert_eq!(key.as_u128(), 0x4dc8_14ab_4382_8a57_6146_74dd_8e0f_8461);
    }

    #[test]
    fn visitor_hash_changes_every_utc_day() {
        let secrets = secrets("secret");
        let identity = Identity::Account(1);
        let days =
            ["2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z", "2026-11-22T12:00:00Z", "1969-12-31T23:00:00Z"];
        let first: Vec<_> = days.iter().map(|day| secrets.visitor(at(day), identity)).collect();
        let again: Vec<_> = days.iter().map(|day| secrets.visitor(at(day), identity)).collect();
        assert_eq!(first, again);
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), days.len());
    }

    #[test]
    fn identities_of_different_kinds_never_collide() {
        let secrets = secrets("secret");
        let now = at("2026-11-22T12:00:00Z");
        let bytes = 7_i64.to_be_bytes();
        let name = std::str::from_utf8(&bytes).unwrap();
        let v4: IpAddr = "0.0.0.7".parse().unwrap();
        let v6: IpAddr = "::7".parse().unwrap();
        let all = [
            Identity::Account(7),
            Identity::Named(name),
            Identity::Named("7"),
            Identity::Address(v4, b""),
            Identity::Address(v4, b"agent"),
            Identity::Address(v6, b"agent"),
        ];
        let visitors: BTreeSet<_> = all.into_iter().map(|identity| secrets.visitor(now, identity)).collect();
        assert_eq!(visitors.len(), all.len());
    }

    #[test]
    fn event_key_depends_on_sender_kind_blog_and_index() {
        let secrets = secrets("secret");
        let key = |identity, kind, blog_id, key, index| {
            secrets.event_key(identity, kind, blog_id, ClientKey { key, index })
        };
        let of = key(Identity::Account(1), EngagementKind::View, 1, "k", None);
        assert_eq!(of, key(Identity::Account(1), EngagementKind::View, 1, "k", None));
        let others = [
            key(Identity::Account(2), EngagementKind::View, 1, "k", None),
            key(Identity::Named("1"), EngagementKind::View, 1, "k", None),
            key(Identity::Account(1), EngagementKind::Share, 1, "k", None),
            key(Identity::Account(1), EngagementKind::View, 2, "k", None),
            key(Identity::Account(1), EngagementKind::View, 1, "l", None),
            key(Identity::Account(1), EngagementKind::View, 1, "k", Some(0)),
            key(Identity::Account(1), EngagementKind::View, 1, "k", Some(1)),
        ];
        assert!(!others.contains(&of));
        assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), others.len());
    }

    proptest! {
        #[test]
        fn parts_cannot_be_shifted_into_each_other(a in ".{0,8}", b in ".{0,8}", c in ".{0,8}", d in ".{0,8}") {
            let bytes = |one: &str, other: &str| {
                let mut bytes = Vec::new();
                write(&mut bytes, one.as_bytes());
                write(&mut bytes, other.as_bytes());
                bytes
            };
            prop_assert_eq!(bytes(&a, &b) == bytes(&c, &d), (a, b) == (c, d));
        }
    }
}
