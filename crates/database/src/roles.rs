//! The definition of a cluster's login roles, as data. [`bootstrap`](crate::bootstrap) applies it, and
//! [`drift`](crate::drift) reports differences.
//!
//! A role may permanently change its own password and its own defaults, in the cluster and in one database, and no server
//! setting prevents that. So bootstrap first resets both levels, and every process checks its own role.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::Error;

/// The definition of a login role: a block of `roles.toml`.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) name: String,
    block: Block,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    /// Whether it uses the rights of its groups without `set role`.
    #[serde(default = "yes")]
    inherits: bool,
    #[serde(default)]
    counts: Counts,
    /// Its defaults, in addition to [`EVERY_LOGIN`].
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

/// Defaults of all login roles.
const EVERY_LOGIN: [(&str, &str); 3] = [
    // Statements schema-qualify all names, so a caller cannot plant an object in a search path.
    ("search_path", ""),
    ("idle_in_transaction_session_timeout", "10s"),
    // Limits the disk space of one session's temporary files. The role cannot raise it; only an administrator with the right
    // to set it can.
    ("temp_file_limit", "1GB"),
];

static LOGINS: LazyLock<Result<Vec<Login>, String>> = LazyLock::new(|| {
    let blocks: BTreeMap<String, Block> =
        toml::from_str(include_str!("roles.toml")).map_err(|error| error.to_string())?;
    Ok(blocks.into_iter().map(|(name, block)| Login { name, block }).collect())
});

/// The login roles, sorted by name.
///
/// # Errors
/// `roles.toml`, which is compiled in, cannot be parsed.
pub(crate) fn logins() -> Result<&'static [Login], Error> {
    match &*LOGINS {
        Ok(logins) => Ok(logins),
        Err(reason) => Err(Error::Settings(format!("cannot parse crates/database/src/roles.toml: {reason}"))),
    }
}

/// Catalog functions that no login role needs and that consume resources shared by all databases of a server: the lock table
/// (about 16,000 advisory locks fill it) and disk space.
pub(crate) const REVOKED: [&str; 21] = [
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    // Large objects: no table bounds them, and a transaction holds a lock for each one it creates.
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
    // Writes WAL without a table.
    "pg_logical_emit_message",
    // Each call creates a file that lasts until the transaction ends.
    "pg_export_snapshot",
];

impl Login {
    /// Its defaults as name and value.
    pub(crate) fn settings(&'static self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let own = self.block.defaults.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        EVERY_LOGIN.into_iter().chain(own)
    }

    /// Whether it must be a member of [`COUNTS`]; None if both are allowed.
    fn counts(&self, direct_path: Option<bool>) -> Option<bool> {
        match self.block.counts {
            Counts::Always => Some(true),
            Counts::OnTheDirectPath => direct_path,
            Counts::Never => Some(false),
        }
    }
}

/// The login roles, or one of them, as columns for a statement.
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
    /// The columns of the requested roles.
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
