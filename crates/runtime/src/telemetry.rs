//! Sets up logs, and [`traces`] if they are enabled. Logs go to stderr, so that stdout contains only a command's output.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::settings::{LogFormat, LogSettings};
use crate::traces::{self, Export, TraceSettings};

/// Crates that log what they send: parameters of statements, including e-mail addresses and password hashes; logins to
/// RabbitMQ; and the passwords that `migrate` sets for its users. They log only at `info` and above, whatever `log.filter`
/// says. `ureq` includes `ureq_proto`.
const INFO_AT_MOST: [&str; 5] = ["tokio_postgres", "postgres_protocol", "lapin", "amq_protocol", "ureq"];

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.filter` is not a valid filter.
    #[error(
        "log.filter = {filter:?} is not a level (error, warn, info, debug, trace) or a list like \"info,broker=debug\""
    )]
    Filter {
        /// The filter from the settings.
        filter: String,
    },
    /// The `[traces]` section is invalid.
    #[error("{0}")]
    Traces(String),
    /// Logging was already started.
    #[error("logging was started twice in one process")]
    Twice,
}

/// Starts logging for the whole process. Text is coloured only on a terminal.
///
/// # Errors
/// The filter cannot be parsed, or logging was already started.
pub fn init(log: &LogSettings) -> Result<(), TelemetryError> {
    tracing_subscriber::registry().with(logs(log)?).try_init().map_err(|_already| TelemetryError::Twice)
}

/// The traces of a process, from [`begin`] until they are ended.
#[derive(Debug)]
#[must_use = "call `end`, or the last traces are not exported"]
pub struct Traces(Option<Export>);

impl Traces {
    /// Exports the remaining spans within the time limit. Returns at once if traces are disabled.
    pub async fn end(self) {
        if let Some(export) = self.0 {
            export.end().await;
        }
    }
}

/// Starts logging, and traces under this name if they are enabled. If they are disabled, no layer for them is installed.
///
/// # Errors
/// As [`init`], or the `[traces]` section is invalid.
pub fn begin(
    name: &'static str,
    log: &LogSettings,
    settings: &TraceSettings,
) -> Result<Traces, TelemetryError> {
    let Some(url) = settings.checked().map_err(TelemetryError::Traces)? else {
        init(log)?;
        return Ok(Traces(None));
    };
    let logs = logs(log)?;
    let export = Export::start(name, url, settings).map_err(TelemetryError::Traces)?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(export.tracer())
        // Spans name their parent themselves, and their source location is not needed.
        .with_context_activation(false)
        .with_location(false)
        .with_tracked_inactivity(false)
        .with_threads(false)
        .with_target(false)
        .with_filter(Targets::new().with_target(traces::TARGET, LevelFilter::TRACE));
    let subscriber = tracing_subscriber::registry().with(logs).with(spans);
    subscriber.try_init().map_err(|_already| TelemetryError::Twice)?;
    Ok(Traces(Some(export)))
}

fn logs(log: &LogSettings) -> Result<impl Layer<Registry> + Send + Sync + use<>, TelemetryError> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|_our_sentence_says_more| TelemetryError::Filter { filter: log.filter.clone() })?;
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(io::stderr).boxed()
        }
    };
    // The hint keeps the `log` crate from building records that every filter drops.
    let safe = filter_fn(is_safe).with_max_level_hint(LevelFilter::TRACE);
    Ok(layer.with_filter(filter.and(safe)))
}

fn is_safe(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !INFO_AT_MOST.iter().any(|name| metadata.target().starts_with(name))
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
