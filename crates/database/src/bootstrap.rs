//! The roles of a cluster. They belong to the whole cluster, not to a database, so they are made here and not
//! by a migration. Running it again is harmless: it sets everything to what the settings say.
//!
//! Owners and groups cannot log in; each service logs in as itself. Limits that a role could lift by itself
//! (statement, lock and idle timeouts) are defaults set on the role; the connection limit is one it cannot lift.

use postgres_protocol::password::scram_sha_256;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio_postgres::Config;

use crate::session::Session;
use crate::{Error, Statement};

const ROLES: Statement = crate::statement!("bootstrap_roles.sql");
const LOCK: Statement = crate::statement!("bootstrap_lock.sql");
const LOGIN: Statement = crate::statement!("bootstrap_login.sql");
const DIRECT_PATH: Statement = crate::statement!("bootstrap_direct_path.sql");
const HAS_DIRECT_PATH: Statement = crate::statement!("bootstrap_has_direct_path.sql");
const CONNECTIONS: Statement = crate::statement!("connection_shares.sql");
const SESSIONS: Statement = crate::statement!("bootstrap_sessions.sql");

/// The roles that log in.
const LOGINS: [&str; 6] =
    ["blogs_api", "analytics_worker", "notification_worker", "recommendation_api", "operator", "console"];

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
}

impl RoleSettings {
    fn logins(&self) -> [(&'static str, &SecretString, i32); 6] {
        let [blogs, analytics, notification, recommendation, operator, console] = LOGINS;
        [
            (blogs, &self.blogs_api_password, self.blogs_api_connections),
            (analytics, &self.analytics_worker_password, self.analytics_worker_connections),
            (notification, &self.notification_worker_password, self.notification_worker_connections),
            (recommendation, &self.recommendation_api_password, self.recommendation_api_connections),
            (operator, &self.operator_password, self.operator_connections),
            (console, &self.console_password, self.console_connections),
        ]
    }

    fn validate(&self) -> Result<(), Error> {
        for (role, password, connections) in self.logins() {
            if password.expose_secret().is_empty() {
                return Err(Error::Settings(format!(
                    "roles.{role}_password is empty: give the role a password"
                )));
            }
            if connections < 1 {
                return Err(Error::Settings(format!("roles.{role}_connections must be at least 1")));
            }
        }
        if self.reserve_connections < 1 {
            return Err(Error::Settings("roles.reserve_connections must be at least 1".to_owned()));
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
    let transaction = session.client.transaction().await.map_err(Error::transaction("beginning"))?;
    let run = |file, text: String| {
        let transaction = &transaction;
        async move { transaction.batch_execute(&text).await.map_err(Error::statement(file)) }
    };
    run(LOCK.file, LOCK.sql.to_owned()).await?;
    run(ROLES.file, ROLES.sql.to_owned()).await?;
    for (role, password, connections) in roles.logins() {
        // The verifier is computed here, so that no password stands in the server's log.
        let verifier = scram_sha_256(password.expose_secret().as_bytes());
        let row = transaction
            .query_one(LOGIN.sql, &[&role, &verifier, &connections])
            .await
            .map_err(Error::statement(LOGIN.file))?;
        run(LOGIN.file, row.get(0)).await?;
    }
    let row = transaction
        .query_one(DIRECT_PATH.sql, &[&roles.direct_path])
        .await
        .map_err(Error::statement(DIRECT_PATH.file))?;
    run(DIRECT_PATH.file, row.get(0)).await?;
    transaction.commit().await.map_err(Error::transaction("committing"))
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
    let rows = session.client.query(SESSIONS.sql, &[&LOGINS.as_slice()]).await;
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
