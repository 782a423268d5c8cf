//! `lab serve`: one service in this process. The lab runs the services that it measures by executing itself, so that one build
//! holds them with the fail points that it was built with.

use clap::builder::{PossibleValue, PossibleValuesParser};
use services::SERVICES;

const EXAMPLES: &str = "\
Examples:
  lab serve blogs-api

Exit codes: 0 drained after SIGINT or SIGTERM, 1 the start or the service failed, 2 wrong usage.";

/// Run one service until SIGINT or SIGTERM; the other commands start it themselves
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Name of the service
    #[arg(value_parser = PossibleValuesParser::new(SERVICES.iter().map(|service| PossibleValue::new(service.name))))]
    service: String,
}

/// Runs the service with the settings in the environment.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    #[cfg(feature = "fail-points")]
    arm_fail_point()?;
    services::serve(&arguments.service, None, &[]).await
}

/// Makes this process abort, like a crash, when it reaches the fail point that the environment names. A COMMIT or a frame
/// that it was sending may or may not have left the process by then.
#[cfg(feature = "fail-points")]
fn arm_fail_point() -> anyhow::Result<()> {
    let Some(name) = std::env::var_os("COMMONPLACE_FAIL_POINT") else { return Ok(()) };
    let die = || {
        std::thread::sleep(std::time::Duration::from_micros(rand::random_range(0..3000)));
        std::process::abort();
    };
    fail::cfg_callback(name.to_string_lossy(), die).map_err(anyhow::Error::msg)
}
