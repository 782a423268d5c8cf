//! `commonplace contract check`: checks whether the pending migrations would break a service. Postgres itself checks each
//! statement under its service's role, in a private cluster that is deleted afterwards. `--on-server` does without one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, bail};
use database::contract::{Breakage, Part, Report};
use database::migrations::{self, Schema};
use database::{Contract, bootstrap, contract};
use refinery::Migration;
use runtime::service::Statements;
use runtime::settings;
use services::SERVICES;
use tokio_postgres::Config;

use crate::terminal::{self, Progress};
use crate::{defaults, migrate, operator, schema};

/// Name of the private cluster's database if no address names one.
const DATABASE: &str = "commonplace";

const LONG: &str = "\
Prepare and explain every statement under its service's role, before and after the pending migrations, and check \
that each role can still log in

The check runs the migrations in a private PostgreSQL cluster that it makes for the run and deletes. It only reads from \
DATABASE_URL, in read-only transactions: which migrations are in force there, and whether the Blogs API may write \
engagement itself. It also checks commands on roles in a migration.

With --on-server the check runs them in a scratch database on the server of DATABASE_URL instead, for environments that \
cannot start a private cluster, such as a container. Roles and settings belong to the whole server. So before it runs \
anything, the check refuses migrations with commands on roles or settings, with `alter system` or with COMMIT. It also \
compares roles and settings before and after a migration, and rolls back a migration that changes them.";

const EXAMPLES: &str = "\
Examples:
  commonplace contract check                          checks this build's newest migration against its statements
  commonplace contract check --migrations migrations  does the same for the files in a folder
  commonplace contract check --deployed 4             treats every version after 4 as pending
  DATABASE_URL=postgres://… commonplace contract check   treats what that database lacks as pending; only reads it
  DATABASE_URL=postgres://… commonplace contract check --on-server   does the same in a scratch database on that server

Exit codes: 0 nothing breaks, 1 something breaks (named by service and file or role), or the check refused or could not \
run, 2 wrong usage.";

/// Check the services' statements against the schema
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prepare and explain every statement under its service's role, before and after the pending migrations
    #[command(long_about = LONG, after_help = EXAMPLES)]
    Check(Check),
}

#[derive(Debug, clap::Args)]
struct Check {
    /// Folder with migrations and `grants.sql`, instead of those of this build
    #[arg(long, value_name = "FOLDER")]
    migrations: Option<PathBuf>,
    /// The deployed database, which says which migrations are in force; with --on-server a superuser's address, because the
    /// check acts as every service's role
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The version in force; later ones are pending [default: the version of the database, or without a database all but the
    /// newest]
    #[arg(long, value_name = "VERSION")]
    deployed: Option<i32>,
    /// Run the migrations in a scratch database on the server of `DATABASE_URL` instead of a private cluster; run
    /// `commonplace migrate` there first, which makes the roles
    #[arg(long, requires = "database_url")]
    on_server: bool,
}

/// The input of a check, private or on a server.
struct Question {
    all: Schema,
    /// The deployed database, if there is one.
    database: Option<Config>,
    deployed: Option<i32>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Command::Check(check) = arguments.command;
    let progress = Progress::new();
    let all = match &check.migrations {
        Some(folder) => Schema::in_folder(folder).with_context(|| format!("reading {}", folder.display()))?,
        None => Schema::embedded(),
    };
    let database = check.database_url.as_deref().map(schema::administrator).transpose();
    let database = database.context("DATABASE_URL cannot be used")?;
    let question = Question { all, database, deployed: check.deployed };
    let report = if check.on_server {
        on_server(&question, &progress).await
    } else {
        // Dropping the check deletes the private cluster.
        tokio::select! {
            report = Box::pin(privately(&question, &progress)) => report,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    };
    progress.rest();
    show(&report?)
}

impl Question {
    /// The version in force.
    async fn deployed(&self) -> anyhow::Result<i32> {
        match (self.deployed, &self.database) {
            (Some(version), _) => Ok(version),
            (None, Some(database)) => migrations::deployed(database).await.context(
                "reading from DATABASE_URL which migrations are in force (or give the version with --deployed)",
            ),
            (None, None) => {
                Ok(self.all.migrations.iter().map(Migration::version).max().unwrap_or_default() - 1)
            }
        }
    }

    /// Whether the direct path is enabled. If unknown, it counts as enabled, so that its statements are checked.
    async fn direct_path(&self) -> anyhow::Result<bool> {
        match (self.deployed, &self.database) {
            (None, Some(database)) => Ok(bootstrap::has_direct_path(database).await?.unwrap_or(true)),
            _ => Ok(true),
        }
    }
}

async fn on_server(question: &Question, progress: &Progress) -> anyhow::Result<Report> {
    let administrator = question.database.as_ref().context("--on-server needs DATABASE_URL")?;
    let deployed = question.deployed().await?;
    progress.now("checking the statements of every service in a scratch database on the server");
    let report = contract::check_on_server(administrator, &contracts(), &question.all, deployed).await;
    report.map_err(|error| match error {
        database::Error::Refused(_) | database::Error::ChangesServer { .. } => {
            anyhow::anyhow!("{error}\nLeave out --on-server to check them in a private cluster.")
        }
        error => error.into(),
    })
}

async fn privately(question: &Question, progress: &Progress) -> anyhow::Result<Report> {
    let deployed = question.deployed().await?;
    let direct_path = question.direct_path().await?;
    let folder = tempfile::tempdir()
        .context("making a folder for a private PostgreSQL (--on-server does without one)")?;
    let mut options = stack::Options::new(folder.path());
    options.durable = false;
    let said = progress.clone();
    // The folder is deleted after the server, even if the start is interrupted.
    let start = move || {
        let postgres = stack::Postgres::start(&options, &mut |line| said.now(line))?;
        Ok::<_, stack::Error>((postgres.for_one_run(), folder))
    };
    let started = tokio::task::spawn_blocking(start).await?;
    let (postgres, _folder) =
        started.context("starting a private PostgreSQL (--on-server does without one)")?;

    let mut private = schema::administrator(&postgres.url())?;
    // With the name of the deployed database, because a migration may name it.
    private.dbname(question.database.as_ref().map_or(DATABASE, schema::name));
    schema::create_missing(&private).await?;
    bootstrap::run(&private, &roles(direct_path)?).await.context("making the roles")?;
    progress.now("checking the statements of every service");
    Ok(contract::check(&private, &contracts(), &question.all, deployed).await?)
}

/// The roles with the default settings. The passwords are never used.
fn roles(direct_path: bool) -> anyhow::Result<bootstrap::RoleSettings> {
    let password = || format!("{:032x}", rand::random::<u128>());
    let loader =
        settings::Loader::new(defaults::MIGRATE).environment([]).set("roles.direct_path", direct_path);
    let loader = bootstrap::login_roles()
        .fold(loader, |loader, role| loader.set(format!("roles.{role}_password"), password()));
    let settings: migrate::Settings = loader.load()?;
    Ok(settings.roles)
}

/// Every statement that a service or an operator may send, with its role.
fn contracts() -> Vec<Contract> {
    let of_services = SERVICES.iter().flat_map(|service| {
        service.statements.iter().map(|&Statements { sql, where_member_of }| {
            let (group, called) = where_member_of.unzip();
            let called = called.unwrap_or(service.name);
            Contract { service: called, role: service.role, sql, where_member_of: group }
        })
    });
    let of_operators =
        |role, sql| Contract { service: "operators' commands", role, sql, where_member_of: None };
    let of_operators = [
        of_operators("operator", &operator::SQL),
        // A redrive first switches to the role that writes engagement.
        of_operators("engagement_writer", &engagement::SQL),
    ];
    of_services.chain(of_operators).collect()
}

fn show(report: &Report) -> anyhow::Result<()> {
    match report.pending.as_slice() {
        [] => terminal::line("no migration is pending"),
        pending => terminal::line(format_args!("pending: {}", pending.join(", "))),
    }
    let mut services: BTreeMap<&str, usize> = BTreeMap::new();
    for (service, _) in &report.checked {
        *services.entry(service).or_default() += 1;
    }
    for (service, statements) in services {
        terminal::line(format_args!("checked {statements:>3} statements of {service}"));
    }
    for (service, reason) in &report.left_out {
        terminal::line(format_args!("left out {service}: {reason}"));
    }
    if report.broken.is_empty() {
        terminal::line("nothing breaks");
        return Ok(());
    }
    let row = |breakage: &Breakage| {
        [breakage.service.to_owned(), breakage.part.to_string(), breakage.reason.clone()]
    };
    terminal::table(["service", "file or role", "reason"], &[], report.broken.iter().map(row));
    let named: BTreeSet<_> = report.broken.iter().map(|breakage| breakage.service).collect();
    let named = named.into_iter().collect::<Vec<_>>().join(", ");
    let parts = || report.broken.iter().map(|breakage| &breakage.part);
    let roles = parts().filter(|part| matches!(part, Part::Role(_))).collect::<BTreeSet<_>>().len();
    let statements = parts().filter(|part| matches!(part, Part::Statement(_))).count();
    match roles {
        0 => bail!("refused: {statements} statements would break, of {named}"),
        1 => bail!("refused: {statements} statements and a role would break, of {named}"),
        roles => bail!("refused: {statements} statements and {roles} roles would break, of {named}"),
    }
}
