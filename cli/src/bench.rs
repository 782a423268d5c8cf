//! `commonplace bench`: measurements on private servers, with the services in processes of their own. What is
//! measured and how stands in the `bench` and `chaos` crates; here are the arguments, the servers, and the printed report.

pub(crate) mod machine;
mod memory;
mod paths;
mod table;

use clap::Subcommand;
pub(crate) use paths::roles;

/// Measure the system on private servers
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    Paths(paths::Arguments),
    Memory(memory::Arguments),
}

/// Measures, prints, and fails when the tables do not agree with what was accepted.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.measurement {
        Measurement::Paths(arguments) => paths::run(arguments).await,
        Measurement::Memory(arguments) => Box::pin(memory::run(arguments)).await,
    }
}
