//! The Ed25519 keys of tokens. Keys are listed, so that they can be rotated: put a new key first, and remove the old one
//! when the last token that it signed has expired. The first private key signs.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::STANDARD as PADDED;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey, VerifyingKey};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize;

const ID_LENGTH_MAX: usize = 64;
const KEYS_MAX: usize = 16;

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Private keys as in the settings: `id:seed,id:seed`, each seed with 32 bytes in base64 (either alphabet). The whole list is
/// one secret and fits into one environment variable.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct SigningKeys(SecretString);

/// Public keys as in the settings: `id:key,id:key`, each with 32 bytes in base64 (either alphabet).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct VerifyingKeys(String);

/// The two halves of one key, in the form of the settings.
pub struct KeyPair {
    /// For a list of private keys.
    pub signing: String,
    /// For a list of public keys.
    pub verifying: String,
}

/// What is wrong with the keys, and what to change. No message contains a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// No key, or too many.
    #[error(
        "{0} must contain 1 to {KEYS_MAX} keys as id:key,id:key with each key in base64; `commonplace keys` creates them"
    )]
    Count(&'static str),
    /// Not `id:key`.
    #[error(
        "key {1} of {0} must be id:key, with an id of 1 to {ID_LENGTH_MAX} characters from [A-Za-z0-9._-]"
    )]
    Form(&'static str, usize),
    /// Not base64.
    #[error("key {1:?} of {0} must be base64")]
    Encoding(&'static str, String),
    /// Not the length of an Ed25519 key.
    #[error("key {1:?} of {0} must have {SECRET_KEY_LENGTH} bytes; `commonplace keys` creates one")]
    Length(&'static str, String),
    /// Not a point of the curve, or a point of small order, for which signatures can be forged.
    #[error("key {1:?} of {0} is not a public key; `commonplace keys` creates one")]
    Public(&'static str, String),
    /// Two keys with the same id.
    #[error("{0} contains the id {1:?}, which another key already uses; give each key its own id")]
    Twice(&'static str, String),
    /// One key under two ids.
    #[error("key {1:?} of {0} is also listed under another id; each id and each purpose needs its own key")]
    Shared(&'static str, String),
}

impl SigningKeys {
    /// Keys from their text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The keys with their ids; empty if the setting is empty.
    pub(super) fn read(&self, setting: &'static str) -> Result<Vec<(String, SigningKey)>, KeysError> {
        let key = |id: String, bytes: &[u8]| {
            SigningKey::try_from(bytes)
                .map(|key| (id.clone(), key))
                .map_err(|_| KeysError::Length(setting, id))
        };
        read(setting, self.0.expose_secret(), key)
    }
}

impl VerifyingKeys {
    /// Keys from their text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The keys with their ids; empty if the setting is empty.
    pub(super) fn read(&self, setting: &'static str) -> Result<Vec<(String, VerifyingKey)>, KeysError> {
        let key = |id: String, bytes: &[u8]| {
            let Ok(bytes) = <&[u8; SECRET_KEY_LENGTH]>::try_from(bytes) else {
                return Err(KeysError::Length(setting, id));
            };
            match VerifyingKey::from_bytes(bytes) {
                Ok(key) if !key.is_weak() => Ok((id, key)),
                _ => Err(KeysError::Public(setting, id)),
            }
        };
        read(setting, &self.0, key)
    }
}

impl KeyPair {
    /// The key with these random bytes.
    #[must_use]
    pub fn from_seed(id: &str, seed: &[u8; SECRET_KEY_LENGTH]) -> Self {
        let public = SigningKey::from_bytes(seed).verifying_key();
        Self {
            signing: format!("{id}:{}", PADDED.encode(seed)),
            verifying: format!("{id}:{}", PADDED.encode(public.as_bytes())),
        }
    }
}

fn read<Key>(
    setting: &'static str,
    text: &str,
    key: impl Fn(String, &[u8]) -> Result<(String, Key), KeysError>,
) -> Result<Vec<(String, Key)>, KeysError> {
    let mut keys: Vec<(String, Key)> = Vec::new();
    let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
    for (index, text) in texts.enumerate() {
        let (id, bytes) = decode(setting, text, index + 1)?;
        if keys.iter().any(|(known, _)| *known == id) {
            return Err(KeysError::Twice(setting, id));
        }
        keys.push(key(id, bytes.expose_secret())?);
    }
    if keys.len() > KEYS_MAX { Err(KeysError::Count(setting)) } else { Ok(keys) }
}

fn decode(
    setting: &'static str,
    text: &str,
    position: usize,
) -> Result<(String, SecretSlice<u8>), KeysError> {
    let (id, key) = text.split_once(':').ok_or(KeysError::Form(setting, position))?;
    if !is_key_id(id) {
        return Err(KeysError::Form(setting, position));
    }
    let alphabet = if key.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    let bytes = GeneralPurpose::new(&alphabet, ANY_PADDING)
        .decode(key)
        .map_err(|_| KeysError::Encoding(setting, id.to_owned()))?;
    Ok((id.to_owned(), bytes.into()))
}

/// Whether this is a valid id of a key.
#[must_use]
pub fn is_key_id(id: &str) -> bool {
    let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=ID_LENGTH_MAX).contains(&id.len()) && id.bytes().all(is_of_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const SET: &str = "tokens.some_keys";

    fn read(keys: &[&str]) -> Result<Vec<(String, SigningKey)>, KeysError> {
        SigningKeys::new(keys.join(", ")).read(SET)
    }

    #[test]
    fn keys_are_read_in_order() {
        let keys = read(&[&format!("new:{SEED}"), &format!("old:{}", SEED.trim_end_matches('='))]).unwrap();
        assert_eq!(keys.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["new", "old"]);
        assert!(read(&[]).unwrap().is_empty() && read(&["", ""]).unwrap().is_empty());
    }

    #[test]
    fn each_mistake_names_the_setting_and_the_id_and_never_the_key() {
        let good = format!("a:{SEED}");
        let many: Vec<String> = (0..17).map(|n| format!("{n}:{SEED}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let a = || "a".to_owned();
        for (keys, expected) in [
            (&many[..], KeysError::Count(SET)),
            (&[SEED], KeysError::Form(SET, 1)),
            (&[&good, &format!("b b:{SEED}")], KeysError::Form(SET, 2)),
            (&["a:!"], KeysError::Encoding(SET, a())),
            (&["a:AAAA"], KeysError::Length(SET, a())),
            (&[&format!("a:{}", PADDED.encode([7; 33]))], KeysError::Length(SET, a())),
            (&[&good, &good], KeysError::Twice(SET, a())),
        ] {
            let error = read(keys).unwrap_err();
            assert_eq!(error, expected);
            assert!(error.to_string().contains(SET) && !error.to_string().contains("AAEC"), "{error}");
        }
    }

    #[test]
    fn public_keys_that_allow_forged_signatures_are_refused() {
        let pair = KeyPair::from_seed("a", &[7; 32]);
        assert_eq!(VerifyingKeys::new(pair.verifying).read(SET).unwrap().len(), 1);
        let mut neutral = [0; 32];
        neutral[0] = 1;
        for bad in [neutral, [0; 32], [2; 32]] {
            let keys = VerifyingKeys::new(format!("a:{}", PADDED.encode(bad)));
            assert_eq!(keys.read(SET).unwrap_err(), KeysError::Public(SET, "a".to_owned()), "{bad:?}");
        }
    }

    #[test]
    fn nothing_prints_a_private_key() {
        let keys = SigningKeys::new(format!("a:{SEED}"));
        assert!(!format!("{keys:?}").contains("AAEC"));
    }
}
