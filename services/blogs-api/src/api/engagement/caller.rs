//! The caller of an engagement request: its identity, idempotency key and write path, from the head of the request.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use events::WritePath;
use events::traceparent::is_well_formed;

use crate::acceptance::{self, Identity};
use crate::auth::Signed;
use crate::limits::{self, Class, Client, Requester};
use crate::problem::{Problem, Result};
use crate::state::AppState;

/// Maximum length of a key, in bytes.
const KEY_BYTES_MAX: usize = 128;
/// Maximum length of a visitor's name, in bytes.
const VISITOR_BYTES_MAX: usize = 128;

/// The sender of events, and its options. A `Caller` exists only if the rate limits allow one more event.
#[derive(Debug)]
pub(crate) struct Caller {
    signed: Option<Signed>,
    /// The client for the rate limits.
    pub(super) client: Client,
    address: IpAddr,
    agent: Option<HeaderValue>,
    /// The `Idempotency-Key` of the request.
    pub(super) key: Option<String>,
    /// The chosen write path.
    pub(super) path: WritePath,
    /// The trace that the client's request belongs to.
    pub(super) traceparent: Option<String>,
    /// The time spent identifying the caller. It includes waiting for a database that does not respond.
    pub(super) known_after: Duration,
}

/// A [`Caller`] that may also present a token for imports.
#[derive(Debug)]
pub(crate) struct BatchCaller(pub(super) Caller);

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let BatchCaller(mut caller) = BatchCaller::from_request_parts(parts, state).await?;
        caller.signed = caller.signed.map(Signed::not_for_imports).transpose()?;
        Ok(caller)
    }
}

impl FromRequestParts<AppState> for BatchCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let began = Instant::now();
        let requester = limits::requester(&state.limits, Class::Engagement, parts, state).await?;
        let Requester { client, address, signed } = requester;
        let agent = parts.headers.get(USER_AGENT).cloned();
        let key = idempotency_key(&parts.headers)?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let path = acceptance::choose(&state.settings.engagement, peer, &parts.headers)?;
        let traceparent = traceparent(&parts.headers);
        let known_after = began.elapsed();
        Ok(Self(Caller { signed, client, address, agent, key, path, traceparent, known_after }))
    }
}

impl Caller {
    /// The account, if there is one.
    pub(super) fn account_id(&self) -> Option<i64> {
        self.signed.as_ref().map(|signed| signed.account_id)
    }

    /// Whether the caller may set the time of an event.
    pub(super) fn may_import(&self) -> bool {
        self.signed.as_ref().is_some_and(Signed::may_import)
    }

    /// The sender of a current event: the account, else the visitor that the client names, else the request's origin.
    pub(super) fn identity<'a>(&'a self, visitor: Option<&'a str>) -> Identity<'a> {
        match (self.account_id(), visitor) {
            (Some(account_id), _) => Identity::Account(account_id),
            (None, Some(name)) => Identity::Named(name),
            (None, None) => {
                let agent = self.agent.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
                Identity::Address(self.address, agent)
            }
        }
    }
}

/// Validates a client's key.
pub(super) fn check_key(key: &str) -> std::result::Result<(), &'static str> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        Ok(())
    } else {
        Err("must have 1 to 128 printable ASCII characters")
    }
}

/// Validates a client's name for its visitor.
pub(super) fn check_visitor(visitor: &str) -> std::result::Result<(), &'static str> {
    if (1..=VISITOR_BYTES_MAX).contains(&visitor.len()) { Ok(()) } else { Err("must have 1 to 128 bytes") }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    // Bytes that are not UTF-8 become U+FFFD, which no key may contain.
    let key = String::from_utf8_lossy(value.as_bytes()).into_owned();
    check_key(&key).map_err(|reason| Problem::invalid("Idempotency-Key", reason))?;
    Ok(Some(key))
}

/// The W3C trace context. A malformed one is not passed on.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    is_well_formed(text).then(|| text.to_owned())
}

#[cfg(test)]
impl Caller {
    /// A caller that has sent at most a token.
    pub(super) fn test(account_id: Option<i64>, purpose: crate::auth::Purpose) -> Self {
        Self {
            signed: account_id.map(|account_id| Signed { account_id, purpose }),
            client: Client::Address(IpAddr::from([192, 0, 2, 1])),
            address: IpAddr::from([192, 0, 2, 1]),
            agent: None,
            key: None,
            path: WritePath::Message,
            traceparent: None,
            known_after: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Purpose;

    #[tokio::test]
    async fn deadline_includes_the_time_to_check_the_token() {
        let service = crate::routes::tests::service().await;
        let engagement = &service.state().engagement;
        let time_max = Duration::from_millis(service.state().settings.engagement.accept_timeout_ms);
        let known_after = time_max / 4;
        let caller = Caller { known_after, ..Caller::test(Some(7), Purpose::Session) };
        let deadline = engagement.deadline(caller.known_after);
        assert!(deadline <= tokio::time::Instant::now() + time_max - known_after);
        let caller = Caller { known_after: 2 * time_max, ..caller };
        assert!(engagement.deadline(caller.known_after) <= tokio::time::Instant::now());
    }

    #[test]
    fn identity_prefers_account_then_name_then_address() {
        let signed = Caller::test(Some(7), Purpose::Session);
        assert_eq!(signed.identity(Some("reader")), Identity::Account(7));
        let stranger = Caller::test(None, Purpose::Session);
        assert_eq!(stranger.identity(Some("reader")), Identity::Named("reader"));
        assert_eq!(stranger.identity(None), Identity::Address(IpAddr::from([192, 0, 2, 1]), b""));
    }

    #[test]
    fn key_must_be_short_and_printable() {
        let of = |bytes: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_bytes(bytes).unwrap());
            idempotency_key(&headers).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(of(b"order 7"), Ok(Some("order 7".to_owned())));
        assert_eq!(of(&[b'k'; 128]), Ok(Some("k".repeat(128))));
        for bad in [&[b'k'; 129][..], b"", "schlüssel".as_bytes(), b"\xff", b"tab\there"] {
            assert_eq!(of(bad), Err(422), "{bad:?}");
        }
    }

    #[test]
    fn malformed_trace_context_is_not_passed_on() {
        let of = |text: &str| {
            traceparent(&HeaderMap::from_iter([("traceparent".parse().unwrap(), text.parse().unwrap())]))
        };
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(of(good).as_deref(), Some(good));
        assert_eq!(of(&format!("{good}-00")), None);
    }
}
