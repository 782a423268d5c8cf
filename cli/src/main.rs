//! The `commonplace` command: runs the system, prepares its database, and checks its services.
//!
//! Each subcommand is a module with its `Arguments` and a `run`. Results go to stdout, everything else to
//! stderr. `main` prints an error once, with its causes.

mod account;
mod blog;
mod completions;
mod contract;
mod defaults;
mod demo;
mod erased;
mod fan_out;
mod healthcheck;
mod import;
mod keys;
mod ledger;
mod migrate;
mod operator;
mod parked;
mod reconcile;
mod restore;
mod running;
mod schema;
mod secrets;
mod serve;
mod settings;
mod terminal;
mod token;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
    Run the whole system on private servers, with demo data; then with new data on another port:
    commonplace up
    commonplace up --fresh --port 9000
    Make roles and schema on DATABASE_URL; check whether pending migrations would break a service:
    commonplace migrate
    commonplace contract check
    Make new secrets for docker compose:
    commonplace secrets new >>.env
    Make a database safe to use after loading a dump into DATABASE_URL:
    commonplace restore --erased erased-accounts
    List every setting of a service, and the values that it would start with here:
    commonplace settings blogs-api
    commonplace settings blogs-api --effective
    Run one service, and check whether it is ready:
    commonplace serve blogs-api --config /etc/commonplace/blogs-api.toml
    commonplace healthcheck http://127.0.0.1:9080

Settings come from the built-in defaults (config/), then --config, then the environment; the last one wins. In the \
environment they are DATABASE_URL, AMQP_URL and \
COMMONPLACE__SECTION__KEY for every key of config/, as in COMMONPLACE__LOG__FILTER=debug.

Exit codes: 0 done, 1 failed, 2 wrong usage.";

/// A blogging back end on a shared database: several services, one Postgres, exact counts.
#[derive(Debug, Parser)]
#[command(name = "commonplace", version = env!("COMMONPLACE_VERSION"), after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Arguments),
    Serve(serve::Arguments),
    Settings(settings::Arguments),
    Migrate(migrate::Arguments),
    Restore(restore::Arguments),
    Secrets(secrets::Arguments),
    Healthcheck(healthcheck::Arguments),
    Import(import::Arguments),
    Token(token::Arguments),
    Keys(keys::Arguments),
    Reconcile(reconcile::Arguments),
    Ledger(ledger::Arguments),
    Parked(parked::Arguments),
    Account(account::Arguments),
    Blog(blog::Arguments),
    FanOut(fan_out::Arguments),
    Contract(contract::Arguments),
    Completions(completions::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Up(arguments) => Box::pin(up::run(arguments)).await,
        Command::Serve(arguments) => Box::pin(serve::run(arguments)).await,
        Command::Migrate(arguments) => Box::pin(migrate::run(arguments)).await,
        Command::Restore(arguments) => Box::pin(restore::run(arguments)).await,
        Command::Import(arguments) => Box::pin(import::run(arguments)).await,
        Command::Token(arguments) => Box::pin(token::run(arguments)).await,
        Command::Keys(arguments) => keys::run(arguments),
        Command::Reconcile(arguments) => Box::pin(reconcile::run(arguments)).await,
        Command::Ledger(arguments) => Box::pin(ledger::run(arguments)).await,
        Command::Parked(arguments) => Box::pin(parked::run(arguments)).await,
        Command::Account(arguments) => Box::pin(account::run(arguments)).await,
        Command::Blog(arguments) => Box::pin(blog::run(arguments)).await,
        Command::FanOut(arguments) => Box::pin(fan_out::run(arguments)).await,
        Command::Completions(arguments) => completions::run(arguments),
        Command::Secrets(arguments) => secrets::run(arguments),
        Command::Settings(arguments) => settings::run(arguments),
        Command::Contract(arguments) => Box::pin(contract::run(arguments)).await,
        Command::Healthcheck(arguments) => Box::pin(healthcheck::run(arguments)).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_passes_claps_own_checks() {
        Arguments::command().debug_assert();
    }

    /// The commands without subcommands, each with its full name.
    fn leaves(command: &clap::Command, called: &str) -> Vec<(String, clap::Command)> {
        let below = command
            .get_subcommands()
            .flat_map(|below| leaves(below, &format!("{called} {}", below.get_name())));
        let below: Vec<_> = below.collect();
        if below.is_empty() { vec![(called.to_owned(), command.clone())] } else { below }
    }

    #[test]
    fn help_of_every_command_has_examples_and_exit_codes() {
        let leaves = leaves(&Arguments::command(), "commonplace");
        assert!(leaves.len() > 15, "{leaves:?}");
        for (called, mut command) in leaves {
            // One line, because the help wraps at the terminal's width.
            let help: Vec<String> =
                command.render_long_help().to_string().split_whitespace().map(str::to_owned).collect();
            let help = help.join(" ");
            let (_, after) =
                help.split_once(" Examples: ").unwrap_or_else(|| panic!("{called} has no examples"));
            let (examples, codes) =
                after.split_once(" Exit codes: 0 ").unwrap_or_else(|| panic!("{called} has no exit codes"));
            assert!(examples.contains(&called), "{called} is not in its examples:\n{examples}");
            assert!(codes.contains("2 wrong usage"), "{called}: {codes}");
        }
    }
}
