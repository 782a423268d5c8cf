//! The private servers of a measurement.

use std::path::PathBuf;

use anyhow::Context;
use stack::{Options, Stack};

use crate::terminal;

/// Folder for the servers' data and the services' logs, next to those of `commonplace up`.
const DIRECTORY: &str = ".stack/bench";

/// The folder of the services' logs.
pub(crate) fn logs() -> PathBuf {
    PathBuf::from(DIRECTORY).join("logs")
}

/// Starts fresh servers, measures, and stops the servers, also if the measurement fails.
///
/// # Errors
/// The error of the measurement, or a server that does not start or stop.
pub(crate) async fn measure<R, E>(work: impl AsyncFnOnce(&mut Stack) -> Result<R, E>) -> anyhow::Result<R>
where
    anyhow::Error: From<E>,
{
    let options = Options { fresh: true, ..Options::new(DIRECTORY) };
    let mut tell = |line: &str| terminal::note(line);
    let mut stack = tokio::task::block_in_place(|| Stack::start(&options, &mut tell))?;
    std::fs::create_dir_all(logs()).context("making the folder of the services' logs")?;
    let measured = work(&mut stack).await;
    let stopped = tokio::task::block_in_place(|| stack.stop());
    let measured = measured?;
    stopped?;
    Ok(measured)
}
