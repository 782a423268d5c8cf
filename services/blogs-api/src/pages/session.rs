//! The reader's session: a bearer token in a cookie. The server stores nothing about it.
//!
//! Scripts cannot read the cookie, and browsers send it with requests from other sites only when the reader follows a
//! link to this site. A form that changes something must also come from a page of this site ([`web::same_origin`]). The
//! API accepts no cookie.

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use database::{Statement, statement};

use crate::api::notifications;
use crate::auth::{AnyPurpose, Purpose, Signed};
use crate::client_address::ClientAddress;
use crate::limits::{Class, Client};
use crate::problem::{Problem, Result};
use crate::state::AppState;

const READER: Statement = statement!("reader.sql");

/// With TLS, the prefix of the cookie's name binds it to this host and to TLS.
const NAME: &str = "session";
const NAME_OVER_TLS: &str = "__Host-session";

/// The reader: anonymous or an account.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    pub(super) account: Option<ReadingAccount>,
    /// Whether the API's documentation is available on this port.
    pub(super) docs: bool,
}

/// The signed-in account of a reader.
#[derive(Debug, Clone)]
pub(super) struct ReadingAccount {
    pub(super) id: i64,
    pub(super) handle: String,
    /// Number of unread notifications, up to 1000.
    pub(super) unread: i64,
}

impl Reader {
    /// The account's id, if there is one.
    pub(super) fn id(&self) -> Option<i64> {
        self.account.as_ref().map(|account| account.id)
    }
}

impl FromRequestParts<AppState> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        let anonymous = Self { account: None, docs: state.settings.docs.enabled };
        let signed = <Signed as OptionalFromRequestParts<AppState>>::from_request_parts(parts, state).await?;
        let Some(Signed { account_id: id, .. }) = signed else { return Ok(anonymous) };
        let client = state.pool.get().await?;
        let Some(row) = READER.query_opt(&client, &[&id]).await? else { return Ok(anonymous) };
        let unread = notifications::unread(&client, id).await?;
        let account = ReadingAccount { id, handle: row.get("handle"), unread };
        Ok(Self { account: Some(account), ..anonymous })
    }
}

/// Middleware: rejects forms of other sites, and identifies the reader by the cookie. A token that is no longer valid
/// makes the reader anonymous, and the cookie is removed. Pages for a signed-in account and answers to forms may not be
/// cached, not even by the browser: the next user of the same computer could go back to them.
///
/// # Errors
/// 403 for a form that does not come from a page of this site.
pub(super) async fn of_cookie(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response> {
    let over_tls = state.settings.pages.secure_cookies;
    if !request.method().is_safe() && !web::same_origin::holds(request.headers(), over_tls) {
        let (mut parts, _) = request.into_parts();
        let ClientAddress(address) = ClientAddress::from_request_parts(&mut parts, &state).await?;
        state.limits.take(Class::Write, Client::Address(address), 1)?;
        return Err(Problem::forbidden(
            "this form was sent from another site or without a browser; programs can use the API",
        ));
    }
    let (mut stale, mut is_private) = (false, !request.method().is_safe());
    if let Some(token) = token(request.headers(), over_tls) {
        match state.tokens.verify(&token).await {
            // An import token does not sign anyone in.
            Ok(signed) if signed.purpose == Purpose::Session => {
                is_private = true;
                request.extensions_mut().insert(AnyPurpose(signed));
            }
            Ok(_) | Err(_) => stale = true,
        }
    }
    let mut response = next.run(request).await;
    if is_private {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if stale && !response.headers().contains_key(SET_COOKIE) {
        set(response.headers_mut(), &removal(over_tls));
    }
    Ok(response)
}

/// Sets the cookie, which expires after `lifetime_s` seconds.
pub(super) fn keep(headers: &mut HeaderMap, token: String, lifetime_s: u32, over_tls: bool) {
    set(headers, &cookie(token, i64::from(lifetime_s), over_tls));
}

/// Removes the cookie.
pub(super) fn forget(headers: &mut HeaderMap, over_tls: bool) {
    set(headers, &removal(over_tls));
}

fn removal(over_tls: bool) -> Cookie<'static> {
    cookie(String::new(), 0, over_tls)
}

fn cookie(value: String, age_s: i64, over_tls: bool) -> Cookie<'static> {
    Cookie::build((name(over_tls), value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(over_tls)
        .max_age(Duration::seconds(age_s))
        .build()
}

fn set(headers: &mut HeaderMap, cookie: &Cookie<'_>) {
    // A token consists of letters, digits, dots, hyphens and underscores.
    if let Ok(value) = HeaderValue::try_from(cookie.to_string()) {
        headers.append(SET_COOKIE, value);
    }
}

fn token(headers: &HeaderMap, over_tls: bool) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(std::result::Result::ok)
        .find(|cookie| cookie.name() == name(over_tls))
        .map(|cookie| cookie.value().to_owned())
        .filter(|token| !token.is_empty())
}

fn name(over_tls: bool) -> &'static str {
    if over_tls { NAME_OVER_TLS } else { NAME }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn session_cookie_is_hidden_from_scripts_and_read_back() {
        let mut answer = HeaderMap::new();
        keep(&mut answer, "a.b.c".to_owned(), 60, true);
        let text = answer[SET_COOKIE].to_str().unwrap();
        assert_eq!(text, "__Host-session=a.b.c; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        let sent = headers(&[("cookie", "x=y; __Host-session=a.b.c")]);
        assert_eq!(token(&sent, true).as_deref(), Some("a.b.c"));
        assert_eq!(token(&sent, false), None, "the name without TLS is another");
    }
}
