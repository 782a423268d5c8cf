//! What the login roles of a cluster are to be, as data: [`bootstrap`](crate::bootstrap) makes them so, and
//! [`drift`](crate::drift) says what is different.
//!
//! A role may change its own password and its own defaults for good, in the cluster and in one database, and no
//! server setting forbids that. So bootstrap first resets both levels, and every process compares its own role.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::Error;

/// What a login role is to be: a block of `roles.toml`.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) name: String,
    block: Block,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    /// Whether it has the rights of its groups without `set role`.
    #[serde(default = "yes")]
    inherits: bool,
    #[serde(default)]
    counts: Counts,
    /// Its defaults, beyond [`EVERY_LOGIN`].
    defaults: BTreeMap<String, String>,
}

/// When a login role is a member of [`COUNTS`].
#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum Counts {
    #[serde(rename = "always")]
    Always,
    #[serde(rename = "on the direct path")]
    OnTheDirectPath,
    #[default]
    #[serde(rename = "never")]
    Never,
}

/// The group whose members count engagement.
const COUNTS: &str = "engagement_writer";

/// Defaults of every login role.
const EVERY_LOGIN: [(&str, &str); 3] = [
    // Each statement names its schema; nothing is found by a path that a caller could put a name into.
    ("search_path", ""),
    ("idle_in_transaction_session_timeout", "10s"),
    // The disk that one session may spill to. The role cannot lift it; only an administrator with the right to set it
    // can set it.
    ("temp_file_limit", "1GB"),
];

static LOGINS: LazyLock<Result<Vec<Login>, String>> = LazyLock::new(|| {
    let blocks: BTreeMap<String, Block> =
        toml::from_str(include_str!("roles.toml")).map_err(|error| error.to_string())?;
    Ok(blocks.into_iter().map(|(name, block)| Login { name, block }).collect())
});

/// The login roles, sorted by their names.
///
/// # Errors
/// `roles.toml`, which is part of the build, cannot be read.
pub(crate) fn logins() -> Result<&'static [Login], Error> {
    match &*LOGINS {
        Ok(logins) => Ok(logins),
        Err(reason) => {
            Err(Error::Settings(format!("crates/database/src/roles.toml cannot be read: {reason}")))
        }
    }
}

/// Functions of the catalog that no login role needs, and that take what all databases of a server share: the lock table
/// (16,000 advisory locks or so fill it) and disk.
pub(crate) const REVOKED: [&str; 21] = [
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    // Large objects: no table bounds them, and each one that a transaction makes holds a lock until its end.
    "lo_create",
    "lo_creat",
    "lo_from_bytea",
    "lo_import",
    "lo_open",
    "lo_put",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "lo_export",
    "lowrite",
    // WAL without a table.
    "pg_logical_emit_message",
    // A file of each call, until the transaction ends.
    "pg_export_snapshot",
];

impl Login {
    /// Its defaults, as name and value.
    pub(crate) fn settings(&'static self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let own = self.block.defaults.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        EVERY_LOGIN.into_iter().chain(own)
    }

    /// Whether it is to be a member of [`COUNTS`]; nothing where either is right.
    fn counts(&self, direct_path: Option<bool>) -> Option<bool> {
        match self.block.counts {
            Counts::Always => Some(true),
            Counts::OnTheDirectPath => direct_path,
            Counts::Never => Some(false),
        }
    }
}

/// The login roles or one of them, in the columns that a statement takes.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) names: Vec<&'static str>,
    pub(crate) inherit: Vec<bool>,
    pub(crate) setting_roles: Vec<&'static str>,
    pub(crate) setting_names: Vec<&'static str>,
    pub(crate) setting_values: Vec<&'static str>,
    pub(crate) member_of: Vec<&'static str>,
    pub(crate) is_member: Vec<Option<bool>>,
}

impl Columns {
    /// Those of the roles that are asked about.
    ///
    /// # Errors
    /// As [`logins`].
    pub(crate) fn of(asked: impl Fn(&str) -> bool, direct_path: Option<bool>) -> Result<Self, Error> {
        let mut columns = Self::default();
        for login in logins()?.iter().filter(|login| asked(&login.name)) {
            columns.names.push(&login.name);
            columns.inherit.push(login.block.inherits);
            columns.member_of.push(COUNTS);
            columns.is_member.push(login.counts(direct_path));
            for (name, value) in login.settings() {
                columns.setting_roles.push(&login.name);
                columns.setting_names.push(name);
                columns.setting_values.push(value);
            }
        }
        Ok(columns)
    }
}

const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_login_role_is_bounded_in_time() {
        let logins = logins().unwrap();
        assert!(logins.len() >= 6);
        for login in logins {
            for name in ["statement_timeout", "lock_timeout"] {
                assert!(login.settings().any(|(set, _)| set == name), "{} has no {name}", login.name);
            }
        }
    }
}
