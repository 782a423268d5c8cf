//! Makes the database, the roles and the schema of this build. Each step changes only what is missing or differs.

use std::fmt::Write;

use anyhow::{Context, anyhow, bail};
use database::bootstrap::RoleSettings;
use database::home::{self, Home};
use database::{Session, Statement, bootstrap, drift, migrations};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

const CREATE_DATABASE: Statement = database::statement!("administrator/create_database.sql");
/// The database to connect to while making another one.
const MAINTENANCE_DATABASE: &str = "postgres";
/// SQLSTATE `invalid_catalog_name`: there is no database with this name.
const NO_SUCH_DATABASE: &str = "3D000";
const PORT: u16 = 5432;

/// What [`prepare`] did.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// True if the database was missing.
    pub(crate) database_created: bool,
    /// The history of old migrations was rewritten for the squashed ones.
    pub(crate) history_rewritten: bool,
    /// In order, such as `V1__owners`.
    pub(crate) migrations_applied: Vec<String>,
    /// Differences from the settings that this administrator may not change.
    pub(crate) differences: Vec<String>,
}

/// What [`check`] found.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Migrations of this build that the database does not have, in order.
    pub(crate) pending: Vec<String>,
    /// Differences of roles and grants from the settings.
    pub(crate) differences: Vec<String>,
}

impl Checked {
    /// True if there is nothing to do.
    pub(crate) fn is_clean(&self) -> bool {
        self.pending.is_empty() && self.differences.is_empty()
    }
}

/// Compares the database with this build and its roles with the settings, and changes nothing.
///
/// # Errors
/// The error of Postgres.
pub(crate) async fn check(administrator: &Config, roles: &RoleSettings) -> anyhow::Result<Checked> {
    let pending = migrations::pending(administrator).await?;
    Ok(Checked { pending, differences: drift::of_all(administrator, roles).await? })
}

/// Reads an administrator's URL. The URL is not part of the error: it holds a password.
pub(crate) fn administrator(url: &str) -> anyhow::Result<Config> {
    let config: Config = url
        .parse()
        .map_err(|_| anyhow!("it is not an address such as postgres://user:password@host/database"))?;
    if config.get_hosts().is_empty() {
        return Err(anyhow!("it names no host"));
    }
    Ok(config)
}

/// The database that the configuration names.
pub(crate) fn name(config: &Config) -> &str {
    config.get_dbname().or_else(|| config.get_user()).unwrap_or(MAINTENANCE_DATABASE)
}

/// Makes the database, the roles and the schema, as far as they are missing.
///
/// # Errors
/// If the database is a copy that `commonplace restore` has not finished; or the error of Postgres with the failed step.
pub(crate) async fn prepare(administrator: &Config, roles: &RoleSettings) -> anyhow::Result<Prepared> {
    let database_created = create_missing(administrator).await?;
    let session = Session::open(administrator).await?;
    let home = home::of(&session).await?;
    if home == Home::Elsewhere {
        bail!(
            "database {} is a copy of another one, such as a restored dump, or its restore was interrupted. Ids and tokens \
             that were given out since the copy was made would be given out again: run `commonplace restore` first",
            name(administrator)
        );
    }
    bootstrap::run(administrator, roles).await.context("making the roles")?;
    let report = migrations::run(administrator).await?;
    if home == Home::Unmarked {
        home::mark(&session).await?;
    }
    let differences = drift::of_all(administrator, roles).await.context("comparing the roles")?;
    Ok(Prepared {
        database_created,
        history_rewritten: report.taken_over,
        migrations_applied: report.applied,
        differences,
    })
}

/// The URL of a role on the administrator's database.
pub(crate) fn url(administrator: &Config, role: &str, password: &str) -> String {
    let (role, password) = (escaped(role), escaped(password));
    format!("postgres://{role}:{password}@{}/{}", servers(administrator), escaped(name(administrator)))
}

/// Hosts and ports in the syntax of a URL.
fn servers(config: &Config) -> String {
    let servers = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let ports = config.get_ports();
        let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(PORT);
        match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(folder) => format!("{}:{port}", escaped(&folder.to_string_lossy())),
        }
    });
    servers.collect::<Vec<_>>().join(",")
}

/// Makes the database that the configuration names if it is missing, and returns whether it did.
///
/// # Errors
/// The error of Postgres.
pub(crate) async fn create_missing(administrator: &Config) -> anyhow::Result<bool> {
    match Session::open(administrator).await {
        Ok(_there) => return Ok(false),
        Err(error) if error.sqlstate() == Some(NO_SUCH_DATABASE) => {}
        Err(error) => return Err(error).with_context(|| format!("preparing {}", servers(administrator))),
    }
    let mut maintenance = administrator.clone();
    maintenance.dbname(MAINTENANCE_DATABASE);
    let session = Session::open(&maintenance).await?;
    let row = session.client.query_one(CREATE_DATABASE.sql, &[&name(administrator)]).await;
    let statement: String = row.context(CREATE_DATABASE.file)?.get(0);
    session.run(CREATE_DATABASE.file, &statement).await?;
    Ok(true)
}

/// Percent-encodes every character that is not safe in all parts of a URL.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _infallible = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_of_a_role_names_the_same_server() {
        for (given, host, port) in [
            ("postgres://root:x@127.0.0.1:5433/blogs", "127.0.0.1", 5433),
            ("postgres://root@example.org/blogs", "example.org", 5432),
            ("postgres://root@[::1]:6000/blogs", "::1", 6000),
            ("host=db.example.org port=7000 user=root dbname=blogs", "db.example.org", 7000),
        ] {
            let config = administrator(given).unwrap();
            let read: Config = url(&config, "blogs_api", "a/b:c@d").parse().unwrap();
            assert_eq!(read.get_hosts(), [Host::Tcp(host.to_owned())], "{given}");
            assert_eq!(read.get_ports(), [port], "{given}");
            assert_eq!((read.get_user(), read.get_dbname()), (Some("blogs_api"), Some("blogs")));
            assert_eq!(read.get_password(), Some(&b"a/b:c@d"[..]));
        }
    }

    #[test]
    fn url_of_a_role_keeps_a_socket_folder() {
        let config = administrator("host=/var/run/postgresql user=root dbname=blogs").unwrap();
        let read: Config = url(&config, "operator", "secret").parse().unwrap();
        assert_eq!(read.get_hosts(), [Host::Unix("/var/run/postgresql".into())]);
    }

    #[test]
    fn invalid_url_is_refused_without_repeating_it() {
        for wrong in ["postgres://root:hidden@host:port/blogs", "hidden", "user=hidden"] {
            let sentence = format!("{:#}", administrator(wrong).unwrap_err());
            assert!(!sentence.contains("hidden"), "{sentence}");
        }
    }
}
