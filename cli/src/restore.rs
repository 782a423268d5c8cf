//! `commonplace restore`: makes a database safe to use that was loaded from a dump.
//!
//! A dump is older than what clients and queues hold: tokens of accounts that it does not know, events of lost blogs,
//! erasures that were made after it. Used as it is, the database would give the same ids to strangers. Each step here moves
//! it past what may have been given out since. The database has no home until the last step ([`database::home`]), and
//! `commonplace migrate` refuses it until then. After a failure the command is run again, and repeats every step.

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
/// More than an account signs out or changes its password between two dumps. A token epoch has room for two thousand such
/// steps.
const EPOCHS: i32 = 1_000_000;

const LONG: &str = "\
Finish a database that was loaded from a dump, so that services can use it

DATABASE_URL names the administrator, as for `commonplace migrate`, and the roles' passwords come from the same settings. \
Load the dump with `pg_restore` into a new database first, or give it with --dump. Every service has to be stopped.

The command makes roles and schema as `migrate` does, advances every sequence so that no id of a lost row is given out \
again, takes every token back (users sign in again), erases the accounts in the record of erased accounts once more, and \
has recommendations computed again. Until it is done, `migrate` refuses the database, and so nothing starts. It may be \
run again after a failure.";

const EXAMPLES: &str = "\
Examples:
  pg_restore -d commonplace --exit-on-error commonplace.dump
  commonplace restore --erased /srv/commonplace/erased-accounts
  commonplace restore --dump commonplace.dump --erased /srv/commonplace/erased-accounts
                                       the same, and runs pg_restore itself
  commonplace restore --no-erased-list no account was ever erased
  commonplace restore --complete       the copy lacks nothing: it was made with the services stopped, to move to another server
  commonplace restore --roles          on a new server, before pg_restore: a dump names roles, and holds none

Exit codes: 0 the database can be used; 1 it failed, services are connected, or accounts could not be erased yet; 2 wrong usage.";

/// Finish a database that was loaded from a dump, so that services can use it
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
#[command(group = ArgGroup::new("what was erased").required(true).args(["erased", "no_erased_list", "complete", "roles"]))]
pub(crate) struct Arguments {
    /// The record of erased accounts (`account erase --record`), one account a line; - reads the standard input
    #[arg(long, value_name = "FILE")]
    erased: Option<PathBuf>,
    /// There is no such record: accounts that were erased after the dump was made come back
    #[arg(long)]
    no_erased_list: bool,
    /// The copy holds everything that was ever written: ids and tokens stay as they are
    #[arg(long, conflicts_with = "in_place")]
    complete: bool,
    /// Only make the roles that a dump names, and the database
    #[arg(long, conflicts_with_all = ["dump", "in_place"])]
    roles: bool,
    /// Load this dump (of `pg_dump -Fc`) first, by the `pg_restore` on the path; - reads the standard input. The database must
    /// be empty
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Go on although the database was not copied: the server itself went back in time, such as by a physical backup or by a
    /// replica that was promoted while it was behind
    #[arg(long, conflicts_with = "dump")]
    in_place: bool,
    /// How many ids each sequence skips: more than were given out since the dump was made
    #[arg(long, value_name = "IDS", default_value = MARGIN, value_parser = clap::value_parser!(i64).range(1..))]
    margin: i64,
    /// How long older transactions may take to end before an account is erased
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// A settings file, laid over the built-in defaults and under the environment
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
    terminal::line("published blogs without a fan-out: notification workers look for them when they start");
    terminal::line("done: services may start");
    if !left.is_empty() {
        bail!(
            "accounts that could not be erased yet: {}. They are deleted and can do nothing; run `commonplace account erase \
             ID --yes --record FILE` for each once the services run",
            left.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

impl Arguments {
    /// The accounts to be erased again. Read before anything is changed.
    fn erased(&self) -> anyhow::Result<BTreeSet<RecordedAccount>> {
        let stdin = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new(erased::STDIN));
        if stdin(&self.erased) && stdin(&self.dump) {
            bail!("--erased and --dump cannot both read the standard input");
        }
        self.erased.as_deref().map_or_else(|| Ok(BTreeSet::new()), erased::read)
    }

    /// A database that is at home here is in use, or was finished before.
    fn already_here(&self, administrator: &Config) -> anyhow::Result<()> {
        let name = schema::name(administrator);
        if self.dump.is_some() {
            bail!("database {name} is not empty: drop it and make it again, or give another one");
        }
        terminal::line(format_args!(
            "database {name} is not an unfinished copy, so nothing is changed. If the server itself went back in time, say \
             --in-place"
        ));
        Ok(())
    }
}

/// A service that stays connected remembers tokens and blogs of the lost database, and may write while ids are moved.
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
