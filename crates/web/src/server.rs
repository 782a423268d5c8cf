//! Connections: HTTP/1.1 on one listener, a bounded number at a time.
//!
//! The head of a request must arrive in time, so that a client that sends a byte now and then holds a place for
//! seconds and not for ever. When the places are taken, new connections wait in the kernel's queue. At the end
//! nothing new is accepted, and what is under way may finish within the drain time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::host::Hosts;
use crate::settings::RequestSettings;

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// After the system could not give us a connection, for want of file descriptors or the like.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then until the last request has ended or the drain time is over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: &RequestSettings,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let hosts = Hosts::of(&listener, settings);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(settings.head_timeout_ms))
        .max_buf_size(HEAD_BYTES_MAX);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some(Some((stream, peer, place))) =
        shutdown.run_until_cancelled(accept(&listener, &places)).await
    {
        let (router, hosts) = (router.clone(), hosts.clone());
        let service = service_fn(move |request| answer(router.clone(), hosts.clone(), peer, request));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke");
            }
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    };
    if tokio::time::timeout(Duration::from_millis(settings.drain_timeout_ms), drained).await.is_err() {
        tracing::warn!("requests were still under way when the drain time was over");
    }
}

/// The next connection and its place. Accepting fails for a moment when the system is short of something.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small and whole: waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                return Some((stream, peer, place));
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a connection could not be accepted"
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(
    router: Router,
    hosts: Hosts,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    if let Some(refusal) = hosts.refusal(request.headers()) {
        return Ok(refusal);
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}
