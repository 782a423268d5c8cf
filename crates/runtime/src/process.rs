//! What every service's process does alike: the binary from its arguments to its end ([`main`]), the service in it ([`serve`]),
//! and a worker's tasks with health and metrics ([`work`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use clap::{CommandFactory, FromArgMatches, Parser};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{info, warn};

use crate::health::{self, Health};
use crate::hosts::Hosts;
use crate::http;
use crate::metrics::operations_router;
use crate::open_files;
use crate::service::{Process, Service};
use crate::settings::{Loader, LogSettings};
use crate::shutdown::{self, Lost, together};
use crate::telemetry::{self, TelemetryError};
use crate::traces::TraceSettings;

/// All packages of the workspace have one version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Parser)]
struct Arguments {
    /// A settings file, laid over the built-in defaults and under the environment
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the service that runs with these settings whether it is ready, and end; for a container's health check
    #[arg(long)]
    healthcheck: bool,
}

/// The `main` of a service's binary: its arguments, then [`serve`].
///
/// # Errors
/// A service that is not ready (for `--healthcheck`), or what [`serve`] says.
pub async fn main<S: Service>() -> anyhow::Result<()> {
    let version = match option_env!("COMMONPLACE_COMMIT") {
        // An image is built from a copy of the files, and its builder says of which commit.
        Some(commit) if !commit.is_empty() => &*format!("{VERSION} ({commit})").leak(),
        _ => VERSION,
    };
    let command = Arguments::command().name(S::NAME).version(version).about(S::ABOUT);
    let arguments = Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let loader = Loader::new(S::DEFAULTS).file(arguments.config.as_deref());
    if arguments.healthcheck {
        let settings: S::Settings = loader.load()?;
        return Ok(health::ask(S::process(&settings).readiness).await?);
    }
    serve::<S>(loader).await
}

/// Runs a service in this process: settings, logs, signals, then the service until its end.
///
/// # Errors
/// Settings that make no sense, or what the service failed with.
pub async fn serve<S: Service>(loader: Loader) -> anyhow::Result<()> {
    let (settings, notice): (S::Settings, _) = loader.load_noticing()?;
    let Process { log, traces, .. } = S::process(&settings);
    let (log, traces) = (log.clone(), traces.clone());
    run(S::NAME, &log, &traces, async |shutdown| {
        if let Some(notice) = notice {
            warn!("{notice}");
        }
        S::start(settings).await?.run(shutdown).await
    })
    .await
}

/// Logs and traces begin, signals are caught, and the limit of open files is raised; then `work` until its end, and with it that of the traces. Memory is had
/// in small pages: in huge ones, which Debian's kernel gives to everybody, a worker before a backlog takes about a third
/// more (`lab memory`).
///
/// # Errors
/// When logs or traces cannot begin, or what `work` failed with.
pub async fn run<E: From<TelemetryError>>(
    name: &'static str,
    log: &LogSettings,
    traces: &TraceSettings,
    work: impl AsyncFnOnce(CancellationToken) -> Result<(), E>,
) -> Result<(), E> {
    let traces = telemetry::begin(name, log, traces)?;
    open_files::raise();
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        info!(%error, "the system may give huge pages");
    }
    let ended = work(shutdown::on_signal()).await;
    traces.end().await;
    ended
}

/// Why a worker's process ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A task was lost.
    #[error("working")]
    Working(#[source] Lost),
    /// Tasks were still at it when their time to drain was over, and are no more.
    #[error("what was under way did not end within {} s of the shutdown, and was left", .0.as_secs())]
    Late(Duration),
}

/// Waits for tasks that work until `shutdown`, as [`together`], and serves health and metrics meanwhile. They are served to
/// the last: whoever asks while the tasks drain is told. A task that waits for a server that hangs would drain for ever, so
/// all of them end `drain_max` after the shutdown. `host_names` are answered besides this machine's ([`Hosts`]).
///
/// # Errors
/// [`WorkError`].
pub async fn work(
    listener: TcpListener,
    host_names: &[String],
    health: Health,
    registry: Registry,
    tasks: JoinSet<()>,
    shutdown: &CancellationToken,
    drain_max: Duration,
) -> Result<(), WorkError> {
    let drained = CancellationToken::new();
    let operations = operations_router(health, Arc::new(registry));
    let hosts = Hosts::of(&listener, host_names);
    let answer = move |_, request: hyper::Request<hyper::body::Incoming>| {
        let (refusal, operations) = (hosts.refusal(request.headers()), operations.clone());
        async move {
            if let Some(refusal) = refusal {
                return (StatusCode::FORBIDDEN, refusal).into_response();
            }
            operations.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {})
        }
    };
    let served = http::serve(listener, http::Bounds::of_operations(), answer, drained.clone());
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain_max).await;
    };
    let wait = async {
        let ended = tokio::select! {
            biased;
            ended = together(tasks, shutdown) => ended.map_err(WorkError::Working),
            () = late => Err(WorkError::Late(drain_max)),
        };
        drained.cancel();
        ended
    };
    let ((), ended) = tokio::join!(served, wait);
    ended
}
