//! Bearer tokens, which identify the sender of a request.
//!
//! A session is a JSON Web Token signed with Ed25519. Only the Blogs API has the private keys; services that verify tokens
//! have the public keys, which cannot create a token. The token contains the key's id, so that keys can be rotated. The key
//! determines the algorithm and the [`Purpose`]: a token for imports is valid only if a key for imports signed it, and such
//! a key can sign nothing else.
//!
//! Verifying a signature takes about 50 µs. A verified token is therefore cached by its hash until it expires (`verified`).
//! The cache holds only the token's own contents; whether the account still accepts it is checked on every request.
//!
//! A token contains the account's *epoch*, so that tokens can be revoked. Verification needs no database, so readers can
//! like a blog while Postgres is down. Signing out, changing the password and deleting the account raise the epoch. Every
//! process reads the epoch again within a minute ([`Epochs`]) and rejects tokens of an older epoch.
//!
//! A database restored from a backup may lack accounts and epochs that tokens still name. A token is therefore also rejected
//! if its epoch is higher than the database's, or if it was issued before its account was created.

mod eddsa;
mod epochs;
mod issuer;
mod keyring;
mod keys;
mod signed;
mod verified;

use jiff::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use runtime::settings::{Bound, at_least, bound};
use serde::{Deserialize, Serialize};

pub use epochs::{Epochs, Known};
pub use issuer::{Issued, Issuer};
pub use keys::{KeyPair, KeysError, SigningKeys, VerifyingKeys, is_key_id};
pub use signed::{AnyPurpose, Signed};

use crate::problem::{Problem, Result};
use keyring::Keyring;
use verified::{Verified, VerifiedTokens};

/// Bounds of the `[tokens]` section of a service that verifies tokens.
pub const BOUNDS: &[Bound] = &[
    bound("tokens.import_lifetime_s", 60..=86_400),
    bound("tokens.epoch_age_max_s", 1..=55),
    at_least("tokens.epochs_max", 1),
    at_least("tokens.epoch_wait_max_ms", 1),
    at_least("tokens.verified_max", 1),
];

/// The `[tokens]` section of a service that verifies tokens.
#[derive(Debug, Clone, Deserialize)]
pub struct TokenSettings {
    /// Public keys of sessions: `id:key,id:key`, each of 32 bytes in base64.
    pub verifying_keys: VerifyingKeys,
    /// The issuer of the tokens. Tokens of another issuer are rejected.
    pub issuer: String,
    /// The lifetime of a token for imports, in seconds.
    pub import_lifetime_s: u32,
    /// The age at which a cached epoch is read again from the database, in seconds, at most 55. With the pause after a
    /// failure, a revoked token is rejected within 60 s.
    pub epoch_age_max_s: u32,
    /// Maximum number of accounts whose epoch is cached.
    pub epochs_max: u64,
    /// How long a request waits for an epoch before it uses the last known one, in milliseconds.
    pub epoch_wait_max_ms: u64,
    /// Maximum number of verified tokens in the cache.
    pub verified_max: u64,
}

impl TokenSettings {
    /// Checks the issuer. The keys are checked when they are parsed.
    ///
    /// # Errors
    /// A message that says what to change.
    pub fn validate(&self) -> std::result::Result<(), String> {
        if self.issuer.is_empty() {
            return Err("tokens.issuer must not be empty".to_owned());
        }
        Ok(())
    }
}

/// The purpose of a token. The key that signed it determines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Everything that an account may do.
    Session,
    /// Only imports: past events, and blogs with a source path.
    Import,
}

impl Purpose {
    /// The `scope` of tokens with this purpose.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Session => "",
            Self::Import => "import",
        }
    }

    fn signing_setting(self) -> &'static str {
        match self {
            Self::Session => "tokens.signing_keys",
            Self::Import => "tokens.import_signing_keys",
        }
    }

    fn verifying_setting(self) -> &'static str {
        match self {
            Self::Session => "tokens.verifying_keys",
            Self::Import => "tokens.import_verifying_keys",
        }
    }
}

/// Verifies bearer tokens.
pub struct Tokens {
    keyring: Keyring,
    validation: Validation,
    import_lifetime_s: i64,
    verified: VerifiedTokens,
    epochs: Epochs,
}

/// The claims of a token. Times are in seconds, as in the standard.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    epoch: i32,
    /// See [`Purpose::scope`].
    scope: String,
    iat: i64,
    exp: i64,
}

impl Tokens {
    /// For a service that verifies sessions. The epochs tell which tokens have been revoked.
    ///
    /// # Errors
    /// A message that says what to change in the settings.
    pub fn new(settings: &TokenSettings, epochs: Epochs) -> std::result::Result<Self, String> {
        let mut keyring = Keyring::default();
        keyring.trust(Purpose::Session, &settings.verifying_keys).map_err(|error| error.to_string())?;
        if keyring.is_empty() {
            return Err(KeysError::Count(Purpose::Session.verifying_setting()).to_string());
        }
        Self::with(keyring, settings, epochs)
    }

    /// For the service that issues sessions with these private keys and accepts imports signed with the other keys.
    ///
    /// # Errors
    /// A message that says what to change in the settings.
    pub fn of_issuer(
        settings: &TokenSettings,
        signing: &SigningKeys,
        import: &VerifyingKeys,
        epochs: Epochs,
    ) -> std::result::Result<Self, String> {
        let mut keyring = Keyring::default();
        keyring
            .trust_own(Purpose::Session, signing)
            .and_then(|()| keyring.trust(Purpose::Session, &settings.verifying_keys))
            .and_then(|()| keyring.trust(Purpose::Import, import))
            .map_err(|error| error.to_string())?;
        Self::with(keyring, settings, epochs)
    }

    fn with(keyring: Keyring, settings: &TokenSettings, epochs: Epochs) -> std::result::Result<Self, String> {
        settings.validate()?;
        eddsa::install();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.validate_nbf = true;
        // Our own clocks agree to the second; otherwise the service is not ready.
        validation.leeway = 0;
        Ok(Self {
            keyring,
            validation,
            import_lifetime_s: settings.import_lifetime_s.into(),
            verified: VerifiedTokens::new(settings.verified_max),
            epochs,
        })
    }

    /// Verifies a token and returns its account.
    ///
    /// # Errors
    /// 401 if the token was not issued by this system, has expired, has another epoch than the account, or is older than the
    /// account.
    pub async fn verify(&self, token: &str) -> Result<Signed> {
        let verified = self.verified.get_or_verify(token, || self.read(token))?;
        let Verified { account_id, purpose, .. } = verified;
        match self.epochs.of(account_id, verified.epoch).await {
            Known::Account { epoch, .. } if verified.epoch != epoch => Err(taken_back()),
            Known::Account { created_at, .. } if verified.is_before(created_at) => Err(refused()),
            Known::Gone => Err(taken_back()),
            // The database does not answer and nothing is cached: trust the token, so that readers can continue while the
            // database is down.
            Known::Account { .. } | Known::Nothing => Ok(Signed { account_id, purpose }),
        }
    }

    /// The epochs behind [`Tokens::verify`]. Tell them when this process raises an account's epoch.
    #[must_use]
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Checks the signature and the claims.
    fn read(&self, token: &str) -> Result<Verified> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused())?;
        let (purpose, key) =
            header.kid.as_deref().and_then(|kid| self.keyring.get(kid)).ok_or_else(refused)?;
        let claims = match jsonwebtoken::decode::<Claims>(token, key, &self.validation) {
            Ok(token) => token.claims,
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => return Err(expired()),
            Err(_) => return Err(refused()),
        };
        let account_id = claims.sub.parse().map_err(|_| refused())?;
        if claims.scope != purpose.scope() {
            return Err(refused());
        }
        if purpose == Purpose::Import && self.outlives_an_import(claims.exp) {
            return Err(Problem::unauthorized(
                "the lifetime of this import token exceeds tokens.import_lifetime_s; create a new token",
            ));
        }
        Ok(Verified { account_id, purpose, epoch: claims.epoch, iat: claims.iat, exp: claims.exp })
    }

    /// Whether the expiry is later than any import token can have, even if the issuer's clock is ahead.
    fn outlives_an_import(&self, exp: i64) -> bool {
        let latest = Timestamp::now().as_second().saturating_add(self.import_lifetime_s);
        exp > latest.saturating_add(verified::skew_max_s())
    }
}

fn refused() -> Problem {
    Problem::unauthorized("this API did not issue the token; sign in again")
}

fn expired() -> Problem {
    Problem::unauthorized("the token has expired; sign in again")
}

fn taken_back() -> Problem {
    Problem::unauthorized("the token has been revoked; sign in again")
}

#[cfg(test)]
mod tests;
