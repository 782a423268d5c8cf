//! What the login roles of a cluster are to be, as data: [`bootstrap`](crate::bootstrap) makes them so, and
//! [`drift`](crate::drift) says what is different.
//!
//! A role may change its own password and its own defaults for good, in the cluster and in one database, and no
//! server setting forbids that. So bootstrap first resets both levels, and every process compares its own role.

/// What a login role is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Login {
    pub(crate) name: &'static str,
    /// Whether it has the rights of its groups without `set role`.
    pub(crate) inherits: bool,
    /// Its defaults, beyond [`EVERY_LOGIN`].
    settings: &'static [(&'static str, &'static str)],
}

/// The group whose members count engagement.
const COUNTS: &str = "engagement_writer";
/// The role that is a member of [`COUNTS`] only where the direct path is enabled.
const COUNTS_DIRECTLY: &str = "blogs_api";

/// Defaults of every login role.
const EVERY_LOGIN: [(&str, &str); 3] = [
    // Each statement names its schema; nothing is found by a path that a caller could put a name into.
    ("search_path", ""),
    ("idle_in_transaction_session_timeout", "10s"),
    // The disk that one session may spill to. The role cannot lift it; only an administrator with the right to set it
    // can set it.
    ("temp_file_limit", "1GB"),
];

/// The login roles, each with its defaults.
pub(crate) const LOGINS: [Login; 6] = [
    Login {
        name: "blogs_api",
        inherits: true,
        settings: &[
            // What is acked must outlive a crash, whatever the server's own default is.
            ("synchronous_commit", "on"),
            // A reader's request waits this long at most.
            ("statement_timeout", "3s"),
            ("lock_timeout", "2s"),
        ],
    },
    Login {
        name: "analytics_worker",
        inherits: true,
        settings: &[("synchronous_commit", "on"), ("statement_timeout", "30s"), ("lock_timeout", "10s")],
    },
    Login {
        name: "notification_worker",
        inherits: true,
        settings: &[("synchronous_commit", "on"), ("statement_timeout", "30s"), ("lock_timeout", "10s")],
    },
    Login {
        name: "recommendation_api",
        inherits: true,
        settings: &[
            // What is learnt can be learnt again; its commits need not wait for the disk.
            ("synchronous_commit", "off"),
            ("statement_timeout", "10s"),
            ("lock_timeout", "2s"),
            // It runs the heaviest queries and may take the least for them: little memory and no second core.
            ("work_mem", "32MB"),
            ("max_parallel_workers_per_gather", "0"),
            ("jit", "off"),
        ],
    },
    Login {
        name: "operator",
        // It redrives a parked event as a worker would count it, after a `set role`.
        inherits: false,
        // What it decides, and the record of an export, outlive a crash.
        settings: &[("synchronous_commit", "on"), ("statement_timeout", "10min"), ("lock_timeout", "5s")],
    },
    Login {
        name: "console",
        inherits: true,
        // A page that shows load must not add to it.
        settings: &[("statement_timeout", "5s"), ("lock_timeout", "1s")],
    },
];

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
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        EVERY_LOGIN.into_iter().chain(self.settings.iter().copied())
    }

    /// Whether it is to be a member of [`COUNTS`]; nothing where either is right.
    fn counts(&self, direct_path: Option<bool>) -> Option<bool> {
        match self.name {
            COUNTS_DIRECTLY => direct_path,
            "analytics_worker" | "operator" => Some(true),
            _ => Some(false),
        }
    }
}

/// [`LOGINS`] or one of them, in the columns that a statement takes.
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
    pub(crate) fn of(asked: impl Fn(&str) -> bool, direct_path: Option<bool>) -> Self {
        let mut columns = Self::default();
        for login in LOGINS.iter().filter(|login| asked(login.name)) {
            columns.names.push(login.name);
            columns.inherit.push(login.inherits);
            columns.member_of.push(COUNTS);
            columns.is_member.push(login.counts(direct_path));
            for (name, value) in login.settings() {
                columns.setting_roles.push(login.name);
                columns.setting_names.push(name);
                columns.setting_values.push(value);
            }
        }
        columns
    }
}
