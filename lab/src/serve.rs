//! `lab serve`: one service in this process. The lab runs the services that it measures by executing itself, so that one build
//! holds them with the fail points that it was built with.

use clap::builder::{PossibleValue, PossibleValuesParser};
use services::SERVICES;

const EXAMPLES: &str = "\
Examples:
  lab serve blogs-api

Exit codes: 0 ended by SIGINT or SIGTERM and drained, 1 it could not start or failed, 2 wrong usage.";

/// Run one service until SIGINT or SIGTERM; the other commands start it by themselves
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Which service
    #[arg(value_parser = PossibleValuesParser::new(SERVICES.iter().map(|service| PossibleValue::new(service.name))))]
    service: String,
}

/// Runs the service with the settings in the environment.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    #[cfg(feature = "fail-points")]
    arm_fail_point()?;
    services::serve(&arguments.service, None, &[]).await
}

/// Makes this process abort, as in a crash, when it reaches the place that the environment names. What it has just sent to
/// others (a COMMIT, a frame) may have left by then, or not.
#[cfg(feature = "fail-points")]
fn arm_fail_point() -> anyhow::Result<()> {
    let Some(name) = std::env::var_os("COMMONPLACE_FAIL_POINT") else { return Ok(()) };
    let die = || {
        std::thread::sleep(std::time::Duration::from_micros(rand::random_range(0..3000)));
        std::process::abort();
    };
    fail::cfg_callback(name.to_string_lossy(), die).map_err(anyhow::Error::msg)
}
