//! The public keys that a service trusts, each for one purpose.

use std::collections::HashMap;

use ed25519_dalek::VerifyingKey;
use jsonwebtoken::DecodingKey;

use super::{KeysError, Purpose, SigningKeys, VerifyingKeys, eddsa};

/// Public keys by their ids.
#[derive(Default)]
pub(super) struct Keyring(HashMap<String, Trusted>);

struct Trusted {
    purpose: Purpose,
    public: VerifyingKey,
    key: DecodingKey,
}

impl Keyring {
    /// Trusts these public keys for this purpose.
    ///
    /// # Errors
    /// [`KeysError`], also for a key that is trusted under another id or for another purpose.
    pub(super) fn trust(&mut self, purpose: Purpose, keys: &VerifyingKeys) -> Result<(), KeysError> {
        let setting = purpose.verifying_setting();
        for (id, public) in keys.read(setting)? {
            self.add(purpose, setting, id, public)?;
        }
        Ok(())
    }

    /// Trusts tokens signed with these private keys. There must be at least one.
    ///
    /// # Errors
    /// As [`Keyring::trust`].
    pub(super) fn trust_own(&mut self, purpose: Purpose, keys: &SigningKeys) -> Result<(), KeysError> {
        let setting = purpose.signing_setting();
        let keys = keys.read(setting)?;
        if keys.is_empty() {
            return Err(KeysError::Count(setting));
        }
        for (id, private) in keys {
            self.add(purpose, setting, id, private.verifying_key())?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        purpose: Purpose,
        setting: &'static str,
        id: String,
        public: VerifyingKey,
    ) -> Result<(), KeysError> {
        if let Some(known) = self.0.get(&id) {
            // The Blogs API may also list the public half of one of its private keys.
            let is_same = known.purpose == purpose && known.public == public;
            return if is_same { Ok(()) } else { Err(KeysError::Twice(setting, id)) };
        }
        if self.0.values().any(|known| known.public == public) {
            return Err(KeysError::Shared(setting, id));
        }
        self.0.insert(id, Trusted { purpose, public, key: eddsa::decoding(&public) });
        Ok(())
    }

    /// The key with this id, and the purpose of its tokens.
    pub(super) fn get(&self, id: &str) -> Option<(Purpose, &DecodingKey)> {
        self.0.get(id).map(|trusted| (trusted.purpose, &trusted.key))
    }

    /// Whether no key is trusted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
