//! `commonplace migrate`: makes roles and schema, and RabbitMQ's topology and users. It is idempotent; deployments run it before
//! a service of a new release starts.

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
Make the roles and bring the schema up to date; safe to repeat

DATABASE_URL is the administrator's: a superuser, or a role that may create roles. The command makes the database if it does \
not exist. The roles' passwords come from the settings: COMMONPLACE__ROLES__BLOGS_API_PASSWORD and \
so on for each role (`commonplace settings migrate` lists them). COMMONPLACE__ROLES__DIRECT_PATH=true allows the Blogs API \
to write engagement itself.

COMMONPLACE__RABBITMQ__MANAGEMENT_URL is RabbitMQ's management API with an administrator's login. If it is set, the command \
makes the exchanges and queues, and a user for each service that uses RabbitMQ, with the passwords \
COMMONPLACE__RABBITMQ__BLOGS_API_PASSWORD and so on. Otherwise it does not touch RabbitMQ.

The command refuses a database that was restored from a dump, or copied, until `commonplace restore` has finished it.

A role can change its own password, limits and other defaults. Each run resets them, both for the role and for the role in \
this database. --check lists the differences, except for passwords, which only a superuser could compare.";

const EXAMPLES: &str = "\
Examples:
  DATABASE_URL=postgres://postgres@db.example.org/commonplace commonplace migrate
  commonplace migrate --config /etc/commonplace/migrate.toml
  commonplace migrate --check

Exit codes: 0 roles, schema and RabbitMQ match the settings; 1 a step failed (a failed migration is rolled back), the \
database is a copy that `commonplace restore` has not finished, --check found a difference, or an exchange or queue differs \
from what this release needs; 2 wrong usage.";

/// Make the roles and bring the schema up to date; safe to repeat
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A settings file, which overrides the built-in defaults; the environment overrides it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change nothing; list pending migrations and differences from the settings
    #[arg(long)]
    check: bool,
}

/// The settings of the command. The environment may also contain sections that only services need, because deployments give
/// all processes the same one.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    log: LogSettings,
    pub(crate) database: database::Settings,
    /// Also used by `up`.
    pub(crate) roles: RoleSettings,
    /// Also used by `up`, like the roles.
    pub(crate) rabbitmq: Administration,
}

impl Settings {
    /// Loads the settings of an administrator's command, and the administrator's address in them.
    ///
    /// # Errors
    /// If a setting cannot be read; the error gives its origin.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<(Self, Config)> {
        let settings: Self = defaults::loader(defaults::MIGRATE).file(file).load()?;
        runtime::telemetry::init(&settings.log)?;
        let administrator = schema::administrator(settings.database.url.expose_secret())
            .context("database.url (DATABASE_URL) cannot be used")?;
        settings.refuse_shared_passwords(&administrator)?;
        Ok((settings, administrator))
    }

    /// Refuses settings in which a service has the administrator's password, with which it could log in as the administrator.
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
            "the schema equals that of the squashed migrations: replaced the history of the old ones",
        );
    }
    for migration in &prepared.migrations_applied {
        terminal::line(format_args!("applied {migration}"));
    }
    if prepared.migrations_applied.is_empty() {
        terminal::line("the schema was up to date");
    }
    if !settings.rabbitmq.is_wanted() {
        terminal::line("RabbitMQ was not changed: rabbitmq.management_url is not set");
        return Ok(());
    }
    report(&administer(settings.rabbitmq).await?)
}

/// Makes RabbitMQ's exchanges, queues and users.
///
/// # Errors
/// The error of `broker::administer`.
pub(crate) async fn administer(rabbitmq: Administration) -> anyhow::Result<Administered> {
    let administered = tokio::task::spawn_blocking(move || broker::administer(&rabbitmq));
    administered.await.context("a thread ended early")?.context("administering RabbitMQ")
}

/// Prints what was made on RabbitMQ. Fails if an exchange or queue differs from what services need.
pub(crate) fn report(administered: &Administered) -> anyhow::Result<()> {
    for made in &administered.made {
        terminal::line(format_args!("RabbitMQ: made {made}"));
    }
    for leftover in &administered.leftovers {
        terminal::line(format_args!(
            "RabbitMQ: this release does not use the {leftover}; remove it if no other system does"
        ));
    }
    if !administered.differences.is_empty() {
        bail!(
            "RabbitMQ differs from what this release needs, and the command has not changed that:\n{}",
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
        bail!("the database differs from the settings: run `commonplace migrate`");
    }
    terminal::line("roles and schema are as the settings say");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults::{MIGRATE, OPERATOR};

    /// The defaults alone, without the environment of the tests.
    fn defaults<T: serde::de::DeserializeOwned>(of: runtime::settings::Defaults) -> T {
        runtime::settings::Loader::new(of).environment([]).load().unwrap()
    }

    /// The section that says how many connections a service holds.
    #[derive(Deserialize)]
    struct Pools {
        database: database::Settings,
    }

    #[test]
    fn pools_of_services_fit_into_their_roles_connection_limits() {
        let Settings { roles, .. } = defaults(MIGRATE);
        let services = services::SERVICES.iter().map(|service| (service.role, service.defaults));
        for (role, of) in services.chain([("operator", OPERATOR)]) {
            let Pools { database } = defaults(of);
            let wanted = database.pool_max * database.instances_max;
            let share = roles.logins[role].connections;
            assert!(wanted <= usize::try_from(share).unwrap(), "{role}: {wanted} connections of {share}");
        }
        let shares: i32 = roles.logins.values().map(|login| login.connections).sum();
        // An unconfigured server has 100 connections, 3 of them for superusers.
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
