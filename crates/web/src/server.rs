//! Requests on their way in and out: the connection's bounds are [`runtime::http`]'s, and what a request holds in memory
//! is counted here, around every route of every service.

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
use runtime::http::Bounds;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::client_address::client;
use crate::held::Held;
use crate::host::Hosts;
use crate::problem::Problem;
use crate::settings::RequestSettings;

/// Serves until `shutdown`, then until the last request has ended or the drain time is over.
pub async fn serve(
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
        hosts: Hosts::of(&listener, settings),
        trusted,
        held: Held::new(settings.held_bytes_max, settings.held_bytes_per_address_max),
        body_rate_min: settings.body_rate_min,
    };
    let answer = move |peer, request| door.clone().answer(peer, request);
    runtime::http::serve(listener, bounds, answer, shutdown).await;
}

#[derive(Clone)]
struct Door {
    router: Router,
    hosts: Hosts,
    trusted: Arc<[IpNet]>,
    held: Held,
    body_rate_min: u32,
}

impl Door {
    async fn answer(self, peer: SocketAddr, request: Request<Incoming>) -> Response {
        let Self { router, hosts, trusted, held, body_rate_min } = self;
        if let Some(refusal) = hosts.refusal(request.headers()) {
            return refusal;
        }
        let (mut parts, incoming) = request.into_parts();
        let client = client(peer.ip(), &parts.headers, &trusted);
        let is_safe = parts.method.is_safe();
        parts.extensions.insert(ConnectInfo(peer));
        let response = if incoming.is_end_stream() {
            never(router.oneshot(Request::from_parts(parts, Body::empty())).await)
        } else {
            let expects = parts.headers.get(EXPECT).cloned();
            let (body, reading) = held.body(client, body_rate_min, incoming);
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
