//! `commonplace contract check`: would the pending migrations break a service? Asked of Postgres itself, under
//! each service's own role, in a scratch database; nothing that is in use is touched.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use database::contract::{Breakage, Report};
use database::{Contract, bootstrap, contract, migrations};
use runtime::settings;

use crate::terminal::{self, Progress};
use crate::{migrate, operator, schema};

const EXAMPLES: &str = "\
Examples:
  commonplace contract check                          the newest migration of this build against its statements
  commonplace contract check --migrations migrations  the same for the files in a folder
  commonplace contract check --deployed 4             everything after version 4 is pending
  DATABASE_URL=postgres://… commonplace contract check   what is new to that database is pending

Exit codes: 0 nothing breaks, 1 something breaks (named by service and file) or the check could not run, \
2 wrong usage.";

/// Check the services' statements against the schema
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prepare and explain every statement under its service's role, before and after the pending migrations
    ///
    /// Works in a scratch database: on the server of `DATABASE_URL` if that is set (an administrator's address; run
    /// `commonplace migrate` there first, which makes the roles), else on a private one that ends with the command.
    #[command(after_help = EXAMPLES)]
    Check(Check),
}

#[derive(Debug, clap::Args)]
struct Check {
    /// A folder of migrations, instead of those of this build
    #[arg(long, value_name = "FOLDER")]
    migrations: Option<PathBuf>,
    /// An administrator's address on a server whose roles have been made; a private server if not given
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The version that is in force; later ones are pending [default: that of the database, or without one all but
    /// the newest]
    #[arg(long, value_name = "VERSION")]
    deployed: Option<i32>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Command::Check(check) = arguments.command;
    let progress = Progress::new();
    let all = match &check.migrations {
        Some(folder) => {
            migrations::in_folder(folder).with_context(|| format!("reading {}", folder.display()))?
        }
        None => migrations::embedded(),
    };

    // The private server, if there is one, lives until the end of this function.
    let (administrator, _private) = match &check.database_url {
        Some(url) => (schema::administrator(url).context("DATABASE_URL cannot be used")?, None),
        None => private(&progress).await?,
    };
    let deployed = match (check.deployed, &check.database_url) {
        (Some(version), _) => version,
        (None, Some(_)) => migrations::deployed(&administrator).await?,
        (None, None) => all.iter().map(refinery::Migration::version).max().unwrap_or_default() - 1,
    };
    progress.now("checking the statements of every service");
    let report = contract::check(&administrator, &contracts(), &all, deployed).await;
    progress.rest();
    show(&report?)
}

/// Every statement that any service may send, and as whom.
fn contracts() -> [Contract; 11] {
    let contract = |service, role, sql| Contract { service, role, sql, where_member_of: None };
    [
        contract("blogs-api", "blogs_api", &blogs_api::SQL),
        contract("blogs-api", "blogs_api", &web::SQL),
        Contract {
            service: "blogs-api (direct path)",
            role: "blogs_api",
            sql: &engagement::SQL,
            where_member_of: Some("engagement_writer"),
        },
        contract("analytics-worker", "analytics_worker", &analytics_worker::SQL),
        contract("analytics-worker", "analytics_worker", &engagement::SQL),
        contract("notification-worker", "notification_worker", &notification_worker::SQL),
        contract("recommendation-api", "recommendation_api", &recommendation_api::SQL),
        contract("recommendation-api", "recommendation_api", &web::SQL),
        contract("console", "console", &console::SQL),
        contract("operators' commands", "operator", &operator::SQL),
        // What redrives a parked event says first that it writes engagement now.
        contract("operators' commands", "engagement_writer", &engagement::SQL),
    ]
}

/// A server of our own with the roles made, and what keeps it alive.
async fn private(
    progress: &Progress,
) -> anyhow::Result<(tokio_postgres::Config, Option<(stack::Postgres, tempfile::TempDir)>)> {
    progress.now("starting a private PostgreSQL");
    let folder = tempfile::tempdir().context("making a folder for a private PostgreSQL")?;
    let mut options = stack::Options::new(folder.path());
    options.durable = false;
    let postgres =
        tokio::task::spawn_blocking(move || stack::Postgres::start(&options, &mut |_| {})).await??;
    let administrator = schema::administrator(&postgres.url())?;
    // Nobody logs in with these.
    let password = || format!("{:032x}", rand::random::<u128>());
    let settings: migrate::Settings = settings::Loader::new(migrate::DEFAULTS)
        .environment([])
        .set("roles.blogs_api_password", password())
        .set("roles.analytics_worker_password", password())
        .set("roles.notification_worker_password", password())
        .set("roles.recommendation_api_password", password())
        .set("roles.operator_password", password())
        .set("roles.console_password", password())
        .set("roles.direct_path", true)
        .load()?;
    bootstrap::run(&administrator, &settings.roles).await?;
    Ok((administrator, Some((postgres, folder))))
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
    let row =
        |breakage: &Breakage| [breakage.service.to_owned(), breakage.file.clone(), breakage.reason.clone()];
    terminal::table(["service", "file", "reason"], &[], report.broken.iter().map(row));
    let mut named: Vec<_> = report.broken.iter().map(|breakage| breakage.service).collect();
    named.dedup();
    bail!("refused: {} statements would break, of {}", report.broken.len(), named.join(", "))
}
