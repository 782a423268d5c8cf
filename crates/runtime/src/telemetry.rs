//! Logs. They go to stderr, so that stdout stays free for what a command was asked for.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::settings::{LogFormat, LogSettings};

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.filter` is no filter.
    #[error(
        "log.filter = {filter:?} is not a level (error, warn, info, debug, trace) or a list like \"info,broker=debug\""
    )]
    Filter {
        /// The filter as it was given.
        filter: String,
    },
    /// This process logs already.
    #[error("logging was started twice in one process")]
    Twice,
}

/// Starts logging for the whole process. Text is coloured only on a terminal.
///
/// # Errors
/// When the filter cannot be read, or when logging has already been started.
pub fn init(log: &LogSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|_our_sentence_says_more| TelemetryError::Filter { filter: log.filter.clone() })?;
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(io::stderr).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(|_already| TelemetryError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_by_its_key() {
        let log = LogSettings { filter: "loud=loudest".to_owned(), format: LogFormat::Text };
        let message = init(&log).unwrap_err().to_string();
        assert!(message.starts_with("log.filter = \"loud=loudest\" is not a level"), "{message}");
    }
}
