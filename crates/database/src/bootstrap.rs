//! Creates the roles of a cluster. Roles belong to the whole cluster and not to one database, so this is not a migration.
//! Running it again is harmless: it sets each role to its settings, and undoes defaults that a role changed for itself.
//!
//! Owners and groups cannot log in; each service logs in under its own role. Statement, lock and idle timeouts are defaults
//! of the role, which the role can override. It cannot override its connection limit.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Cursor;
use std::sync::LazyLock;

use configuration::{Bound, bound};
use futures_util::SinkExt;
use postgres_protocol::password::scram_sha_256;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Transaction};

use crate::roles::{Columns, Login, REVOKED, logins};
use crate::session::Session;
use crate::{Error, Statement, TransactionStep, lock, transaction};

const ROLES: Statement = crate::statement!("bootstrap_roles.sql");
const LOCK: Statement = crate::statement!("bootstrap_lock.sql");
const LOCK_NAME: &str = "commonplace.bootstrap";
const LOGIN_ROLES: Statement = crate::statement!("bootstrap_login_roles.sql");
const MEMBERS: Statement = crate::statement!("bootstrap_members.sql");
const LOGIN: Statement = crate::statement!("bootstrap_login.sql");
const LOGINS_TABLE: Statement = crate::statement!("bootstrap_logins.sql");
const LOGINS_FILL: Statement = crate::statement!("bootstrap_logins_fill.sql");
const UNTRACKED: Statement = crate::statement!("bootstrap_untracked.sql");
const DIRECT_PATH: Statement = crate::statement!("bootstrap_direct_path.sql");
const HAS_DIRECT_PATH: Statement = crate::statement!("bootstrap_has_direct_path.sql");
const CONNECTIONS: Statement = crate::statement!("connection_shares.sql");
const SESSIONS: Statement = crate::statement!("bootstrap_sessions.sql");
const RESET: Statement = crate::statement!("role_reset.sql");
const REVOKED_FUNCTIONS: Statement = crate::statement!("bootstrap_revoked.sql");
const ELSEWHERE: Statement = crate::statement!("bootstrap_elsewhere.sql");
const SETTING: Statement = crate::statement!("role_setting.sql");

/// The highest value of `max_connections` that Postgres accepts.
const CONNECTIONS_MAX: u64 = 262_143;

/// Bounds of the `[roles]` section.
pub const BOUNDS: &[Bound] = &[bound("roles.*_connections", 1..=CONNECTIONS_MAX)];

/// The `[roles]` section: the passwords and connection limits of the login roles.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Section")]
pub struct RoleSettings {
    /// The password and share of connections of each role, from the keys `ROLE_password` and `ROLE_connections`.
    pub logins: BTreeMap<String, LoginSettings>,
    /// Connections that no service may use. They are reserved for the administrator and maintenance.
    pub reserve_connections: i32,
    /// Whether the Blogs API may write engagement itself.
    pub direct_path: bool,
    /// Whether the server serves only this system.
    pub owns_server: bool,
}

/// The settings of one login role.
#[derive(Debug, Clone, Default)]
pub struct LoginSettings {
    /// Its password.
    pub password: SecretString,
    /// Maximum connections of all its processes together.
    pub connections: i32,
}

static NO_PASSWORD: LazyLock<SecretString> = LazyLock::new(SecretString::default);

/// The section as it appears in the file.
#[derive(Deserialize)]
struct Section {
    reserve_connections: i32,
    direct_path: bool,
    owns_server: bool,
    #[serde(flatten)]
    of_roles: BTreeMap<String, OfRole>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OfRole {
    Connections(i32),
    Password(SecretString),
}

impl TryFrom<Section> for RoleSettings {
    type Error = String;

    fn try_from(section: Section) -> Result<Self, String> {
        let mut logins: BTreeMap<String, LoginSettings> = BTreeMap::new();
        for (key, value) in section.of_roles {
            let role = match &value {
                OfRole::Connections(_) => key.strip_suffix("_connections"),
                OfRole::Password(_) => key.strip_suffix("_password"),
            };
            let login = logins.entry(
                role.ok_or_else(|| format!("{key} is not ROLE_password or ROLE_connections"))?.to_owned(),
            );
            match value {
                OfRole::Connections(connections) => login.or_default().connections = connections,
                OfRole::Password(password) => login.or_default().password = password,
            }
        }
        let Section { reserve_connections, direct_path, owns_server, .. } = section;
        Ok(Self { logins, reserve_connections, direct_path, owns_server })
    }
}

/// The login roles: one for each service, and the operator's.
pub fn login_roles() -> impl Iterator<Item = &'static str> {
    logins().unwrap_or_default().iter().map(|login| login.name.as_str())
}

impl RoleSettings {
    /// Gives every role the same password and share.
    #[must_use]
    pub fn alike(login: &LoginSettings) -> BTreeMap<String, LoginSettings> {
        login_roles().map(|role| (role.to_owned(), login.clone())).collect()
    }

    /// The password of a role; empty if it has none.
    #[must_use]
    pub fn password(&self, role: &str) -> &SecretString {
        self.logins.get(role).map_or(&NO_PASSWORD, |login| &login.password)
    }

    /// The first role with this password.
    #[must_use]
    pub fn with_password(&self, password: &str) -> Option<&str> {
        let mut logins = self.logins.iter();
        logins.find(|(_, login)| login.password.expose_secret() == password).map(|(role, _)| role.as_str())
    }

    /// The connections that a role may hold.
    pub(crate) fn connections(&self, role: &str) -> Option<i32> {
        self.logins.get(role).map(|login| login.connections)
    }

    /// Requires a password and a share for every login role, and rejects keys of unknown roles.
    fn validate(&self) -> Result<(), Error> {
        for role in logins()?.iter().map(|login| &login.name) {
            let refused = match self.logins.get(role) {
                Some(LoginSettings { password, .. }) if password.expose_secret().is_empty() => {
                    format!("roles.{role}_password is empty: set a password for the role")
                }
                Some(LoginSettings { connections: 1.., .. }) => continue,
                _ => format!(
                    "the role {role} has no password or no connection limit: add roles.{role}_password and \
                     roles.{role}_connections to config/migrate.toml"
                ),
            };
            return Err(Error::Settings(refused));
        }
        match self.logins.keys().find(|role| login_roles().all(|known| known != role.as_str())) {
            Some(role) => Err(Error::Settings(format!(
                "config/migrate.toml has roles.{role}_password, but crates/database/src/roles.toml has no role {role}"
            ))),
            None => Ok(()),
        }
    }
}

/// Creates the roles, or updates them to match the settings. Needs a superuser, or a role that may create roles and grant
/// the owners to itself.
///
/// # Errors
/// [`Error::Settings`] if the shares exceed the server's `max_connections`, otherwise the error from Postgres.
pub async fn run(administrator: &Config, roles: &RoleSettings) -> Result<(), Error> {
    roles.validate()?;
    let mut session = Session::open(administrator).await?;
    check_shares(&session, roles).await?;
    let mut transaction =
        session.client.transaction().await.map_err(Error::transaction(TransactionStep::Begin))?;
    if let Err(error) = lock::take(&transaction, LOCK, lock::WAIT_MAX, true).await {
        transaction.rollback().await.map_err(Error::transaction(TransactionStep::RollBack))?;
        return Err(lock::explain(&session.client, LOCK_NAME, error).await);
    }
    make_roles(&transaction).await?;
    set_passwords(&transaction, roles).await?;
    let row = transaction
        .query_one(DIRECT_PATH.sql, &[&roles.direct_path])
        .await
        .map_err(Error::statement(DIRECT_PATH.file))?;
    run_text(&transaction, DIRECT_PATH.file, row.get(0)).await?;
    let row = transaction
        .query_one(REVOKED_FUNCTIONS.sql, &[&REVOKED.as_slice()])
        .await
        .map_err(Error::statement(REVOKED_FUNCTIONS.file))?;
    run_text(&transaction, REVOKED_FUNCTIONS.file, row.get(0)).await?;
    if roles.owns_server {
        let row =
            transaction.query_one(ELSEWHERE.sql, &[]).await.map_err(Error::statement(ELSEWHERE.file))?;
        run_text(&transaction, ELSEWHERE.file, row.get(0)).await?;
    }
    for login in logins()? {
        set_defaults(&mut transaction, login).await?;
    }
    transaction::commit_own(transaction).await
}

/// Creates the login roles, the owners and the groups, and sets the memberships.
async fn make_roles(transaction: &Transaction<'_>) -> Result<(), Error> {
    let Columns { names, inherit, member_of, is_member, .. } = Columns::of(|_| true, None)?;
    let row = transaction.query_one(LOGIN_ROLES.sql, &[&names]).await;
    let row = row.map_err(Error::statement(LOGIN_ROLES.file))?;
    run_text(transaction, LOGIN_ROLES.file, row.get(0)).await?;
    run_text(transaction, ROLES.file, ROLES.sql).await?;
    let row = transaction.query_one(MEMBERS.sql, &[&names, &inherit, &member_of, &is_member]).await;
    let row = row.map_err(Error::statement(MEMBERS.file))?;
    run_text(transaction, MEMBERS.file, row.get(0)).await
}

async fn run_text(transaction: &Transaction<'_>, file: &'static str, text: &str) -> Result<(), Error> {
    transaction.batch_execute(text).await.map_err(Error::statement(file))
}

/// Sets the roles' passwords. The verifiers are sent as COPY data, the only input that appears in neither the server's log
/// nor its statistics.
async fn set_passwords(transaction: &Transaction<'_>, roles: &RoleSettings) -> Result<(), Error> {
    run_text(transaction, UNTRACKED.file, UNTRACKED.sql).await?;
    run_text(transaction, LOGINS_TABLE.file, LOGINS_TABLE.sql).await?;
    let mut lines = String::new();
    for (role, LoginSettings { password, connections }) in &roles.logins {
        let verifier = scram_sha_256(password.expose_secret().as_bytes());
        // Writing to a string cannot fail.
        let _infallible = writeln!(lines, "{role}\t{verifier}\t{connections}");
    }
    let failed = Error::statement(LOGINS_FILL.file);
    let sink = transaction.copy_in(LOGINS_FILL.sql).await.map_err(&failed)?;
    let mut sink = std::pin::pin!(sink);
    sink.send(Cursor::new(lines.into_bytes())).await.map_err(&failed)?;
    sink.finish().await.map_err(&failed)?;
    run_text(transaction, LOGIN.file, LOGIN.sql).await
}

/// Resets all defaults of a role, including those it set for itself, and applies those of `roles.toml`. Skips a default that
/// this administrator may not set; [`drift`](crate::drift) reports it.
async fn set_defaults(transaction: &mut Transaction<'_>, login: &'static Login) -> Result<(), Error> {
    let texts = transaction.query(RESET.sql, &[&login.name]).await.map_err(Error::statement(RESET.file))?;
    for text in texts {
        run_text(transaction, RESET.file, text.get(0)).await?;
    }
    for (name, value) in login.settings() {
        let text = transaction.query_one(SETTING.sql, &[&login.name, &name, &value]).await;
        let text: String = text.map_err(Error::statement(SETTING.file))?.get(0);
        let not_allowed = [SqlState::INSUFFICIENT_PRIVILEGE];
        transaction::run_unless(transaction, SETTING.file, &text, &not_allowed).await?;
    }
    Ok(())
}

/// Whether the Blogs API may write engagement itself on this server; None if its role does not exist yet. Reads in a
/// read-only transaction.
///
/// # Errors
/// The error from Postgres.
pub async fn has_direct_path(database: &Config) -> Result<Option<bool>, Error> {
    let mut session = Session::open(database).await?;
    let transaction = session.read_only().await?;
    let row = transaction.query_opt(HAS_DIRECT_PATH.sql, &[]).await;
    Ok(row.map_err(Error::statement(HAS_DIRECT_PATH.file))?.map(|row| row.get("direct_path")))
}

/// The roles that are connected to the database, with the number of sessions of each.
///
/// # Errors
/// The error from Postgres.
pub async fn connected(session: &Session) -> Result<Vec<(String, i64)>, Error> {
    let names: Vec<_> = login_roles().collect();
    let rows = session.client.query(SESSIONS.sql, &[&names]).await;
    let rows = rows.map_err(Error::statement(SESSIONS.file))?;
    Ok(rows.iter().map(|row| (row.get("role"), row.get("sessions"))).collect())
}

async fn check_shares(session: &Session, roles: &RoleSettings) -> Result<(), Error> {
    let row =
        session.client.query_one(CONNECTIONS.sql, &[]).await.map_err(Error::statement(CONNECTIONS.file))?;
    let (max, superuser): (i32, i32) = (row.get("max_connections"), row.get("superuser_reserved"));
    let shares: i32 = roles.logins.values().map(|login| login.connections).sum();
    let room = max - superuser - roles.reserve_connections;
    if shares > room {
        return Err(Error::Settings(format!(
            "the roles may use {shares} connections in total, but the server has only {room} for them (max_connections \
             {max} minus {superuser} for superusers minus roles.reserve_connections {}): lower roles.*_connections or \
             raise max_connections",
            roles.reserve_connections
        )));
    }
    Ok(())
}
