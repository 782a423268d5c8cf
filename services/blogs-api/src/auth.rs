//! Who is asking.
//!
//! A session is a signed token that carries the account and its *epoch*. Verifying it needs no database, so
//! that readers can like a blog while Postgres is away. Signing out, a new password and deletion raise the
//! account's epoch; every process looks the epoch up again within a minute ([`Epochs`]), and refuses tokens of
//! an older one.

mod epochs;
mod keys;
mod passwords;
mod tokens;

pub use epochs::{Epochs, Known};
pub use keys::{KeysError, SigningKey, SigningKeys};
pub use passwords::{
    LENGTH_MAX as PASSWORD_LENGTH_MAX, LENGTH_MIN as PASSWORD_LENGTH_MIN, PasswordSettings, Passwords,
};
pub use tokens::{Issued, TokenSettings, Tokens};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::problem::{Problem, Result};
use crate::state::AppState;

/// The scope of a token that may bring in events of the past.
pub const SCOPE_IMPORT: &str = "import";

/// The account that signed the request, by its bearer token. As an extractor it answers 401 without a valid
/// token; as `Option<Signed>` it is `None` without any token, and a bad token is still 401.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Who.
    pub account_id: i64,
    /// What the token allows beyond what every account may do.
    pub scopes: Vec<String>,
}

impl Signed {
    /// Does the token carry this scope?
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|have| have == scope)
    }
}

impl FromRequestParts<AppState> for Signed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self> {
        <Self as OptionalFromRequestParts<AppState>>::from_request_parts(parts, state)
            .await?
            .ok_or_else(|| Problem::unauthorized("sign in: send `Authorization: Bearer <token>`"))
    }
}

impl OptionalFromRequestParts<AppState> for Signed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Option<Self>> {
        // Asked more than once in a request (the rate limit, the handler); verified once.
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
        let signed = state.tokens.verify(token).await?;
        parts.extensions.insert(signed.clone());
        Ok(Some(signed))
    }
}
