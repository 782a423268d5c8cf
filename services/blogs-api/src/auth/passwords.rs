//! Password hashing with Argon2id.
//!
//! A hash deliberately costs tens of megabytes and milliseconds. Therefore only a limited number runs concurrently, a
//! few more wait, and further requests are told to retry: a flood of sign-ins must not exhaust the process's memory.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Problem, Result};

/// Minimum length of a password, in bytes.
pub(crate) const LENGTH_MIN: usize = 10;
/// Maximum length of a password, in bytes.
pub(crate) const LENGTH_MAX: usize = 128;

/// Seconds to wait before a retry, when all places are taken.
const RETRY_S: u64 = 2;

/// The `[passwords]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordSettings {
    /// Memory per hash, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Maximum number of concurrent hashes.
    pub running_max: usize,
    /// Maximum number of waiting requests; further ones are answered 503.
    pub waiting_max: usize,
    /// Attempts per minute at one account's password.
    pub tries_per_minute: u32,
    /// Maximum number of remembered networks from which accounts have signed in.
    pub known_networks_max: u64,
}

/// Hashes and verifies passwords. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    /// Places to wait or run.
    places: Arc<Semaphore>,
    /// Permits to run.
    turns: Arc<Semaphore>,
    /// The hash of a throwaway password. It is verified when a handle does not exist, so that the answer takes as long
    /// as for an existing one.
    throwaway: Arc<str>,
}

impl Passwords {
    /// Hashes one throwaway password at the start.
    ///
    /// # Errors
    /// A sentence that says what to change in the settings.
    pub fn new(settings: &PasswordSettings) -> std::result::Result<Self, String> {
        let params = Params::new(settings.memory_kib, settings.passes, 1, None).map_err(|error| {
            format!("the combination of passwords.memory_kib and passwords.passes is invalid: {error}")
        })?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let throwaway =
            hash(&argon2, b"a throwaway password").map_err(|error| format!("hashing a password: {error}"))?;
        Ok(Self {
            argon2,
            places: Arc::new(Semaphore::new(settings.running_max + settings.waiting_max)),
            turns: Arc::new(Semaphore::new(settings.running_max)),
            throwaway: throwaway.into(),
        })
    }

    /// Hashes a password for storage, as a PHC string.
    ///
    /// # Errors
    /// 503 when too many are waiting.
    pub async fn hash(&self, password: SecretString) -> Result<String> {
        let argon2 = self.argon2.clone();
        self.run(move || hash(&argon2, password.expose_secret().as_bytes()))
            .await?
            .map_err(|error| Problem::internal(&error))
    }

    /// Whether the password matches this hash. Without a hash the answer is no, after the same time.
    ///
    /// # Errors
    /// 503 when too many are waiting.
    pub async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<bool> {
        let argon2 = self.argon2.clone();
        let (exists, hash) = hash.map_or_else(|| (false, self.throwaway.to_string()), |hash| (true, hash));
        let matches = self.run(move || verify(&argon2, password.expose_secret().as_bytes(), &hash)).await?;
        Ok(exists && matches.map_err(|error| Problem::internal(&error))?)
    }

    /// Runs `work` on a blocking thread. It owns the permits, so they stay taken even if the request is cancelled.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let busy = || Problem::unavailable("too many sign-ins are in progress; try again", RETRY_S);
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| busy())?;
        let permits: (OwnedSemaphorePermit, OwnedSemaphorePermit) = (place, turn);
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permits);
            result
        })
        .await
        .map_err(|error| Problem::internal(&error))
    }
}

fn hash(argon2: &Argon2<'_>, password: &[u8]) -> argon2::password_hash::Result<String> {
    Ok(argon2.hash_password(password)?.to_string())
}

fn verify(argon2: &Argon2<'_>, password: &[u8], hash: &str) -> argon2::password_hash::Result<bool> {
    let hash = PasswordHash::new(hash).map_err(|_| argon2::password_hash::Error::PasswordInvalid)?;
    match argon2.verify_password(password, &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(running_max: usize, waiting_max: usize) -> Passwords {
        Passwords::new(&PasswordSettings {
            memory_kib: 1024,
            passes: 1,
            running_max,
            waiting_max,
            tries_per_minute: 6,
            known_networks_max: 1,
        })
        .unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let passwords = passwords(1, 1);
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=1024,t=1,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("correct hors".into(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("a throwaway password".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn full_queue_answers_retry() {
        let passwords = passwords(1, 1);
        let taken = Arc::clone(&passwords.places).try_acquire_many_owned(2).unwrap();
        assert_eq!(passwords.hash("correct horse".into()).await.unwrap_err().status(), 503);
        drop(taken);
        assert!(passwords.hash("correct horse".into()).await.is_ok());
    }
}
