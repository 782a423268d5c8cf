//! `commonplace migrate`: roles and schema, and RabbitMQ's topology and users, in one step that can be repeated. Deployments run it before any
//! service of a new release starts.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use broker::{Administered, Administration};
use database::bootstrap::RoleSettings;
use runtime::settings::LogSettings;
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio_postgres::Config;

use crate::{defaults, schema, terminal};

const LONG: &str = "\
Make the roles and bring the schema up to date; harmless to repeat

DATABASE_URL names the administrator: a superuser, or a role that may create roles. The database is made if it does \
not exist. The roles' passwords come from the settings: COMMONPLACE__ROLES__BLOGS_API_PASSWORD and \
so on for each role (`commonplace settings migrate` lists them). Set COMMONPLACE__ROLES__DIRECT_PATH=true where the API may \
write engagement itself.

COMMONPLACE__RABBITMQ__MANAGEMENT_URL names RabbitMQ's management API with the login of an administrator. With it, the exchanges \
and queues are made, and a user for each service that uses RabbitMQ; their passwords are \
COMMONPLACE__RABBITMQ__BLOGS_API_PASSWORD and so on. Without it RabbitMQ is left as it is.

A database that was restored from a dump, or copied, is refused until `commonplace restore` has finished it.

A role may change its own password, limits and other defaults. Each run sets them again, at both levels (the role, and the \
role in this database); --check lists those that differ, except passwords, which only a superuser could compare.";

const EXAMPLES: &str = "\
Examples:
  DATABASE_URL=postgres://postgres@db.example.org/commonplace commonplace migrate
  commonplace migrate --config /etc/commonplace/migrate.toml
  commonplace migrate --check

Exit codes: 0 everything is as it should be; 1 it failed (the migration in hand is rolled back), the database is a copy \
that has to be finished first, --check found a difference, or an exchange or queue has another shape than this release \
needs; 2 wrong usage.";

/// Make the roles and bring the schema up to date; harmless to repeat
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A settings file, laid over the built-in defaults and under the environment
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change nothing: list pending migrations and what differs from the settings
    #[arg(long)]
    check: bool,
}

/// What the command reads. Sections that only services need may stand beside these: deployments give all
/// processes one environment.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    log: LogSettings,
    pub(crate) database: database::Settings,
    /// What `up` uses, too.
    pub(crate) roles: RoleSettings,
    /// As above.
    pub(crate) rabbitmq: Administration,
}

impl Settings {
    /// The settings, and the administrator's address in them, for the commands that an administrator runs.
    ///
    /// # Errors
    /// A setting that cannot be read, with where it stands.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<(Self, Config)> {
        let settings: Self = defaults::loader(defaults::MIGRATE).file(file).load()?;
        runtime::telemetry::init(&settings.log)?;
        let administrator = schema::administrator(settings.database.url.expose_secret())
            .context("database.url (DATABASE_URL) cannot be used")?;
        settings.refuse_shared_passwords(&administrator)?;
        Ok((settings, administrator))
    }

    /// Refuses a service that has its administrator's password: it could log in as the administrator.
    fn refuse_shared_passwords(&self, administrator: &Config) -> anyhow::Result<()> {
        let password = administrator.get_password().and_then(|password| std::str::from_utf8(password).ok());
        if let Some(role) = password.and_then(|password| self.roles.with_password(password)) {
            bail!(
                "roles.{role}_password is the password of the administrator in database.url (DATABASE_URL), so {role} could \
                 log in as the administrator: give it another"
            );
        }
        if let Some(user) = self.rabbitmq.with_administrators_password() {
            bail!(
                "rabbitmq.{user}_password is the password of the administrator in rabbitmq.management_url, so {user} could \
                 log in as the administrator: give it another"
            );
        }
        Ok(())
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (settings, administrator) = Settings::load(arguments.config.as_deref())?;
    if arguments.check {
        return check(&administrator, &settings.roles).await;
    }
    let prepared = schema::prepare(&administrator, &settings.roles).await?;
    if prepared.database_created {
        terminal::line(format_args!("database {} made", schema::name(&administrator)));
    }
    if prepared.differences.is_empty() {
        terminal::line("roles are as the settings say");
    }
    for difference in &prepared.differences {
        terminal::line(format_args!("this administrator cannot change: {difference}"));
    }
    if prepared.history_rewritten {
        terminal::line(
            "the schema is what the squashed migrations make: rewrote the history of the old ones",
        );
    }
    for migration in &prepared.migrations_applied {
        terminal::line(format_args!("applied {migration}"));
    }
    if prepared.migrations_applied.is_empty() {
        terminal::line("the schema was up to date");
    }
    if !settings.rabbitmq.is_wanted() {
        terminal::line("RabbitMQ is left as it is: rabbitmq.management_url is not set");
        return Ok(());
    }
    report(&administer(settings.rabbitmq).await?)
}

/// Makes RabbitMQ's exchanges, queues and users.
///
/// # Errors
/// What `broker::administer` says.
pub(crate) async fn administer(rabbitmq: Administration) -> anyhow::Result<Administered> {
    let administered = tokio::task::spawn_blocking(move || broker::administer(&rabbitmq));
    administered.await.context("a thread ended early")?.context("administering RabbitMQ")
}

/// Prints what was done on RabbitMQ, and fails when services may not work with what is there.
pub(crate) fn report(administered: &Administered) -> anyhow::Result<()> {
    for made in &administered.made {
        terminal::line(format_args!("RabbitMQ: made {made}"));
    }
    for leftover in &administered.leftovers {
        terminal::line(format_args!(
            "RabbitMQ: this release does not know the {leftover}; remove it if nothing needs it"
        ));
    }
    if !administered.differences.is_empty() {
        bail!(
            "RabbitMQ differs from what this release needs, and nothing was changed there:\n{}",
            administered.differences.join("\n")
        );
    }
    terminal::line("RabbitMQ's exchanges, queues and users are as the settings say");
    Ok(())
}

async fn check(administrator: &tokio_postgres::Config, roles: &RoleSettings) -> anyhow::Result<()> {
    let checked = schema::check(administrator, roles).await?;
    for migration in &checked.pending {
        terminal::line(format_args!("pending: {migration}"));
    }
    for difference in &checked.differences {
        terminal::line(format_args!("differs: {difference}"));
    }
    terminal::line("passwords are not compared: only a superuser could");
    if !roles.owns_server {
        terminal::line("roles may connect to other databases of the server (roles.owns_server is false)");
    }
    if !checked.is_clean() {
        bail!("the database is not as the settings say: run `commonplace migrate`");
    }
    terminal::line("roles and schema are as the settings say");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults::{MIGRATE, OPERATOR};

    /// The defaults alone, whatever the environment of the tests is.
    fn defaults<T: serde::de::DeserializeOwned>(of: runtime::settings::Defaults) -> T {
        runtime::settings::Loader::new(of).environment([]).load().unwrap()
    }

    /// The section that says how many connections a service holds.
    #[derive(Deserialize)]
    struct Pools {
        database: database::Settings,
    }

    #[test]
    fn the_pools_of_the_services_fit_into_their_roles_shares() {
        let Settings { roles, .. } = defaults(MIGRATE);
        let services = services::SERVICES.iter().map(|service| (service.role, service.defaults));
        for (role, of) in services.chain([("operator", OPERATOR)]) {
            let Pools { database } = defaults(of);
            let wanted = database.pool_max * database.instances_max;
            let share = roles.logins[role].connections;
            assert!(wanted <= usize::try_from(share).unwrap(), "{role}: {wanted} connections of {share}");
        }
        let shares: i32 = roles.logins.values().map(|login| login.connections).sum();
        // What a server has that nobody has configured: 100 connections, 3 of them for superusers.
        assert!(shares + roles.reserve_connections <= 97);
    }

    #[test]
    fn there_is_no_default_password() {
        let Settings { roles, rabbitmq, .. } = defaults(MIGRATE);
        assert!(!rabbitmq.is_wanted());
        let of_roles = roles.logins.values().map(|login| &login.password);
        let passwords: Vec<_> = of_roles.chain(rabbitmq.passwords.values()).collect();
        assert!(passwords.len() > 6 && passwords.iter().all(|password| password.expose_secret().is_empty()));
    }
}
