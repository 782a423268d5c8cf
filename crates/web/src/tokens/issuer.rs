//! Issues tokens. The Blogs API issues session tokens, the operator's command issues import tokens.

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::{Claims, KeysError, Purpose, SigningKeys, eddsa};
use crate::problem::{Problem, Result};

/// Issues tokens of one purpose, with its first private key.
pub struct Issuer {
    header: Header,
    key: EncodingKey,
    purpose: Purpose,
    name: String,
    lifetime: SignedDuration,
}

/// A newly issued token.
#[derive(Debug, Clone)]
pub struct Issued {
    /// What the client sends as `Authorization: Bearer`.
    pub token: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Issuer {
    /// Creates an issuer from the private keys of this purpose.
    ///
    /// # Errors
    /// [`KeysError`]. There must be at least one key.
    pub fn new(
        purpose: Purpose,
        keys: &SigningKeys,
        name: &str,
        lifetime_s: u32,
    ) -> std::result::Result<Self, KeysError> {
        eddsa::install();
        let setting = purpose.signing_setting();
        let keys = keys.read(setting)?;
        let (id, key) = keys.first().ok_or(KeysError::Count(setting))?;
        Ok(Self {
            header: Header { kid: Some(id.clone()), ..Header::new(Algorithm::EdDSA) },
            key: eddsa::encoding(key),
            purpose,
            name: name.to_owned(),
            lifetime: SignedDuration::from_secs(lifetime_s.into()),
        })
    }

    /// Issues a token for an account with its current epoch.
    ///
    /// # Errors
    /// 500. Signing plain claims cannot fail in practice.
    pub fn issue(&self, account_id: i64, epoch: i32) -> Result<Issued> {
        self.issue_at(Timestamp::now(), account_id, epoch)
    }

    pub(super) fn issue_at(&self, now: Timestamp, account_id: i64, epoch: i32) -> Result<Issued> {
        let expires_at = Timestamp::from_second(now.as_second())
            .and_then(|now| now.checked_add(self.lifetime))
            .map_err(|error| Problem::internal(&error))?;
        let claims = Claims {
            iss: self.name.clone(),
            sub: account_id.to_string(),
            epoch,
            scope: self.purpose.scope().to_owned(),
            iat: now.as_second(),
            exp: expires_at.as_second(),
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.key)
            .map_err(|error| Problem::internal(&error))?;
        Ok(Issued { token, expires_at })
    }
}
