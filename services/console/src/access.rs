//! Access to the console.
//!
//! If a token is configured, a request needs it as a bearer token, or the cookie that the sign-in form sets. The cookie
//! contains its expiry time and expires after 12 hours. Without a token the console listens on the loopback interface
//! only, where every service rejects host names of other sites (`web::server`). A request that changes something must
//! come from a page of the console.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::settings::AccessSettings;

/// The cookie's name.
const NAME: &str = "console";
/// Lifetime of the cookie, in seconds.
const SESSION_S: i64 = 12 * 60 * 60;
/// The sign-in page, and the files that it needs.
pub(crate) const SIGN_IN: &str = "/sign-in";

/// Middleware: passes only requests with access.
pub(crate) async fn check(
    State(access): State<Arc<AccessSettings>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    // Without a token the console is reachable from this machine only, where there is no TLS.
    let over_tls = access.token().is_some() && access.secure_cookies;
    if !request.method().is_safe() && !web::same_origin::holds(headers, over_tls) {
        return (StatusCode::FORBIDDEN, "this was sent from another site or without a browser\n")
            .into_response();
    }
    let path = request.uri().path();
    let open = path == SIGN_IN || path.starts_with("/assets/");
    match access.token() {
        None => next.run(request).await,
        Some(_) if open => next.run(request).await,
        Some(token) if is_bearer(headers, token) || has_cookie(headers, token, now_s()) => {
            next.run(request).await
        }
        Some(_) if request.method().is_safe() && path == "/" => Redirect::to(SIGN_IN).into_response(),
        Some(_) => (StatusCode::UNAUTHORIZED, "sign in first\n").into_response(),
    }
}

/// The cookie, if the token is right.
pub(crate) fn cookie_for(
    access: &AccessSettings,
    sent: &str,
) -> Option<(axum::http::HeaderName, HeaderValue)> {
    cookie_until(access, sent, now_s() + SESSION_S)
}

fn cookie_until(
    access: &AccessSettings,
    sent: &str,
    until_s: i64,
) -> Option<(axum::http::HeaderName, HeaderValue)> {
    let token = access.token().filter(|token| is_same(sent, token))?;
    let cookie = Cookie::build((NAME, session(token, until_s)))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(access.secure_cookies)
        .max_age(Duration::seconds(SESSION_S))
        .build();
    Some((SET_COOKIE, HeaderValue::try_from(cookie.to_string()).ok()?))
}

fn is_bearer(headers: &HeaderMap, token: &str) -> bool {
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    sent.and_then(|text| text.strip_prefix("Bearer ")).is_some_and(|sent| is_same(sent.trim(), token))
}

fn has_cookie(headers: &HeaderMap, token: &str, now_s: i64) -> bool {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .any(|cookie| cookie.name() == NAME && is_session(cookie.value(), token, now_s))
}

/// The cookie's value: its expiry time, and a digest of that time and the token. The token comes last, so that a digest
/// cannot be extended to a longer text without knowing the token.
fn session(token: &str, until_s: i64) -> String {
    let digest =
        Sha256::new().chain_update(format!("console session\0{until_s}\0")).chain_update(token).finalize();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{until_s}.{digest}")
}

fn is_session(sent: &str, token: &str, now_s: i64) -> bool {
    let until = sent.split_once('.').and_then(|(until, _)| until.parse().ok());
    until.is_some_and(|until_s| now_s < until_s && is_same(sent, &session(token, until_s)))
}

fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn is_same(sent: &str, secret: &str) -> bool {
    sent.as_bytes().ct_eq(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::try_from(value).unwrap())])
    }

    #[test]
    fn only_the_token_or_its_cookie_grants_access() {
        let token = "0123456789abcdef0123456789abcdef";
        let access = AccessSettings { token: token.into(), secure_cookies: false };
        let (_, cookie) = cookie_for(&access, token).unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(token));
        let sent = cookie.split(';').next().unwrap();
        let now = now_s();
        assert!(has_cookie(&headers("cookie", sent), token, now));
        assert!(!has_cookie(&headers("cookie", sent), token, now + SESSION_S + 60), "it has ended");
        assert!(!has_cookie(&headers("cookie", sent), "another token of 32 characters...", now));
        assert!(!has_cookie(&headers("cookie", &format!("{NAME}={token}")), token, now));
        // The expiry cannot be changed without the token.
        let (until, digest) = sent.split_once('=').unwrap().1.split_once('.').unwrap();
        let later = format!("{NAME}={}.{digest}", until.parse::<i64>().unwrap() + 1);
        assert!(!has_cookie(&headers("cookie", &later), token, now));
        let (_, past) = cookie_until(&access, token, now).unwrap();
        let past = past.to_str().unwrap().split(';').next().unwrap();
        assert!(!has_cookie(&headers("cookie", past), token, now));
        assert!(is_bearer(&headers("authorization", &format!("Bearer {token}")), token));
        for bad in ["", "Bearer", "Bearer x", token] {
            assert!(!is_bearer(&headers("authorization", bad), token));
        }
        assert!(cookie_for(&access, "").is_none() && cookie_for(&access, "x").is_none());
    }
}
