//! The roles of a cluster. They belong to the whole cluster, not to a database, so they are made here and not
//! by a migration. Running it again is harmless: it sets everything to what the settings say,
//! including defaults that a role changed by itself.
//!
//! Owners and groups cannot log in; each service logs in as itself. Limits that a role could lift by itself
//! (statement, lock and idle timeouts) are defaults set on the role; the connection limit is one it cannot lift.

use std::fmt::Write;
use std::io::Cursor;

use configuration::{Bound, bound};
use futures_util::SinkExt;
use postgres_protocol::password::scram_sha_256;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Transaction};

use crate::roles::{LOGINS, Login, REVOKED};
use crate::session::Session;
use crate::{Error, Statement, TransactionStep, lock, transaction};

const ROLES: Statement = crate::statement!("bootstrap_roles.sql");
const LOCK: Statement = crate::statement!("bootstrap_lock.sql");
const LOCK_NAME: &str = "commonplace.bootstrap";
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

/// The most connections that Postgres can be told to take.
const CONNECTIONS_MAX: u64 = 262_143;

/// Bounds of the `[roles]` section.
pub const BOUNDS: &[Bound] = &[
    bound("roles.blogs_api_connections", 1..=CONNECTIONS_MAX),
    bound("roles.analytics_worker_connections", 1..=CONNECTIONS_MAX),
    bound("roles.notification_worker_connections", 1..=CONNECTIONS_MAX),
    bound("roles.recommendation_api_connections", 1..=CONNECTIONS_MAX),
    bound("roles.operator_connections", 1..=CONNECTIONS_MAX),
    bound("roles.console_connections", 1..=CONNECTIONS_MAX),
    bound("roles.reserve_connections", 1..=CONNECTIONS_MAX),
];

/// The `[roles]` section: what each login role may do and with which password.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSettings {
    /// Password of `blogs_api`.
    pub blogs_api_password: SecretString,
    /// Most connections of all Blogs API processes together.
    pub blogs_api_connections: i32,
    /// Password of `analytics_worker`.
    pub analytics_worker_password: SecretString,
    /// Most connections of all Analytics workers together.
    pub analytics_worker_connections: i32,
    /// Password of `notification_worker`.
    pub notification_worker_password: SecretString,
    /// Most connections of all notification workers together.
    pub notification_worker_connections: i32,
    /// Password of `recommendation_api`.
    pub recommendation_api_password: SecretString,
    /// Most connections of all Recommendation API processes together.
    pub recommendation_api_connections: i32,
    /// Password of `operator`.
    pub operator_password: SecretString,
    /// Most connections of operators' commands.
    pub operator_connections: i32,
    /// Password of `console`.
    pub console_password: SecretString,
    /// Most connections of consoles.
    pub console_connections: i32,
    /// Connections of the server that no service may have: for the administrator and for maintenance.
    pub reserve_connections: i32,
    /// Whether the Blogs API may write engagement itself.
    pub direct_path: bool,
    /// Whether the server has no other purpose.
    pub owns_server: bool,
}

impl RoleSettings {
    /// The first role that has this password.
    #[must_use]
    pub fn with_password(&self, password: &str) -> Option<&'static str> {
        self.logins().into_iter().find(|(_, own, _)| own.expose_secret() == password).map(|(role, ..)| role)
    }

    fn logins(&self) -> [(&'static str, &SecretString, i32); 6] {
        let [blogs, analytics, notification, recommendation, operator, console] =
            LOGINS.map(|login| login.name);
        [
            (blogs, &self.blogs_api_password, self.blogs_api_connections),
            (analytics, &self.analytics_worker_password, self.analytics_worker_connections),
            (notification, &self.notification_worker_password, self.notification_worker_connections),
            (recommendation, &self.recommendation_api_password, self.recommendation_api_connections),
            (operator, &self.operator_password, self.operator_connections),
            (console, &self.console_password, self.console_connections),
        ]
    }

    /// The connections that a role may hold.
    pub(crate) fn connections(&self, role: &str) -> Option<i32> {
        self.logins().into_iter().find(|(name, ..)| *name == role).map(|(_, _, connections)| connections)
    }

    fn validate(&self) -> Result<(), Error> {
        for (role, password, _) in self.logins() {
            if password.expose_secret().is_empty() {
                return Err(Error::Settings(format!(
                    "roles.{role}_password is empty: give the role a password"
                )));
            }
        }
        Ok(())
    }
}

/// Makes the roles, or brings them to what the settings say. Needs a superuser, or a role that may create roles
/// and grant the owners to itself.
///
/// # Errors
/// [`Error::Settings`] when the shares do not fit into the server's `max_connections`, else what Postgres said.
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
    run_text(&transaction, ROLES.file, ROLES.sql).await?;
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
    for login in &LOGINS {
        set_defaults(&mut transaction, login).await?;
    }
    transaction::commit_own(transaction).await
}

async fn run_text(transaction: &Transaction<'_>, file: &'static str, text: &str) -> Result<(), Error> {
    transaction.batch_execute(text).await.map_err(Error::statement(file))
}

/// Gives the roles their passwords. The verifiers travel as the data of a COPY, the one way into a statement that neither the
/// log nor the statistics of the server show.
async fn set_passwords(transaction: &Transaction<'_>, roles: &RoleSettings) -> Result<(), Error> {
    run_text(transaction, UNTRACKED.file, UNTRACKED.sql).await?;
    run_text(transaction, LOGINS_TABLE.file, LOGINS_TABLE.sql).await?;
    let mut lines = String::new();
    for (role, password, connections) in roles.logins() {
        let verifier = scram_sha_256(password.expose_secret().as_bytes());
        // Writing to a string does not fail.
        let _infallible = writeln!(lines, "{role}\t{verifier}\t{connections}");
    }
    let failed = Error::statement(LOGINS_FILL.file);
    let sink = transaction.copy_in(LOGINS_FILL.sql).await.map_err(&failed)?;
    let mut sink = std::pin::pin!(sink);
    sink.send(Cursor::new(lines.into_bytes())).await.map_err(&failed)?;
    sink.finish().await.map_err(&failed)?;
    run_text(transaction, LOGIN.file, LOGIN.sql).await
}

/// Takes every default from a role, also those that it gave itself, and gives it those of [`LOGINS`]. A default that this
/// administrator may not set is left out; [`drift`](crate::drift) reports it.
async fn set_defaults(transaction: &mut Transaction<'_>, login: &Login) -> Result<(), Error> {
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

/// Whether the Blogs API may write engagement itself on this server; nothing where its role is not made yet. Read in
/// a transaction that may not write.
///
/// # Errors
/// What Postgres said.
pub async fn has_direct_path(database: &Config) -> Result<Option<bool>, Error> {
    let mut session = Session::open(database).await?;
    let transaction = session.read_only().await?;
    let row = transaction.query_opt(HAS_DIRECT_PATH.sql, &[]).await;
    Ok(row.map_err(Error::statement(HAS_DIRECT_PATH.file))?.map(|row| row.get("direct_path")))
}

/// The roles that are connected to the database, each with the number of its sessions.
///
/// # Errors
/// What Postgres said.
pub async fn connected(session: &Session) -> Result<Vec<(String, i64)>, Error> {
    let names = LOGINS.map(|login| login.name);
    let rows = session.client.query(SESSIONS.sql, &[&names.as_slice()]).await;
    let rows = rows.map_err(Error::statement(SESSIONS.file))?;
    Ok(rows.iter().map(|row| (row.get("role"), row.get("sessions"))).collect())
}

async fn check_shares(session: &Session, roles: &RoleSettings) -> Result<(), Error> {
    let row =
        session.client.query_one(CONNECTIONS.sql, &[]).await.map_err(Error::statement(CONNECTIONS.file))?;
    let (max, superuser): (i32, i32) = (row.get("max_connections"), row.get("superuser_reserved"));
    let shares: i32 = roles.logins().iter().map(|(_, _, connections)| connections).sum();
    let room = max - superuser - roles.reserve_connections;
    if shares > room {
        return Err(Error::Settings(format!(
            "the roles may hold {shares} connections together, but the server has room for {room} (max_connections \
             {max}, less {superuser} for superusers, less roles.reserve_connections {}): lower roles.*_connections \
             or raise max_connections",
            roles.reserve_connections
        )));
    }
    Ok(())
}
