//! Who is asking.
//!
//! A session is a bearer token: a JSON Web Token, signed with HMAC-SHA-256 and nothing else. The key's id stands in it,
//! so that keys rotate, and the account's *epoch*, so that tokens can be taken back. Verifying one needs no database, so
//! that readers can like a blog while Postgres is away. Signing out, a new password and deletion raise the account's
//! epoch; every process looks the epoch up again within a minute ([`Epochs`]), and refuses tokens of an older one. The
//! Blogs API issues tokens; whoever has the same keys verifies them.
//!
//! A database that was restored from a backup has forgotten accounts and epochs that tokens still name. A token is
//! therefore also refused if its epoch is above that of the database, or if it was issued before its account was created.

mod epochs;
mod keys;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

pub use epochs::{Epochs, Known};
pub use keys::{KeysError, SigningKey, SigningKeys};

use crate::problem::{Problem, Result};

const LIFETIME_MIN_S: u32 = 60;
const LIFETIME_MAX_S: u32 = 366 * 24 * 60 * 60;

/// The `[tokens]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// `id:secret,id:secret`, secrets in base64 and of at least 32 bytes. The first signs, all verify.
    pub signing_keys: SigningKeys,
    /// Who issues the tokens; a token of another issuer is refused.
    pub issuer: String,
    /// How long a token is good for, in seconds.
    pub lifetime_s: u32,
    /// How old a known epoch may be before the database is asked again, in seconds, at most 55: with the
    /// pause after a failure, an older token is refused within 60 s.
    pub epoch_age_max_s: u32,
    /// Accounts whose epoch is kept in memory.
    pub epochs_max: u64,
    /// How long a request waits for an epoch before the last known one counts, in milliseconds.
    pub epoch_wait_max_ms: u64,
}

impl TokenSettings {
    /// Checks the bounds; the keys are checked where they are read.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> std::result::Result<(), String> {
        if self.issuer.is_empty() {
            return Err("tokens.issuer must not be empty".to_owned());
        }
        if !(LIFETIME_MIN_S..=LIFETIME_MAX_S).contains(&self.lifetime_s) {
            return Err(format!("tokens.lifetime_s must be from {LIFETIME_MIN_S} to {LIFETIME_MAX_S}"));
        }
        if !(1..=55).contains(&self.epoch_age_max_s) {
            return Err("tokens.epoch_age_max_s must be from 1 to 55".to_owned());
        }
        if self.epochs_max == 0 || self.epoch_wait_max_ms == 0 {
            return Err("tokens.epochs_max and tokens.epoch_wait_max_ms must be above 0".to_owned());
        }
        Ok(())
    }
}

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

impl<S: Send + Sync> FromRequestParts<S> for Signed
where
    Arc<Tokens>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state)
            .await?
            .ok_or_else(|| Problem::unauthorized("sign in: send `Authorization: Bearer <token>`"))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Signed
where
    Arc<Tokens>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>> {
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
        let signed = Arc::<Tokens>::from_ref(state).verify(token).await?;
        parts.extensions.insert(signed.clone());
        Ok(Some(signed))
    }
}

/// Issues and verifies bearer tokens.
pub struct Tokens {
    header: Header,
    signing: EncodingKey,
    verifying: HashMap<String, DecodingKey>,
    validation: Validation,
    issuer: String,
    lifetime: SignedDuration,
    epochs: Epochs,
}

/// A token that was just made.
#[derive(Debug, Clone)]
pub struct Issued {
    /// What the client sends as `Authorization: Bearer`.
    pub token: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// What a token says. Times are in seconds, as the standard has it.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    epoch: i32,
    /// Scopes with spaces between them.
    scope: String,
    iat: i64,
    exp: i64,
}

impl Claims {
    /// True when the token was issued before this moment: in whole seconds, and by more than the clocks of the issuer and
    /// of the database may differ.
    fn is_before(&self, created_at: Timestamp) -> bool {
        let tolerance = i64::try_from(database::CLOCK_SKEW_MAX.as_secs()).unwrap_or(i64::MAX);
        self.iat.saturating_add(tolerance) < created_at.as_second()
    }
}

impl Tokens {
    /// With the keys of the settings, and the epochs that say which tokens have been taken back.
    ///
    /// # Errors
    /// A sentence that says what to change in the settings.
    pub fn new(settings: &TokenSettings, epochs: Epochs) -> std::result::Result<Self, String> {
        settings.validate()?;
        let keys = settings.signing_keys.read().map_err(|error| error.to_string())?;
        let first = keys.first().ok_or("tokens.signing_keys is empty")?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        // Our own clocks agree to the second, or readiness says so.
        validation.leeway = 0;
        Ok(Self {
            header: Header { kid: Some(first.id.clone()), ..Header::new(Algorithm::HS256) },
            signing: EncodingKey::from_secret(first.secret.expose_secret()),
            verifying: keys
                .iter()
                .map(|key| (key.id.clone(), DecodingKey::from_secret(key.secret.expose_secret())))
                .collect(),
            validation,
            issuer: settings.issuer.clone(),
            lifetime: SignedDuration::from_secs(settings.lifetime_s.into()),
            epochs,
        })
    }

    /// A new token for an account at its present epoch.
    ///
    /// # Errors
    /// 500; signing plain claims does not fail.
    pub fn issue(&self, account_id: i64, epoch: i32, scopes: &[&str]) -> Result<Issued> {
        self.issue_at(Timestamp::now(), account_id, epoch, scopes)
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// 401 when it is not one of ours, has expired, is of another epoch than the account's, or is older than the account.
    pub async fn verify(&self, token: &str) -> Result<Signed> {
        let claims = self.read(token)?;
        let account_id: i64 = claims.sub.parse().map_err(|_| refused())?;
        match self.epochs.of(account_id, claims.epoch).await {
            Known::Account { epoch, .. } if claims.epoch != epoch => Err(taken_back()),
            Known::Account { created_at, .. } if claims.is_before(created_at) => Err(refused()),
            Known::Gone => Err(taken_back()),
            // Nobody to ask and nothing remembered: the token's own word counts, so that readers can go on
            // while the database is away.
            Known::Account { .. } | Known::Nothing => Ok(Signed {
                account_id,
                scopes: claims.scope.split_whitespace().map(str::to_owned).collect(),
            }),
        }
    }

    /// The epochs behind [`Tokens::verify`]: tell them when an account's epoch was raised here.
    #[must_use]
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    fn issue_at(&self, now: Timestamp, account_id: i64, epoch: i32, scopes: &[&str]) -> Result<Issued> {
        let expires_at = Timestamp::from_second(now.as_second())
            .and_then(|now| now.checked_add(self.lifetime))
            .map_err(|error| Problem::internal(&error))?;
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: account_id.to_string(),
            epoch,
            scope: scopes.join(" "),
            iat: now.as_second(),
            exp: expires_at.as_second(),
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.signing)
            .map_err(|error| Problem::internal(&error))?;
        Ok(Issued { token, expires_at })
    }

    fn read(&self, token: &str) -> Result<Claims> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused())?;
        let key = header.kid.as_ref().and_then(|kid| self.verifying.get(kid)).ok_or_else(refused)?;
        match jsonwebtoken::decode::<Claims>(token, key, &self.validation) {
            Ok(token) => Ok(token.claims),
            Err(error) => Err(match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => {
                    Problem::unauthorized("the token has expired; sign in again")
                }
                _ => refused(),
            }),
        }
    }
}

fn refused() -> Problem {
    Problem::unauthorized("the token is not one that this API issued; sign in again")
}

fn taken_back() -> Problem {
    Problem::unauthorized("the token has been taken back; sign in again")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "new:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

    fn keys_of(keys: &[&str]) -> SigningKeys {
        SigningKeys::new(keys.join(","))
    }

    fn tokens(keys: &[&str]) -> Tokens {
        let settings = TokenSettings {
            signing_keys: keys_of(keys),
            issuer: "commonplace".to_owned(),
            lifetime_s: 3600,
            epoch_age_max_s: 45,
            epochs_max: 100,
            epoch_wait_max_ms: 50,
        };
        let epochs = Epochs::without_database(&settings);
        Tokens::new(&settings, epochs).unwrap()
    }

    #[tokio::test]
    async fn a_token_says_who_and_what() {
        let tokens = tokens(&[NEW]);
        let issued = tokens.issue(7, 0, &["import"]).unwrap();
        let signed = tokens.verify(&issued.token).await.unwrap();
        assert_eq!(signed, Signed { account_id: 7, scopes: vec!["import".to_owned()] });
        assert!(signed.has_scope("import") && !signed.has_scope("imp"));
    }

    #[tokio::test]
    async fn keys_rotate() {
        let token = tokens(&[OLD]).issue(7, 0, &[]).unwrap().token;
        assert!(tokens(&[NEW, OLD]).verify(&token).await.is_ok());
        assert_eq!(tokens(&[NEW]).verify(&token).await.unwrap_err().status(), 401);
    }

    /// An account of this epoch that is a minute old.
    fn known(epoch: i32) -> Known {
        Known::Account { epoch, created_at: Timestamp::now() - SignedDuration::from_secs(60) }
    }

    #[tokio::test]
    async fn an_older_epoch_is_refused_and_without_a_database_a_newer_one_is_not() {
        let tokens = tokens(&[NEW]);
        tokens.epochs().raised(7, known(3)).await;
        assert!(tokens.verify(&tokens.issue(7, 2, &[]).unwrap().token).await.is_err());
        assert!(tokens.verify(&tokens.issue(7, 3, &[]).unwrap().token).await.is_ok());
        assert!(tokens.verify(&tokens.issue(7, 4, &[]).unwrap().token).await.is_ok());
        tokens.epochs().raised(7, Known::Gone).await;
        assert!(tokens.verify(&tokens.issue(7, 4, &[]).unwrap().token).await.is_err());
    }

    #[tokio::test]
    async fn a_token_older_than_its_account_is_refused_beyond_the_skew_of_clocks() {
        let tokens = tokens(&[NEW]);
        // Late in its second: whole seconds are compared.
        let second = Timestamp::now().as_second() - 60;
        let created_at = Timestamp::new(second, 999_000_000).unwrap();
        tokens.epochs().raised(7, Known::Account { epoch: 0, created_at }).await;
        for (early_s, counts) in [(-1, true), (0, true), (4, true), (5, true), (6, false), (3000, false)] {
            let at = Timestamp::from_second(second - early_s).unwrap();
            let token = tokens.issue_at(at, 7, 0, &[]).unwrap().token;
            assert_eq!(tokens.verify(&token).await.is_ok(), counts, "{early_s} s before the account");
        }
    }

    #[tokio::test]
    async fn an_expired_token_says_so() {
        let tokens = tokens(&[NEW]);
        let past = Timestamp::now() - SignedDuration::from_secs(3601);
        let token = tokens.issue_at(past, 7, 0, &[]).unwrap().token;
        assert!(tokens.verify(&token).await.unwrap_err().detail().contains("expired"));
    }

    #[tokio::test]
    async fn what_is_not_ours_is_refused() {
        let tokens = tokens(&[NEW]);
        let good = tokens.issue(7, 0, &[]).unwrap().token;
        let claims = Claims {
            iss: "commonplace".to_owned(),
            sub: "7".to_owned(),
            epoch: 0,
            scope: String::new(),
            iat: 0,
            exp: 4_000_000_000,
        };
        let secret = keys_of(&[NEW]).read().unwrap()[0].secret.clone();
        let key = EncodingKey::from_secret(secret.expose_secret());
        let with = |algorithm, kid: Option<&str>, claims: &Claims| {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
            jsonwebtoken::encode(&header, claims, &key).unwrap()
        };
        assert!(tokens.verify(&with(Algorithm::HS256, Some("new"), &claims)).await.is_ok());
        let (no_kid, other_algorithm) =
            (with(Algorithm::HS256, None, &claims), with(Algorithm::HS512, Some("new"), &claims));
        let other_issuer = Claims { iss: "else".to_owned(), ..claims };
        let (head, rest) = good.split_once('.').unwrap();
        let unsigned = format!("eyJhbGciOiJub25lIiwia2lkIjoibmV3In0.{}.", rest.split_once('.').unwrap().0);
        for bad in [
            no_kid,
            other_algorithm,
            with(Algorithm::HS256, Some("new"), &other_issuer),
            format!("{head}.{}", rest.replace('.', "A.")),
            good[..good.len() - 4].to_owned(),
            unsigned,
            String::new(),
            "a.b.c".to_owned(),
            "\u{0}.é.\u{7f}".to_owned(),
        ] {
            assert_eq!(tokens.verify(&bad).await.unwrap_err().status(), 401, "{bad}");
        }
    }
}
