//! Operations on the private servers that every measurement uses.

use broker::Administration;
use database::bootstrap::RoleSettings;
use secrecy::{ExposeSecret, SecretString};
use stack::Stack;
use tokio_postgres::Config;

use crate::tables::Tables;

/// Runs code that blocks, such as that of the private servers.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Broker settings of this process.
pub(crate) fn broker_settings(amqp_url: &str) -> broker::Settings {
    broker::Settings {
        url: amqp_url.into(),
        connect_timeout_ms: 10_000,
        answer_timeout_ms: 10_000,
        heartbeat_s: 10,
        backoff_min_ms: 100,
        backoff_max_ms: 1000,
        waiting_max: 256,
        waiting_bytes_max: 256 * events::ENVELOPE_BYTES_MAX,
        unconfirmed_max: 64,
        confirm_timeout_ms: 10_000,
    }
}

/// A vhost for a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VhostError {
    /// The private server.
    #[error(transparent)]
    Stack(#[from] stack::Error),
    /// Its exchanges, queues and users.
    #[error(transparent)]
    Administer(#[from] broker::AdministerError),
}

/// Makes a vhost with the topology and with the services' users, who have their roles' passwords. Returns its address as the
/// administrator. It blocks.
///
/// # Errors
/// If RabbitMQ does not answer or refuses.
pub fn make_vhost(stack: &Stack, name: &str, roles: &RoleSettings) -> Result<String, VhostError> {
    let url = stack.create_vhost(name)?;
    broker::administer(&Administration {
        management_url: stack.management_url().into(),
        vhost: name.to_owned(),
        passwords: broker::users().map(|user| (user.to_owned(), roles.password(user).clone())).collect(),
        connections_max: CONNECTIONS_MAX,
    })?;
    Ok(url)
}

/// A database and a vhost of one measurement.
pub(crate) struct Prepared {
    pub(crate) database: Config,
    /// The vhost's address as the administrator.
    pub(crate) amqp_url: String,
    pub(crate) tables: Tables,
}

/// A measurement's database or vhost could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The database refused something.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The vhost.
    #[error(transparent)]
    Vhost(#[from] VhostError),
}

/// Makes a database with the schema, and a vhost, both of this name. The roles must exist.
pub(crate) async fn prepare(
    stack: &Stack,
    administrator: &Config,
    roles: &RoleSettings,
    name: &str,
) -> Result<Prepared, PrepareError> {
    Tables::open(administrator).await?.create_database(name).await?;
    let amqp_url = blocking(|| make_vhost(stack, name, roles))?;
    let database = administrator.clone().dbname(name).clone();
    database::migrations::run(&database).await?;
    let tables = Tables::open(&database).await?;
    Ok(Prepared { database, amqp_url, tables })
}

/// More than deliberate faults leave behind.
const CONNECTIONS_MAX: u32 = 4096;

/// That address for a service's user. A service without a user gets an address that it never uses.
pub fn amqp_url_of(administrator: &str, user: &str, password: &SecretString) -> String {
    broker::url_of(administrator, user, password).unwrap_or_default()
}

/// The address of this database for a role. The password must be of letters and digits.
pub(crate) fn url(database: &Config, role: &str, password: &SecretString) -> String {
    let port = database.get_ports().first().copied().unwrap_or(5432);
    let name = database.get_dbname().unwrap_or_default();
    format!("postgres://{role}:{}@127.0.0.1:{port}/{name}", password.expose_secret())
}
