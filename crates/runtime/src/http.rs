//! Serves HTTP/1.1 on one listener, with limits per connection, per address and for all connections.
//!
//! The head of a request must arrive in time, and the client must read the response fast enough ([`Pace`]). A client
//! that sends or reads a byte now and then therefore holds a connection for seconds, not forever. The kernel's send
//! buffer is small, so most of an unread response stays in this process, where its bytes count towards the memory
//! limit. One network may use only a share of the connections. If all are taken, a new connection replaces the one that
//! has been idle longest (`places`). At shutdown the listener closes, and running requests may finish within the drain
//! time.

mod connection;
mod network;
mod pace;
mod places;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, HOST};
use axum::http::{HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::connection::Connection;
pub use self::network::{DELEGATION_FACTOR, delegation, household};
pub use self::pace::{Pace, WINDOW};
use self::places::{Place, Places};

/// Maximum size of a request's head, in bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The kernel's receive buffer of a connection; the kernel doubles it. Without this limit it can grow to megabytes for a
/// client that sends faster than its requests are read.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// Maximum connections of an operations listener.
pub const CONNECTIONS_OF_OPERATIONS: usize = 128;
/// The pause after a failed attempt to accept a connection, for example because there is no free file descriptor.
const PAUSE: Duration = Duration::from_millis(100);
/// The kernel closes a connection if data for the peer stays unacknowledged or unsent for this long. [`Pace`] no longer
/// watches a response that has been handed to the kernel; this timeout frees its data if the client disappears.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// The limits of connections.
pub struct Bounds {
    /// Maximum open connections.
    pub connections_max: usize,
    /// Maximum open connections of one IPv4 address or one IPv6 /64. All addresses of one IPv6 /56 together may have
    /// [`DELEGATION_FACTOR`] times as many.
    pub connections_per_address_max: usize,
    /// Tells whether an address belongs to one of our proxies, and so is shared by many clients. The limit per address does
    /// not apply to it.
    pub is_proxy: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Maximum time for the head of a request to arrive.
    pub head_timeout: Duration,
    /// Maximum time for running requests to finish after the shutdown.
    pub drain_timeout: Duration,
    /// The kernel's send buffer of a connection, in bytes. The kernel doubles it for its own overhead.
    pub send_buffer_bytes: usize,
    /// Minimum rate at which a client must read responses, in bytes a second.
    pub answer_rate_min: u32,
}

impl Bounds {
    /// The limits of an operations listener. It has few clients (Prometheus, the console, health checks and sometimes an
    /// operator), and its responses are small.
    #[must_use]
    pub fn of_operations() -> Self {
        Self {
            connections_max: CONNECTIONS_OF_OPERATIONS,
            connections_per_address_max: CONNECTIONS_OF_OPERATIONS / 16,
            is_proxy: Box::new(|_| false),
            head_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(1),
            send_buffer_bytes: 16 * 1024,
            answer_rate_min: 4096,
        }
    }
}

/// Serves until `shutdown`, then until the last request has ended or the drain time is over. `answer` receives each request
/// with the peer's address.
pub async fn serve<A, F>(listener: TcpListener, bounds: Bounds, answer: A, shutdown: CancellationToken)
where
    A: Fn(SocketAddr, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    // Connections inherit these from the listener.
    let socket = SockRef::from(&listener);
    for set in [
        socket.set_send_buffer_size(bounds.send_buffer_bytes),
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES),
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)),
    ] {
        if let Err(error) = set {
            tracing::warn!(%error, "cannot limit the kernel's buffers of this listener; slow clients can use more memory");
        }
    }
    let places = Places::new(&bounds);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head_timeout).max_buf_size(HEAD_BYTES_MAX);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some((stream, peer, place)) =
        shutdown.run_until_cancelled(accept(&listener, &places, &bounds)).await
    {
        let answer = answer.clone();
        let of_requests = place.clone();
        let service = service_fn(move |request| reply(answer.clone(), peer, request, of_requests.clone()));
        let stream = TokioIo::new(Connection::new(stream, bounds.answer_rate_min, bounds.send_buffer_bytes));
        let connection = graceful.watch(http.serve_connection(stream, service));
        let task = connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke");
            }
        });
        place.served_by(task);
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    };
    if tokio::time::timeout(bounds.drain_timeout, drained).await.is_err() {
        tracing::warn!("the drain time is over and some requests have not finished");
    }
}

async fn reply<A, F>(
    answer: A,
    peer: SocketAddr,
    request: Request<Incoming>,
    place: Place,
) -> Result<Response, Infallible>
where
    A: Fn(SocketAddr, Request<Incoming>) -> F,
    F: Future<Output = Response>,
{
    let refused = if place.begin() { fault(&request) } else { Some(StatusCode::SERVICE_UNAVAILABLE) };
    let response = match refused {
        Some(status) => {
            (status, [(CONNECTION, HeaderValue::from_static("close"))], Body::empty()).into_response()
        }
        None => answer(peer, request).await,
    };
    place.end();
    Ok(response)
}

/// Checks a head that hyper has accepted, and returns the error status if it is refused. A request with two host names
/// is refused, because a proxy in front could use one name and this process the other. The size is checked here,
/// because hyper reads more than its buffer size if the head arrives in large pieces.
fn fault<B>(request: &Request<B>) -> Option<StatusCode> {
    let headers = request.headers();
    match headers.get_all(HOST).iter().count() {
        0 if request.version() >= Version::HTTP_11 => return Some(StatusCode::BAD_REQUEST),
        0 | 1 => {}
        _ => return Some(StatusCode::BAD_REQUEST),
    }
    let target = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    (target + fields.sum::<usize>() > HEAD_BYTES_MAX).then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}

/// Accepts the next connection that gets a place; others are closed. If accepting fails because the system lacks a resource,
/// tries again after a pause.
async fn accept(listener: &TcpListener, places: &Places, bounds: &Bounds) -> (TcpStream, SocketAddr, Place) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Responses are small and complete, so waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                let address = peer.ip().to_canonical();
                let Some(place) = places.take(address, (bounds.is_proxy)(address)) else {
                    tracing::debug!(%peer, "closing a new connection: the limit is reached");
                    continue;
                };
                return (stream, peer, place);
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot accept a connection; trying again after a pause"
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_one_host_and_a_bounded_size() {
        let of = |fields: &[(&str, &str)]| {
            let mut request = Request::get("/");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            fault(&request.body(()).unwrap()).map(|status| status.as_u16())
        };
        assert_eq!(of(&[("host", "a"), ("x", "y")]), None);
        assert_eq!(of(&[("host", "a"), ("host", "a")]), Some(400));
        assert_eq!(of(&[]), Some(400));
        let old = Request::get("/").version(Version::HTTP_10).body(()).unwrap();
        assert_eq!(fault(&old), None, "HTTP/1.0 does not require a Host field");
        assert_eq!(of(&[("host", "a"), ("x", &"y".repeat(33_000))]), Some(431));
    }
}
