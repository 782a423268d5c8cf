//! Authentication: tokens, which all HTTP services verify in the same way ([`web::tokens`]), and passwords. Only this
//! service issues session tokens, in exchange for a password; the operator issues import tokens.

mod passwords;
mod tries;
mod weak;

use serde::Deserialize;
use web::tokens::{SigningKeys, VerifyingKeys};

pub(crate) use passwords::{
    LENGTH_MAX as PASSWORD_LENGTH_MAX, LENGTH_MIN as PASSWORD_LENGTH_MIN, PasswordSettings, Passwords,
};
pub(crate) use tries::Tries;
pub(crate) use weak::{letter, weakness};
pub(crate) use web::tokens::{AnyPurpose, Epochs, Issued, Issuer, Known, Purpose, Signed, Tokens};

/// The `[tokens]` section of the service that issues sessions.
#[derive(Debug, Clone, Deserialize)]
pub struct TokenSettings {
    /// `id:seed,id:seed`: the seeds of Ed25519 keys in base64. The first one signs sessions; all of them verify.
    pub signing_keys: SigningKeys,
    /// Public keys for import tokens: `id:key,id:key`. Empty: no import tokens are accepted.
    pub import_verifying_keys: VerifyingKeys,
    /// Lifetime of a session token, in seconds.
    pub lifetime_s: u32,
    /// The settings of every service that verifies tokens.
    #[serde(flatten)]
    pub verifying: web::tokens::TokenSettings,
}

impl TokenSettings {
    fn validate(&self) -> Result<(), String> {
        let import_s = self.verifying.import_lifetime_s;
        if import_s > self.lifetime_s {
            return Err(format!(
                "tokens.import_lifetime_s is {import_s} and must not be above tokens.lifetime_s ({})",
                self.lifetime_s
            ));
        }
        Ok(())
    }

    /// The issuer of session tokens.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub(crate) fn issuer(&self) -> Result<Issuer, String> {
        self.validate()?;
        Issuer::new(Purpose::Session, &self.signing_keys, &self.verifying.issuer, self.lifetime_s)
            .map_err(|error| error.to_string())
    }

    /// The verifier of session and import tokens.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub(crate) fn verifier(&self, epochs: Epochs) -> Result<Tokens, String> {
        Tokens::of_issuer(&self.verifying, &self.signing_keys, &self.import_verifying_keys, epochs)
    }
}
