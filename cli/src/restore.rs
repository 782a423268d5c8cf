//! `commonplace restore`: makes a database that was loaded from a dump safe to use.
//!
//! A dump is older than the data that clients and queues hold: tokens of accounts that it lacks, events of lost blogs,
//! later erasures. Without further steps, the database would give the ids of lost rows to new ones. Each step here moves
//! it past every id and token that may have been issued since the dump. The database has no home until the last step
//! ([`database::home`]), and `commonplace migrate` refuses it until then. After a failure, run the command again: it repeats
//! every step.

mod dump;
mod steps;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use clap::ArgGroup;
use database::home::{self, Home};
use database::{Pool, Session, bootstrap, migrations};
use tokio_postgres::Config;

use crate::erased::{self, RecordedAccount};
use crate::migrate::Settings;
use crate::{schema, terminal};

/// Ids that may have been given out since a dump: a thousand a second for more than a day. Clients that read numbers as
/// floating point can tell ids apart for 90 million such steps.
const MARGIN: &str = "100000000";
/// More than the sign-outs and password changes of an account between two dumps. A token epoch has room for two thousand
/// such steps.
const EPOCHS: i32 = 1_000_000;

const LONG: &str = "\
Make a database that was loaded from a dump safe for services to use

DATABASE_URL is the administrator's, as for `commonplace migrate`, and the roles' passwords come from the same settings. \
First stop every service, and load the dump into a new database with `pg_restore` or give it with --dump.

The command makes roles and schema as `migrate` does, advances every sequence so that the ids of lost rows are not reused, \
revokes every token (users must sign in again), erases the accounts in the record of erased accounts again, and makes the \
services recompute recommendations. Until it is done, `migrate` refuses the database, so no service starts. After a failure, \
run it again.";

const EXAMPLES: &str = "\
Examples:
  pg_restore -d commonplace --exit-on-error commonplace.dump
  commonplace restore --erased /srv/commonplace/erased-accounts
  commonplace restore --dump commonplace.dump --erased /srv/commonplace/erased-accounts
                                                                              runs pg_restore itself
  commonplace restore --no-erased-list if no account was ever erased
  commonplace restore --complete       if the copy is complete: the services were stopped, as for a move to another server
  commonplace restore --roles          on a new server, before pg_restore: a dump names roles but does not contain them

Exit codes: 0 services can use the database; 1 the command failed, services are connected, or accounts could not be erased
yet; 2 wrong usage.";

/// Make a database that was loaded from a dump safe for services to use
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
#[command(group = ArgGroup::new("what was erased").required(true).args(["erased", "no_erased_list", "complete", "roles"]))]
pub(crate) struct Arguments {
    /// The record of erased accounts (`account erase --record`), one account per line; - reads standard input
    #[arg(long, value_name = "FILE")]
    erased: Option<PathBuf>,
    /// Restore without a record: accounts that were erased after the dump come back
    #[arg(long)]
    no_erased_list: bool,
    /// The copy contains everything that was ever written: do not skip ids or revoke tokens
    #[arg(long, conflicts_with = "in_place")]
    complete: bool,
    /// Only make the database and the roles that a dump names
    #[arg(long, conflicts_with_all = ["dump", "in_place"])]
    roles: bool,
    /// First load this dump (of `pg_dump -Fc`) with the `pg_restore` on the PATH; - reads standard input. The database must be
    /// empty
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Treat a database that is not a copy like one: the server itself went back in time, for example by a physical backup or
    /// because a replica was promoted while it lagged
    #[arg(long, conflicts_with = "dump")]
    in_place: bool,
    /// Ids that each sequence skips: more than were issued since the dump
    #[arg(long, value_name = "IDS", default_value = MARGIN, value_parser = clap::value_parser!(i64).range(1..))]
    margin: i64,
    /// How long to wait for older transactions before an account is erased
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// A settings file, which overrides the built-in defaults; the environment overrides it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (settings, administrator) = Settings::load(arguments.config.as_deref())?;
    let erased = arguments.erased()?;
    schema::create_missing(&administrator).await?;
    let session = Session::open(&administrator).await?;
    check_services_are_stopped(&session).await?;
    if home::of(&session).await? == Home::Here && !arguments.in_place {
        return arguments.already_here(&administrator);
    }
    bootstrap::run(&administrator, &settings.roles).await?;
    terminal::line("roles are as the settings say; no other role may create tables, temporary ones included");
    if arguments.roles {
        return Ok(());
    }
    if let Some(dump) = &arguments.dump {
        dump::load(&administrator, dump).await?;
    }
    if migrations::deployed(&administrator).await? == 0 {
        bail!(
            "database {} is empty: load the dump first, or give it with --dump",
            schema::name(&administrator)
        );
    }
    let applied = migrations::run(&administrator).await?.applied;
    terminal::line(format_args!("the schema is up to date; migrations applied: {}", applied.len()));
    home::leave(&session).await?;
    if !arguments.complete {
        steps::advance_sequences(&session, arguments.margin).await?;
        steps::take_tokens_back(&session, EPOCHS).await?;
    }
    steps::recompute_recommendations(&session).await?;
    let pool = Pool::new(&settings.database, "restore")?;
    let left = steps::erase_again(&pool, &erased, Duration::from_secs(arguments.wait)).await?;
    steps::vacuum(&session).await?;
    check_services_are_stopped(&session).await?;
    home::mark(&session).await?;
    terminal::line("published blogs without a fan-out: notification workers find them after they start");
    terminal::line("done: services may start");
    if !left.is_empty() {
        bail!(
            "accounts that could not be erased yet: {}. They are deleted and cannot act; run `commonplace account erase \
             ID --yes --record FILE` for each once the services run",
            left.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

impl Arguments {
    /// The accounts to be erased again. Called before anything is changed.
    fn erased(&self) -> anyhow::Result<BTreeSet<RecordedAccount>> {
        let stdin = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new(erased::STDIN));
        if stdin(&self.erased) && stdin(&self.dump) {
            bail!("--erased and --dump cannot both read standard input");
        }
        self.erased.as_deref().map_or_else(|| Ok(BTreeSet::new()), erased::read)
    }

    /// Refuses a database that is in use here, or whose restore is finished.
    fn already_here(&self, administrator: &Config) -> anyhow::Result<()> {
        let name = schema::name(administrator);
        if self.dump.is_some() {
            bail!("database {name} is not empty: drop it and make it again, or give another one");
        }
        terminal::line(format_args!(
            "database {name} is not an unfinished copy, so nothing is changed. If the server itself went back in time, use \
            --in-place"
        ));
        Ok(())
    }
}

/// A service that stays connected has tokens and blogs of the lost database in its caches, and may write while ids are moved.
async fn check_services_are_stopped(session: &Session) -> anyhow::Result<()> {
    let connected = bootstrap::connected(session).await?;
    if !connected.is_empty() {
        let roles = connected.iter().map(|(role, sessions)| format!("{role} (sessions: {sessions})"));
        bail!(
            "services are connected to the database: {}. Stop every service and run the command again",
            roles.collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}
