//! The keys that sign tokens: a list, so that they rotate. The first signs, all of them verify. To rotate, put
//! a new key in front, and take the old one out when the last token that it signed has expired.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize;

/// HMAC-SHA-256 is as strong as its key, up to 32 bytes.
const SECRET_BYTES_MIN: usize = 32;
const ID_LENGTH_MAX: usize = 64;
const KEYS_MAX: usize = 16;

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The keys as they are set: `id:secret,id:secret`, each secret in base64 (either alphabet), so that the whole
/// list is one secret and fits into one environment variable.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct SigningKeys(SecretString);

/// One key: its id travels in the token, the secret does not.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// The `kid` of the tokens that it signed.
    pub id: String,
    /// What signs.
    pub secret: SecretSlice<u8>,
}

/// What is wrong with the keys, and what to change. No message holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// None, or more than can be meant.
    #[error(
        "tokens.signing_keys must hold 1 to {KEYS_MAX} keys as id:secret,id:secret with each secret in base64; \
         `openssl rand -base64 32` makes a secret"
    )]
    Count,
    /// Not `id:secret`.
    #[error(
        "key {0} of tokens.signing_keys must be id:secret, with an id of 1 to {ID_LENGTH_MAX} of [A-Za-z0-9._-]"
    )]
    Form(usize),
    /// The secret is not base64.
    #[error("the secret of key {0:?} in tokens.signing_keys must be base64")]
    Encoding(String),
    /// The secret is too short to be one.
    #[error("the secret of key {0:?} in tokens.signing_keys must have at least {SECRET_BYTES_MIN} bytes")]
    Short(String),
    /// Two keys with one id.
    #[error("tokens.signing_keys holds the id {0:?} twice")]
    Twice(String),
}

impl SigningKeys {
    /// Keys from their text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// Reads and checks the keys. There is at least one.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn read(&self) -> Result<Vec<SigningKey>, KeysError> {
        let mut keys: Vec<SigningKey> = Vec::new();
        let texts = self.0.expose_secret().split(',').map(str::trim).filter(|text| !text.is_empty());
        for (index, text) in texts.enumerate() {
            let key = SigningKey::read(text, index + 1)?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeysError::Twice(key.id));
            }
            keys.push(key);
        }
        if keys.is_empty() || keys.len() > KEYS_MAX { Err(KeysError::Count) } else { Ok(keys) }
    }
}

impl SigningKey {
    fn read(text: &str, position: usize) -> Result<Self, KeysError> {
        let (id, secret) = text.split_once(':').ok_or(KeysError::Form(position))?;
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if id.is_empty() || id.len() > ID_LENGTH_MAX || !id.bytes().all(is_id) {
            return Err(KeysError::Form(position));
        }
        let alphabet = if secret.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        let secret = GeneralPurpose::new(&alphabet, ANY_PADDING)
            .decode(secret)
            .map_err(|_| KeysError::Encoding(id.to_owned()))?;
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeysError::Short(id.to_owned()));
        }
        Ok(Self { id: id.to_owned(), secret: secret.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn read(keys: &[&str]) -> Result<Vec<SigningKey>, KeysError> {
        SigningKeys::new(keys.join(", ")).read()
    }

    #[test]
    fn keys_are_read_in_order() {
        let keys = read(&[&format!("new:{LONG}"), &format!("old:{}", LONG.trim_end_matches('='))]).unwrap();
        assert_eq!(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["new", "old"]);
        assert_eq!(keys[0].secret.expose_secret().len(), 32);
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        let good = format!("a:{LONG}");
        for (keys, expected) in [
            (&[][..], KeysError::Count),
            (&["", ""], KeysError::Count),
            (&[LONG], KeysError::Form(1)),
            (&[&good, &format!("b b:{LONG}")], KeysError::Form(2)),
            (&["a:!"], KeysError::Encoding("a".to_owned())),
            (&["a:AAAA"], KeysError::Short("a".to_owned())),
            (&[&good, &good], KeysError::Twice("a".to_owned())),
        ] {
            assert_eq!(read(keys).unwrap_err(), expected);
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let keys = SigningKeys::new(format!("a:{LONG}"));
        assert!(!format!("{keys:?} {:?}", keys.read()).contains("AAEC"));
    }
}
