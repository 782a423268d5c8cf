//! The account a server runs under. Both servers refuse root or should not run as root, so if this process is root, they run
//! under the accounts that their packages created. Otherwise they run under the caller's account.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Uid, User};

use crate::error::{Doing, Error};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// The account `name` if this process is root. `None` otherwise: the server runs under this process's account.
    pub(crate) fn for_server(name: &'static str) -> Result<Option<Self>, Error> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        let user = User::from_name(name)
            .map_err(std::io::Error::from)
            .doing(|| format!("look up the account `{name}`"))?
            .ok_or(Error::NoAccount { name })?;
        Ok(Some(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
    }

    /// Whether the account may enter `directory` and all its parents.
    pub(crate) fn can_reach(&self, directory: &Path) -> bool {
        directory.ancestors().all(|step| {
            step.metadata().is_ok_and(|metadata| {
                let bit = match (metadata.uid() == self.uid, metadata.gid() == self.gid) {
                    (true, _) => 0o100,
                    (false, true) => 0o010,
                    (false, false) => 0o001,
                };
                metadata.mode() & bit != 0
            })
        })
    }

    /// Arguments for `setpriv` to switch to this account, with only its own supplementary groups.
    pub(crate) fn setpriv_arguments(&self) -> Vec<OsString> {
        vec![
            format!("--reuid={}", self.uid).into(),
            format!("--regid={}", self.gid).into(),
            "--init-groups".into(),
        ]
    }
}

/// Makes the account the owner of `path`, if there is one.
pub(crate) fn give(path: &Path, account: Option<&Account>) -> Result<(), Error> {
    match account {
        Some(account) => std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))
            .doing(|| format!("give {} to the server's account", path.display())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_unreachable_parent_directory_is_detected() {
        let top = std::env::temp_dir().join(format!("stack-reach-{}", std::process::id()));
        let below = top.join("below");
        fs::create_dir_all(&below).unwrap();
        // Not an account of this machine, so only the permission bits for others apply.
        let stranger = Account { uid: 4_000_000_001, gid: 4_000_000_001 };
        fs::set_permissions(&top, Permissions::from_mode(0o755)).unwrap();
        let open = stranger.can_reach(&below);
        fs::set_permissions(&top, Permissions::from_mode(0o700)).unwrap();
        let closed = stranger.can_reach(&below);
        fs::remove_dir_all(&top).unwrap();
        assert!(open && !closed);
    }
}
