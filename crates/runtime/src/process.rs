//! The common code of all services' processes: the binary's `main` ([`main`]), running a service ([`serve`]), and running a
//! worker's tasks with health and metrics ([`work`]).

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

/// All packages of the workspace have the same version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Parser)]
struct Arguments {
    /// A settings file; it overrides the built-in defaults, and the environment overrides it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check whether the service running with these settings is ready, then exit; for a container's health check
    #[arg(long)]
    healthcheck: bool,
}

/// The `main` of a service's binary: parses the arguments, then calls [`serve`].
///
/// # Errors
/// With `--healthcheck`, the service is not ready; otherwise the error of [`serve`].
pub async fn main<S: Service>() -> anyhow::Result<()> {
    let version = match option_env!("COMMONPLACE_COMMIT") {
        // An image is built from a copy of the files, so the build passes the commit.
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

/// Runs a service in this process: loads its settings, sets up logs and signals, and runs it until it ends.
///
/// # Errors
/// Invalid settings, or the error of the service.
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

/// Sets up logs, traces and signals, raises the limit of open files, runs `work` until it ends, and exports the last traces.
/// Disables transparent huge pages, which Debian's kernel enables by default: with them a worker that processes a backlog
/// uses about a third more memory (`lab memory`).
///
/// # Errors
/// Logs or traces cannot start, or the error of `work`.
pub async fn run<E: From<TelemetryError>>(
    name: &'static str,
    log: &LogSettings,
    traces: &TraceSettings,
    work: impl AsyncFnOnce(CancellationToken) -> Result<(), E>,
) -> Result<(), E> {
    let traces = telemetry::begin(name, log, traces)?;
    open_files::raise();
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        info!(%error, "cannot disable transparent huge pages; the process may use more memory");
    }
    let ended = work(shutdown::on_signal()).await;
    traces.end().await;
    ended
}

/// Why a worker's process ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// A task ended early.
    #[error("a task of the worker ended early")]
    Working(#[source] Lost),
    /// Tasks had not finished when the drain time was over, and were aborted.
    #[error("tasks did not finish within {} s of the shutdown and were aborted", .0.as_secs())]
    Late(Duration),
}

/// Runs tasks until `shutdown` like [`together`], and serves health and metrics until the last task has ended, also while the
/// tasks drain. A task that waits for a hanging server would drain forever, so all tasks are aborted `drain_max` after the
/// shutdown. The listener accepts `host_names` in addition to this machine's names ([`Hosts`]).
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
