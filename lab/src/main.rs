//! The `lab` command: measures the system and injects faults, on private servers that it starts and stops itself.
//!
//! Each subcommand is a module with its `Arguments` and a `run`: the arguments, the servers, and the printed report. The
//! measurements themselves are in the `bench` and `chaos` crates. Services run as separate processes of this executable.

mod bare_endpoint;
mod chaos;
mod contrast;
mod digest;
mod fan_out;
mod machine;
mod memory;
mod recommendations;
mod roles;
mod serve;
mod servers;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
    Compare the message path with direct database writes in every scenario:
    cargo run --release -p lab -- contrast
    Inject faults for a minute and account for every event:
    cargo run --release -p lab -- chaos --seed 7 --duration 60s

Exit codes: 0 measured, and the tables agree with what was accepted; 1 they do not, or the command failed; 2 wrong usage.";

/// Measure the system and inject faults on private servers, and check every run against the tables
#[derive(Debug, Parser)]
#[command(name = "lab", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Contrast(contrast::Arguments),
    Digest(digest::Arguments),
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
        Command::Digest(arguments) => Box::pin(digest::run(arguments)).await,
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
    fn help_of_every_command_has_examples_and_exit_codes() {
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
