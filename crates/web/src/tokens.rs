//! Bearer tokens: who sends a request.
//!
//! A session is a JSON Web Token that is signed with Ed25519. The Blogs API alone has the private keys; every service that
//! verifies has the public ones, which cannot make a token. The key's id stands in the token, so that keys rotate. The key
//! decides the algorithm and the [`Purpose`]: a token for imports counts only when a key for imports has signed it, and such a
//! key can sign nothing else.
//!
//! A signature takes some 50 µs to verify. A verified token is therefore remembered by its hash until it expires
//! (`verified`). Only what the token itself says is remembered: whether the account still takes it is asked every time.
//!
//! The account's *epoch* stands in the token, so that tokens can be taken back. Verifying one needs no database, so that readers
//! can like a blog while Postgres is away. Signing out, a new password and deletion raise the account's epoch; every process
//! looks the epoch up again within a minute ([`Epochs`]), and refuses tokens of an older one.
//!
//! A database that was restored from a backup has forgotten accounts and epochs that tokens still name. A token is
//! therefore also refused if its epoch is above that of the database, or if it was issued before its account was created.

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
    /// Who issues the tokens; a token of another issuer is refused.
    pub issuer: String,
    /// How long a token for imports is good for, in seconds.
    pub import_lifetime_s: u32,
    /// How old a known epoch may be before the database is asked again, in seconds, at most 55: with the
    /// pause after a failure, an older token is refused within 60 s.
    pub epoch_age_max_s: u32,
    /// Accounts whose epoch is kept in memory.
    pub epochs_max: u64,
    /// How long a request waits for an epoch before the last known one counts, in milliseconds.
    pub epoch_wait_max_ms: u64,
    /// Verified tokens that are remembered.
    pub verified_max: u64,
}

impl TokenSettings {
    /// Checks the issuer; the keys are checked where they are read.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> std::result::Result<(), String> {
        if self.issuer.is_empty() {
            return Err("tokens.issuer must not be empty".to_owned());
        }
        Ok(())
    }
}

/// What a token is for. The key that signed it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// What every account may do.
    Session,
    /// Events of the past and blogs with a source path, and nothing else.
    Import,
}

impl Purpose {
    /// The `scope` that tokens of this purpose carry.
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

/// What a token says. Times are in seconds, as the standard has it.
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
    /// For a service that verifies sessions, with the epochs that say which tokens have been taken back.
    ///
    /// # Errors
    /// A sentence that says what to change in the settings.
    pub fn new(settings: &TokenSettings, epochs: Epochs) -> std::result::Result<Self, String> {
        let mut keyring = Keyring::default();
        keyring.trust(Purpose::Session, &settings.verifying_keys).map_err(|error| error.to_string())?;
        if keyring.is_empty() {
            return Err(KeysError::Count(Purpose::Session.verifying_setting()).to_string());
        }
        Self::with(keyring, settings, epochs)
    }

    /// For the service that issues sessions with these keys, and takes imports that these others have signed.
    ///
    /// # Errors
    /// A sentence that says what to change in the settings.
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
        // Our own clocks agree to the second, or readiness says so.
        validation.leeway = 0;
        Ok(Self {
            keyring,
            validation,
            import_lifetime_s: settings.import_lifetime_s.into(),
            verified: VerifiedTokens::new(settings.verified_max),
            epochs,
        })
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// 401 when it is not one of ours, has expired, is of another epoch than the account's, or is older than the account.
    pub async fn verify(&self, token: &str) -> Result<Signed> {
        let verified = self.verified.get_or_verify(token, || self.read(token))?;
        let Verified { account_id, purpose, .. } = verified;
        match self.epochs.of(account_id, verified.epoch).await {
            Known::Account { epoch, .. } if verified.epoch != epoch => Err(taken_back()),
            Known::Account { created_at, .. } if verified.is_before(created_at) => Err(refused()),
            Known::Gone => Err(taken_back()),
            // Nobody to ask and nothing remembered: the token's own word counts, so that readers can go on
            // while the database is away.
            Known::Account { .. } | Known::Nothing => Ok(Signed { account_id, purpose }),
        }
    }

    /// The epochs behind [`Tokens::verify`]: tell them when an account's epoch was raised here.
    #[must_use]
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Checks the signature and what the token says of itself.
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
                "the token for imports is good for longer than tokens.import_lifetime_s allows; make a new one",
            ));
        }
        Ok(Verified { account_id, purpose, epoch: claims.epoch, iat: claims.iat, exp: claims.exp })
    }

    /// True for an end that no token for imports can have by now, also if the issuer's clock is ahead.
    fn outlives_an_import(&self, exp: i64) -> bool {
        let latest = Timestamp::now().as_second().saturating_add(self.import_lifetime_s);
        exp > latest.saturating_add(verified::skew_max_s())
    }
}

fn refused() -> Problem {
    Problem::unauthorized("the token is not one that this API issued; sign in again")
}

fn expired() -> Problem {
    Problem::unauthorized("the token has expired; sign in again")
}

fn taken_back() -> Problem {
    Problem::unauthorized("the token has been taken back; sign in again")
}

#[cfg(test)]
mod tests;
