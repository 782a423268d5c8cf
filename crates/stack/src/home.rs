//! The directory with a server's data, log and secrets. It is locked while this process runs the server.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::distr::{Alphanumeric, SampleString};

use crate::account::{self, Account};
use crate::error::{Doing, Error};
use crate::guard;

/// Used instead of a checkout that the servers' accounts cannot reach, such as one under `/root`.
const ELSEWHERE: &str = "/var/lib/commonplace";
const LOCK: &str = "lock";

/// A server's directory. The lock on it is released when this value is dropped or this process ends.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    account: Option<Account>,
    _lock: File,
}

impl Home {
    /// Opens `directory/part`, takes its lock, stops processes that an earlier run left there, and deletes its data if
    /// `fresh`.
    pub(crate) fn open(
        directory: &Path,
        part: &str,
        account: Option<Account>,
        fresh: bool,
    ) -> Result<Self, Error> {
        let path = place(directory, account.as_ref())?.join(part);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .doing(|| format!("make the directory {}", path.display()))?;
        let lock = lock(&path)?;
        guard::settle(&path)?;
        if fresh {
            empty(&path)?;
        }
        account::give(&path, account.as_ref())?;
        Ok(Self { path, account, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// A subdirectory that belongs to the server.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let doing = || format!("make the directory {}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&path).doing(doing)?;
        account::give(&path, self.account())?;
        Ok(path)
    }

    /// Atomically writes a file that only the server may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let new = self.path.join(format!("{name}.new"));
        let doing = || format!("write {}", path.display());
        drop(fs::remove_file(&new));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new).doing(doing)?;
        file.write_all(text.as_bytes()).doing(doing)?;
        account::give(&new, self.account())?;
        fs::rename(&new, &path).doing(doing)?;
        Ok(path)
    }

    /// The secret in the file `name`, generated at random the first time.
    pub(crate) fn secret(&self, name: &str) -> Result<String, Error> {
        const LENGTH: usize = 32;
        let path = self.path.join(name);
        if !path.exists() {
            self.write(name, &Alphanumeric.sample_string(&mut rand::rng(), LENGTH))?;
        }
        fs::read_to_string(&path).doing(|| format!("read {}", path.display()))
    }
}

/// The directory for the data: inside the requested directory if the server's account can reach it.
fn place(directory: &Path, account: Option<&Account>) -> Result<PathBuf, Error> {
    let doing = || format!("make the directory {}", directory.display());
    fs::create_dir_all(directory).doing(doing)?;
    let directory = directory.canonicalize().doing(doing)?;
    if account.is_none_or(|account| account.can_reach(&directory)) {
        return Ok(directory);
    }
    let elsewhere = Path::new(ELSEWHERE).join(name_elsewhere(&directory));
    for step in [Path::new(ELSEWHERE), &elsewhere] {
        let doing = || format!("make the directory {}", step.display());
        fs::create_dir_all(step).doing(doing)?;
        // Independent of the umask: the servers' accounts must be able to reach this directory.
        fs::set_permissions(step, Permissions::from_mode(0o755)).doing(doing)?;
    }
    Ok(elsewhere)
}

/// A unique name for this directory: its last component, for readability, and a hash of the whole path (FNV-1a, because the
/// name must be the same in every build).
pub(crate) fn name_elsewhere(directory: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let hash = directory.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let last = directory.file_name().unwrap_or_default().to_string_lossy();
    let last: String = last.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    format!("{last}-{hash:016x}")
}

fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK);
    let doing = || format!("lock {}", path.display());
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path).doing(doing)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(Error::AlreadyRunning { directory: directory.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(source).doing(doing),
    }
    file.set_len(0).doing(doing)?;
    write!(file, "{}", std::process::id()).doing(doing)?;
    Ok(file)
}

/// Deletes everything except the lock that we hold.
fn empty(directory: &Path) -> Result<(), Error> {
    let doing = || format!("delete the data in {}", directory.display());
    for entry in fs::read_dir(directory).doing(doing)? {
        let entry = entry.doing(doing)?;
        if entry.file_type().doing(doing)?.is_dir() {
            fs::remove_dir_all(entry.path()).doing(doing)?;
        } else if entry.file_name() != LOCK {
            fs::remove_file(entry.path()).doing(doing)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("stack-home-{name}-{}", std::process::id()))
    }

    #[test]
    fn one_home_has_one_user_at_a_time() {
        let directory = directory("lock");
        let first = Home::open(&directory, "part", None, false).unwrap();
        let second = Home::open(&directory, "part", None, false);
        let ours = std::process::id();
        assert!(
            matches!(second, Err(Error::AlreadyRunning { pid: Some(pid), .. }) if pid == ours),
            "{second:?}"
        );
        drop(first);
        Home::open(&directory, "part", None, false).unwrap();
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_secret_stays_until_a_fresh_start() {
        let directory = directory("secret");
        let open = |fresh| Home::open(&directory, "part", None, fresh).unwrap().secret("password").unwrap();
        let (first, again, fresh) = (open(false), open(false), open(true));
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(first, again);
        assert_ne!(first, fresh);
    }

    #[test]
    fn the_name_elsewhere_is_stable_and_depends_on_the_whole_path() {
        // A published test vector of FNV-1a.
        assert_eq!(name_elsewhere(Path::new("foobar")), "foobar-85944171f73967e8");
        assert_ne!(
            name_elsewhere(Path::new("/home/ada/a/.stack/up")),
            name_elsewhere(Path::new("/home/ada/b/.stack/up"))
        );
    }
}
