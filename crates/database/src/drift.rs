//! Detects differences from what bootstrap and migrations create: attributes, memberships, limits and defaults of the login
//! roles, and the database's grants. `migrate --check` checks all roles, and each service checks its own, with the same
//! statement. The statement needs no right that a service's role lacks. Only a superuser could compare passwords.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::types::ToSql;

use crate::bootstrap::RoleSettings;
use crate::roles::{Columns, REVOKED};
use crate::session::Session;
use crate::{Error, Pool, Statement, within};

const DRIFT: Statement = crate::statement!("drift.sql");
const OWN_ROLE: Statement = crate::statement!("role_limit.sql");

/// The interval at which a service checks its own role.
const EVERY: Duration = Duration::from_secs(10);
/// Maximum wait for the answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

const REVOKED_NAMES: &[&str] = &REVOKED;

/// The differences of all roles and this database from the settings, one sentence each. Reads in a read-only transaction.
///
/// # Errors
/// The error from Postgres.
pub async fn of_all(database: &Config, roles: &RoleSettings) -> Result<Vec<String>, Error> {
    let columns = Columns::of(|_| true, Some(roles.direct_path))?;
    let connections: Vec<_> = columns.names.iter().map(|name| roles.connections(name)).collect();
    let mut session = Session::open(database).await?;
    let transaction = session.read_only().await?;
    let rows = transaction.query(DRIFT.sql, &parameters(&columns, &connections, &roles.owns_server)).await;
    Ok(rows.map_err(Error::statement(DRIFT.file))?.iter().map(|row| row.get("what")).collect())
}

/// The differences of the pool's own role. Its share of connections and the direct path are not known here and are not
/// compared.
///
/// # Errors
/// The error of the query; [`Error::NoAnswer`] after three seconds.
pub async fn of_own_role(pool: &Pool) -> Result<Vec<String>, Error> {
    within(ANSWER_MAX, async {
        let client = pool.get().await?;
        let own: String = OWN_ROLE.query_one(&client, &[]).await?.get("role");
        let columns = Columns::of(|name| name == own, None)?;
        let connections = vec![None; columns.names.len()];
        let rows = DRIFT.query(&client, &parameters(&columns, &connections, &false)).await?;
        Ok(rows.iter().map(|row| row.get("what")).collect())
    })
    .await
}

fn parameters<'a>(
    columns: &'a Columns,
    connections: &'a Vec<Option<i32>>,
    owns_server: &'a bool,
) -> [&'a (dyn ToSql + Sync); 10] {
    [
        &columns.names,
        &columns.inherit,
        connections,
        &columns.setting_roles,
        &columns.setting_names,
        &columns.setting_values,
        &columns.member_of,
        &columns.is_member,
        &REVOKED_NAMES,
        owns_server,
    ]
}

/// Checks the pool's own role every ten seconds until `stopped`. Reports nothing while the database does not answer.
pub async fn watch_own_role(
    pool: Pool,
    report: impl Fn(Result<(), String>),
    stopped: impl Future<Output = ()>,
) {
    let mut stopped = std::pin::pin!(stopped);
    loop {
        match of_own_role(&pool).await {
            Ok(differences) if differences.is_empty() => report(Ok(())),
            Ok(differences) => {
                report(Err(format!("{}: run `commonplace migrate`", differences.join("; "))));
            }
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "could not check this service's role"
                );
            }
        }
        tokio::select! {
            () = &mut stopped => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
