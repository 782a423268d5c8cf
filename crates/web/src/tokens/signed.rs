//! Extractors for the account that signed a request.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::{Purpose, Tokens};
use crate::problem::{Problem, Result};

/// The account that signed the request with its bearer token. As an extractor it answers 401 without a valid token, and 403
/// for an import token. `Option<Signed>` is `None` without a token; an invalid token is still 401.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The account.
    pub account_id: i64,
    /// The purpose of the token.
    pub purpose: Purpose,
}

/// [`Signed`] with a token of any purpose, for endpoints that imports use and for rate limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyPurpose(pub Signed);

impl Signed {
    /// Whether the account may import past events with this token.
    #[must_use]
    pub fn may_import(&self) -> bool {
        self.purpose == Purpose::Import
    }

    /// Returns the account unless the token is only for imports.
    ///
    /// # Errors
    /// 403.
    pub fn not_for_imports(self) -> Result<Self> {
        if self.may_import() {
            return Err(Problem::forbidden(
                "a token with the scope import works only for imports; sign in to get a session token",
            ));
        }
        Ok(self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Signed
where
    Arc<Tokens>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?.ok_or_else(unsigned)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Signed
where
    Arc<Tokens>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>> {
        let any = <AnyPurpose as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?;
        any.map(|AnyPurpose(signed)| signed.not_for_imports()).transpose()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AnyPurpose
where
    Arc<Tokens>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?.ok_or_else(unsigned)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for AnyPurpose
where
    Arc<Tokens>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>> {
        // The rate limit and the handler both ask for it; verify it once per request.
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(Some(known.clone()));
        }
        let Some(header) = parts.headers.get(AUTHORIZATION) else { return Ok(None) };
        let token = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| Problem::unauthorized("the Authorization header must be `Bearer <token>`"))?;
        let signed = Self(Arc::<Tokens>::from_ref(state).verify(token).await?);
        parts.extensions.insert(signed.clone());
        Ok(Some(signed))
    }
}

fn unsigned() -> Problem {
    Problem::unauthorized("sign in: send `Authorization: Bearer <token>`")
}
