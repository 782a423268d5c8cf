//! The listeners of an HTTP service. [`runtime::http`] limits connections; this module counts the memory that requests hold,
//! around every route.
//!
//! A service has a public listener, which readers reach through a proxy, and an operations listener, which readers must not
//! reach: metrics and readiness reveal load, faults and details of the system. Without a separate address, the public
//! listener also serves operations.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::EXPECT;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use ipnet::IpNet;
use runtime::hosts::Hosts;
use runtime::http::Bounds;
use runtime::shutdown::{Lost, together};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::client_address::client;
use crate::held::Held;
use crate::problem::Problem;
use crate::settings::{HttpSettings, RequestSettings};

/// Maximum time for background tasks to end after the last request.
pub const TASKS_MAX: Duration = Duration::from_secs(10);

/// The listeners of a service.
#[derive(Debug)]
pub struct Listeners {
    public: TcpListener,
    operations: Option<TcpListener>,
}

/// A listener could not be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {key} = {address}")]
pub struct ListenError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl Listeners {
    /// Binds the addresses of the settings.
    ///
    /// # Errors
    /// [`ListenError`], with the setting.
    pub async fn bind(settings: &HttpSettings) -> Result<Self, ListenError> {
        let public = bind("http.address", settings.address).await?;
        let operations = match settings.operations_address {
            Some(address) => Some(bind("http.operations_address", address).await?),
            None => None,
        };
        Ok(Self { public, operations })
    }

    /// The address of the service's own routes, with the actual port if 0 was requested.
    ///
    /// # Errors
    /// The system's error. A bound listener always has an address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// The address of `/metrics` and `/readyz`.
    ///
    /// # Errors
    /// As [`Listeners::address`].
    pub fn operations_address(&self) -> io::Result<SocketAddr> {
        self.operations.as_ref().unwrap_or(&self.public).local_addr()
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { key, address, source })
}

/// The routes of each listener.
#[derive(Debug, Clone)]
pub struct Routers {
    /// On `http.address`.
    pub public: Router,
    /// On `http.operations_address`, if there is one.
    pub operations: Router,
}

/// Serves until `shutdown` while background tasks run. The tasks, which must run until `stop`, are stopped after the last
/// request and then have ten seconds to end. If one of them ends early, requests in progress finish and the service ends.
///
/// # Errors
/// A task ended early.
pub async fn run(
    listeners: Listeners,
    routers: Routers,
    settings: &RequestSettings,
    tasks: JoinSet<()>,
    stop: &CancellationToken,
    shutdown: &CancellationToken,
) -> Result<(), Lost> {
    let serving = shutdown.child_token();
    let requests = async {
        serve(listeners, routers, settings, serving.clone()).await;
        stop.cancel();
    };
    let work = async {
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(TASKS_MAX).await;
        };
        let ended = tokio::select! {
            ended = together(tasks, stop) => ended,
            () = late => {
                tracing::warn!("tasks were still running when the shutdown time ran out");
                Ok(())
            }
        };
        serving.cancel();
        ended
    };
    tokio::join!(requests, work).1
}

/// Serves until `shutdown`, then until the last request has ended or the drain time is over. Operations are served to the
/// end, so that Prometheus and an orchestrator can watch the service drain.
pub async fn serve(
    listeners: Listeners,
    routers: Routers,
    settings: &RequestSettings,
    shutdown: CancellationToken,
) {
    let drained = CancellationToken::new();
    let public = async {
        serve_public(listeners.public, routers.public, settings, shutdown).await;
        drained.cancel();
    };
    let operations = async {
        if let Some(listener) = listeners.operations {
            serve_operations(listener, routers.operations, settings, drained.clone()).await;
        }
    };
    tokio::join!(public, operations);
}

async fn serve_public(
    listener: TcpListener,
    router: Router,
    settings: &RequestSettings,
    shutdown: CancellationToken,
) {
    let trusted: Arc<[IpNet]> = settings.trusted_proxies.as_slice().into();
    let proxies = Arc::clone(&trusted);
    let bounds = Bounds {
        connections_max: settings.connections_max,
        connections_per_address_max: settings.connections_per_address_max,
        is_proxy: Box::new(move |address| proxies.iter().any(|network| network.contains(&address))),
        head_timeout: Duration::from_millis(settings.head_timeout_ms),
        drain_timeout: Duration::from_millis(settings.drain_timeout_ms),
        send_buffer_bytes: settings.send_buffer_bytes,
        answer_rate_min: settings.answer_rate_min,
    };
    let door = Door {
        router,
        hosts: Hosts::of(&listener, &settings.host_names),
        trusted,
        held: Held::new(settings),
        body_rate_min: settings.body_rate_min,
    };
    let door = Arc::new(door);
    let answer = move |peer, request| Arc::clone(&door).answer(peer, request);
    runtime::http::serve(listener, bounds, answer, shutdown).await;
}

/// Requests to operations have no body, and the process itself creates the responses, so only connections are limited.
async fn serve_operations(
    listener: TcpListener,
    router: Router,
    settings: &RequestSettings,
    shutdown: CancellationToken,
) {
    let hosts = Hosts::of(&listener, &settings.host_names);
    let answer = move |peer: SocketAddr, request: Request<Incoming>| {
        let (hosts, router) = (hosts.clone(), router.clone());
        async move {
            if let Some(refusal) = hosts.refusal(request.headers()) {
                return Problem::forbidden(refusal).into_response();
            }
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            never(router.oneshot(request).await)
        }
    };
    runtime::http::serve(listener, Bounds::of_operations(), answer, shutdown).await;
}

struct Door {
    router: Router,
    hosts: Hosts,
    trusted: Arc<[IpNet]>,
    held: Held,
    body_rate_min: u32,
}

impl Door {
    async fn answer(self: Arc<Self>, peer: SocketAddr, request: Request<Incoming>) -> Response {
        let Self { router, hosts, trusted, held, body_rate_min } = &*self;
        let router = router.clone();
        if let Some(refusal) = hosts.refusal(request.headers()) {
            return Problem::forbidden(refusal).into_response();
        }
        let (mut parts, incoming) = request.into_parts();
        let client = client(peer.ip(), &parts.headers, trusted);
        let is_safe = parts.method.is_safe();
        parts.extensions.insert(ConnectInfo(peer));
        let response = if incoming.is_end_stream() {
            never(router.oneshot(Request::from_parts(parts, Body::empty())).await)
        } else {
            let expects = parts.headers.get(EXPECT).cloned();
            let (body, reading) = held.body(client, *body_rate_min, incoming);
            let response = never(router.oneshot(Request::from_parts(parts, body)).await);
            reading.discard_rest(expects.as_ref()).await;
            response
        };
        held.answer(client, is_safe, response)
            .unwrap_or_else(|refusal| Problem::from(refusal).into_response())
    }
}

fn never(answered: Result<Response, std::convert::Infallible>) -> Response {
    answered.unwrap_or_else(|never| match never {})
}
