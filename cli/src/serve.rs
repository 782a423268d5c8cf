//! `commonplace serve`: one service in this process, exactly as its own binary runs it.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use services::{Entry, SERVICES};

use crate::defaults::COMMANDS;

const EXAMPLES: &str = "\
Examples:
  commonplace serve blogs-api
  commonplace serve analytics-worker --config /etc/commonplace/analytics-worker.toml
  COMMONPLACE__HTTP__ADDRESS=127.0.0.1:8083 COMMONPLACE__HTTP__OPERATIONS_ADDRESS=127.0.0.1:9083 \\
    commonplace serve blogs-api

Exit codes: 0 drained after SIGINT or SIGTERM, 1 the start or the service failed, 2 wrong usage.";

/// Run one service until SIGINT or SIGTERM, then drain it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Name of the service
    #[arg(value_parser = PossibleValuesParser::new(SERVICES.iter().map(named)))]
    service: String,
    /// A settings file, which overrides the built-in defaults; the environment overrides it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The name of a service on the command line, with its description in `--help`.
pub(crate) fn named(service: &Entry) -> PossibleValue {
    PossibleValue::new(service.name).help(service.about)
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    services::serve(&arguments.service, arguments.config.as_deref(), &COMMANDS).await
}
