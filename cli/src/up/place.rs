//! The folder of one `up`: its lock, and the secrets that outlive a run.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use broker::Administration;
use database::bootstrap::RoleSettings;
use serde::{Deserialize, Serialize};
use services::SERVICES;
use sha2::{Digest, Sha256};
use web::tokens::KeyPair;

use crate::{defaults, migrate, running};

/// The role of the operator's commands.
pub(super) const OPERATOR: &str = "operator";

/// A folder that this process has locked, until the value is dropped.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// The kernel releases the lock when the process ends, even if it is killed.
    _lock: File,
}

impl Place {
    /// Makes the folder if it is missing and locks it. With `fresh`, deletes the files of earlier runs, except the data of the
    /// servers, which the servers delete themselves.
    ///
    /// # Errors
    /// If another `up` runs there; the error gives its process id.
    pub(super) fn claim(directory: PathBuf, fresh: bool) -> anyhow::Result<Self> {
        let doing = || format!("using {}", directory.display());
        fs::create_dir_all(&directory).with_context(doing)?;
        let path = directory.join("up.lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(doing)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut pid = String::new();
                lock.read_to_string(&mut pid).with_context(doing)?;
                bail!(
                    "`up` is already running in {} (process {}): stop it with Ctrl-C there, or give this one a \
                     --directory and a --port of its own",
                    directory.display(),
                    pid.trim()
                );
            }
            Err(fs::TryLockError::Error(error)) => return Err(error).with_context(doing),
        }
        lock.set_len(0).with_context(doing)?;
        lock.rewind().with_context(doing)?;
        writeln!(lock, "{}", std::process::id()).with_context(doing)?;
        let place = Self { directory, _lock: lock };
        // A run that was killed leaves its file, whose addresses are no longer valid.
        forget(&running::mark_file(&place.directory))?;
        if fresh {
            for path in [place.credentials_file(), place.demo_mark()] {
                forget(&path)?;
            }
        }
        Ok(place)
    }

    /// The folder itself.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The folder of the servers.
    pub(super) fn servers(&self) -> PathBuf {
        self.directory.join("servers")
    }

    /// A file that exists while the demo is being loaded, so that the next run completes an interrupted load.
    pub(super) fn demo_mark(&self) -> PathBuf {
        self.directory.join("demo.unfinished")
    }

    /// The secrets of this folder, made at the first call and kept for the next run. Only the owner can read the file.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(super) fn credentials(&self) -> anyhow::Result<Credentials> {
        let path = self.credentials_file();
        let doing = || format!("reading {}", path.display());
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Credentials::complete).with_context(doing),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let credentials = Credentials::random();
                // Written to a temporary file and renamed, so that the file is never incomplete.
                let draft = path.with_extension("draft");
                forget(&draft)?;
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&draft)
                    .with_context(|| format!("writing {}", draft.display()))?;
                file.write_all(&serde_json::to_vec_pretty(&credentials)?)
                    .and_then(|()| file.sync_all())
                    .and_then(|()| fs::rename(&draft, &path))
                    .with_context(|| format!("writing {}", path.display()))?;
                Ok(credentials)
            }
            Err(error) => Err(error).with_context(doing),
        }
    }

    fn credentials_file(&self) -> PathBuf {
        self.directory.join("credentials.json")
    }
}

/// Every secret of one `up`: random hexadecimal digits, which are safe in a URL and also valid base64.
#[derive(Serialize, Deserialize)]
pub(super) struct Credentials {
    /// The demo authors' password.
    pub(super) demo_password: String,
    /// The seed of the private keys of tokens, one for each purpose.
    pub(super) signing_secret: String,
    /// The secret with which visitors are hashed.
    pub(super) visitor_secret: String,
    /// The password of each role, by its key in the settings (`ROLE_password`).
    #[serde(flatten)]
    passwords: BTreeMap<String, String>,
}

impl Credentials {
    fn random() -> Self {
        Self {
            demo_password: secret(8),
            signing_secret: secret(32),
            visitor_secret: secret(32),
            passwords: BTreeMap::new(),
        }
        .complete()
    }

    /// Adds a password for every role that has none. A folder from before a service existed lacks the password of its role, which
    /// then gets a new one at each start.
    fn complete(mut self) -> Self {
        for role in roles() {
            self.passwords.entry(key(role)).or_insert_with(|| secret(16));
        }
        self
    }

    /// The password of a role, and of the RabbitMQ user with the same name.
    pub(super) fn password(&self, role: &str) -> &str {
        self.passwords.get(&key(role)).map(String::as_str).unwrap_or_default()
    }

    /// The key of sessions. Only the Blogs API gets its private half.
    pub(super) fn session_keys(&self) -> KeyPair {
        self.keys("up", "session")
    }

    /// The key of imports. Only the operator gets its private half.
    pub(super) fn import_keys(&self) -> KeyPair {
        self.keys("up-import", "import")
    }

    fn keys(&self, id: &str, purpose: &str) -> KeyPair {
        let seed = Sha256::new().chain_update(purpose).chain_update([0]).chain_update(&self.signing_secret);
        KeyPair::from_seed(id, &seed.finalize().into())
    }

    /// The roles and RabbitMQ's users as `migrate` would make them, with these passwords and with the direct path. A service's
    /// role and its RabbitMQ user have the same password. `private`: this command runs the database server itself.
    pub(super) fn administration(
        &self,
        management_url: &str,
        vhost: &str,
        private: bool,
    ) -> anyhow::Result<(RoleSettings, Administration)> {
        let loader = defaults::loader(defaults::MIGRATE)
            .set("roles.direct_path", true)
            .set("roles.owns_server", private)
            .set("rabbitmq.management_url", management_url)
            .set("rabbitmq.vhost", vhost);
        let loader = roles()
            .fold(loader, |loader, role| loader.set(format!("roles.{}", key(role)), self.password(role)));
        let users = SERVICES.iter().filter(|service| service.uses_rabbitmq);
        let loader = users.fold(loader, |loader, service| {
            loader.set(format!("rabbitmq.{}", key(service.role)), self.password(service.role))
        });
        let settings: migrate::Settings = loader.load()?;
        Ok((settings.roles, settings.rabbitmq))
    }
}

/// Every role that logs in.
fn roles() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|service| service.role).chain([OPERATOR])
}

/// The key of a role's password, in the settings and in the credentials file.
fn key(role: &str) -> String {
    format!("{role}_password")
}

/// This many random bytes, in hexadecimal.
fn secret(bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

fn forget(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("deleting {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("commonplace-{}-{name}", std::process::id()));
            let _absent = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn second_claim_is_refused_with_the_first_ones_process_id() {
        let folder = Folder::new("claim");
        let first = Place::claim(folder.0.clone(), false).unwrap();
        let refused = Place::claim(folder.0.clone(), true).unwrap_err().to_string();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        drop(first);
        Place::claim(folder.0.clone(), false).unwrap();
    }

    #[test]
    fn credentials_are_readable_by_the_owner_alone_and_kept_until_fresh() {
        let folder = Folder::new("credentials");
        let place = Place::claim(folder.0.clone(), false).unwrap();
        let made = place.credentials().unwrap();
        let mode = fs::metadata(folder.0.join("credentials.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(place);
        let place = Place::claim(folder.0.clone(), false).unwrap();
        let kept = place.credentials().unwrap();
        assert_eq!(kept.signing_secret, made.signing_secret);
        assert_eq!(kept.session_keys().signing, made.session_keys().signing);
        let [of_sessions, of_imports] = [kept.session_keys(), kept.import_keys()]
            .map(|pair| pair.signing.split_once(':').unwrap().1.to_owned());
        assert_ne!(of_sessions, of_imports);
        drop(place);
        let place = Place::claim(folder.0.clone(), true).unwrap();
        assert_ne!(place.credentials().unwrap().signing_secret, made.signing_secret);
    }

    #[test]
    fn old_credentials_keep_their_passwords_and_get_one_for_a_new_service() {
        let folder = Folder::new("earlier");
        let place = Place::claim(folder.0.clone(), false).unwrap();
        let earlier = r#"{"blogs_api_password": "a", "analytics_worker_password": "b", "operator_password": "c",
            "demo_password": "d", "signing_secret": "e", "visitor_secret": "f"}"#;
        fs::write(place.credentials_file(), earlier).unwrap();
        let read = place.credentials().unwrap();
        assert_eq!(["blogs_api", "operator"].map(|role| read.password(role)), ["a", "c"]);
        assert_eq!(read.demo_password, "d");
        assert!(roles().all(|role| !read.password(role).is_empty()));
    }
}
