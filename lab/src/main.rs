//! The `lab` command: measures the system and breaks it, on private servers that it starts and stops by itself.
//!
//! Each subcommand is a module with its `Arguments` and a `run`: the arguments, the servers, and the printed report. What is
//! measured and how is in the `bench` and `chaos` crates. Services run in processes of their own, by this executable.

mod bare_endpoint;
mod chaos;
mod contrast;
mod fan_out;
mod machine;
mod memory;
mod recommendations;
mod roles;
mod serve;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  The message path against direct database writes, every scenario:
    cargo run --release -p lab -- contrast
  A minute of faults, with everything counted:
    cargo run --release -p lab -- chaos --seed 7 --duration 60s

Exit codes: 0 measured, and the tables agree with what was accepted; 1 they do not, or it failed; 2 wrong usage.";

/// Measurements and faults on private servers, each checked against the tables
#[derive(Debug, Parser)]
#[command(name = "lab", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Contrast(contrast::Arguments),
    FanOut(fan_out::Arguments),
    Recommendations(recommendations::Arguments),
    Memory(memory::Arguments),
    Chaos(chaos::Arguments),
    #[command(hide = true)]
    Serve(serve::Arguments),
    BareEndpoint(bare_endpoint::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Contrast(arguments) => Box::pin(contrast::run(arguments)).await,
        Command::FanOut(arguments) => Box::pin(fan_out::run(arguments)).await,
        Command::Recommendations(arguments) => Box::pin(recommendations::run(arguments)).await,
        Command::Memory(arguments) => Box::pin(memory::run(arguments)).await,
        Command::Chaos(arguments) => Box::pin(chaos::run(arguments)).await,
        Command::Serve(arguments) => Box::pin(serve::run(arguments)).await,
        Command::BareEndpoint(arguments) => Box::pin(bare_endpoint::run(arguments)).await,
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
    fn every_command_shows_examples_and_exit_codes() {
        let mut lab = Arguments::command();
        lab.clone().debug_assert();
        let commands: Vec<_> = lab.get_subcommands_mut().collect();
        assert!(commands.len() > 5, "{commands:?}");
        for command in commands {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            let (_, after) = help.split_once("Examples:").unwrap_or_else(|| panic!("{name}: no examples"));
            assert!(after.contains(&format!("lab {name}")), "{name} is not in its examples:\n{after}");
            assert!(after.contains("Exit codes: 0 "), "{name}: no exit codes\n{after}");
        }
    }
}
