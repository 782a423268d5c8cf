//! HTTP/1.1 on one listener, within bounds for each connection, each address and all connections together.
//!
//! The head of a request must arrive in time, and an answer must be read in time ([`Pace`]): a client that sends or reads a
//! byte now and then holds a connection for seconds, not for ever. The kernel's send buffer is small, so that an answer
//! that is not read stays with this process, which counts it. One address may hold a share of the connections. When all
//! connections are taken, new ones wait in the kernel's queue. At shutdown the listener closes, and requests under way may
//! finish within the drain time.

mod connection;
mod pace;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, HOST};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::connection::Connection;
pub use self::pace::{Pace, WINDOW};

/// Most bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The pause after the system could not give us a connection, for want of file descriptors or the like.
const PAUSE: Duration = Duration::from_millis(100);
/// The kernel gives up a connection whose peer has acknowledged nothing for this time. It frees what is left to send to a
/// client that went away or stopped reading after its last answer was handed to the kernel.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// What connections may cost.
pub struct Bounds {
    /// Connections that are open at the same time.
    pub connections_max: usize,
    /// Of these, connections of one address (IPv6: of one /64).
    pub connections_per_address_max: usize,
    /// Whether many clients share an address, as they do behind a proxy of ours: it has no share of its own.
    pub is_proxy: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Longest time for the head of a request to arrive.
    pub head_timeout: Duration,
    /// Longest time for requests under way after the shutdown.
    pub drain_timeout: Duration,
    /// The kernel's send buffer of a connection, in bytes. The kernel doubles it for its own bookkeeping.
    pub send_buffer_bytes: usize,
    /// Least rate at which answers are read, in bytes a second.
    pub answer_rate_min: u32,
}

impl Bounds {
    /// For a listener of operations alone: its clients are few (Prometheus, the console, health checks, and now and then an
    /// operator), and their answers are small.
    #[must_use]
    pub fn of_operations() -> Self {
        Self {
            connections_max: 128,
            connections_per_address_max: 64,
            is_proxy: Box::new(|_| false),
            head_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(1),
            send_buffer_bytes: 32 * 1024,
            answer_rate_min: 4096,
        }
    }
}

/// Serves until `shutdown`, then until the last request has ended or the drain time is over. `answer` gets the peer's
/// address with each request.
pub async fn serve<A, F>(listener: TcpListener, bounds: Bounds, answer: A, shutdown: CancellationToken)
where
    A: Fn(SocketAddr, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    // Connections inherit both from the listener.
    let socket = SockRef::from(&listener);
    for set in [
        socket.set_send_buffer_size(bounds.send_buffer_bytes),
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)),
    ] {
        if let Err(error) = set {
            tracing::warn!(%error, "the listener does not bound what the kernel holds for slow clients");
        }
    }
    let places = Places::new(&bounds);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head_timeout).max_buf_size(HEAD_BYTES_MAX);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some(Some((stream, peer, place))) =
        shutdown.run_until_cancelled(accept(&listener, &places, &bounds)).await
    {
        let answer = answer.clone();
        let service = service_fn(move |request| reply(answer.clone(), peer, request));
        let stream = TokioIo::new(Connection::new(stream, bounds.answer_rate_min));
        let connection = graceful.watch(http.serve_connection(stream, service));
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
    if tokio::time::timeout(bounds.drain_timeout, drained).await.is_err() {
        tracing::warn!("requests were still under way when the drain time was over");
    }
}

/// The address that bounds and limits are counted by: an IPv6 household has a /64.
#[must_use]
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

async fn reply<A, F>(answer: A, peer: SocketAddr, request: Request<Incoming>) -> Result<Response, Infallible>
where
    A: Fn(SocketAddr, Request<Incoming>) -> F,
    F: Future<Output = Response>,
{
    if let Some(status) = fault(&request) {
        return Ok((status, [(CONNECTION, HeaderValue::from_static("close"))], Body::empty()).into_response());
    }
    Ok(answer(peer, request).await)
}

/// Why a head is refused that hyper has let through: a proxy in front could take another of two hosts for the right one,
/// and hyper reads more than its buffer when the head arrives in large pieces.
fn fault<B>(request: &Request<B>) -> Option<StatusCode> {
    let headers = request.headers();
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return Some(StatusCode::BAD_REQUEST);
    }
    let target = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    (target + fields.sum::<usize>() > HEAD_BYTES_MAX).then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}

/// The next connection and its place. Accepting fails for a moment when the system is short of something.
async fn accept(
    listener: &TcpListener,
    places: &Places,
    bounds: &Bounds,
) -> Option<(TcpStream, SocketAddr, Place)> {
    let permit = Arc::clone(&places.all).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small and whole: waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                let address = peer.ip().to_canonical();
                let Some(share) = Share::of(address, places, bounds) else {
                    tracing::debug!(%peer, "the address has its share of connections");
                    continue;
                };
                return Some((stream, peer, Place { _permit: permit, _share: share }));
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

/// Places for connections. An address is in the map while it has a connection.
struct Places {
    all: Arc<Semaphore>,
    of_addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Places {
    fn new(bounds: &Bounds) -> Self {
        Self { all: Arc::new(Semaphore::new(bounds.connections_max)), of_addresses: Arc::default() }
    }
}

/// One connection's place, until it is dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

/// One of the connections of an address; of a proxy, none.
struct Share {
    address: Option<IpAddr>,
    of_addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Share {
    fn of(address: IpAddr, places: &Places, bounds: &Bounds) -> Option<Self> {
        let of_addresses = Arc::clone(&places.of_addresses);
        if (bounds.is_proxy)(address) {
            return Some(Self { address: None, of_addresses });
        }
        let address = household(address);
        {
            let mut counts = of_addresses.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(address).or_default();
            if *count >= bounds.connections_per_address_max {
                return None;
            }
            *count += 1;
        }
        Some(Self { address: Some(address), of_addresses })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut counts = self.of_addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
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
        assert_eq!(of(&[("host", "a"), ("x", &"y".repeat(33_000))]), Some(431));
    }

    #[test]
    fn an_address_has_a_share_and_a_proxy_has_none() {
        let proxy: IpAddr = [10, 0, 0, 1].into();
        let bounds = Bounds {
            connections_max: 10,
            connections_per_address_max: 2,
            is_proxy: Box::new(move |address| address == proxy),
            head_timeout: PAUSE,
            drain_timeout: PAUSE,
            send_buffer_bytes: 1,
            answer_rate_min: 1,
        };
        let places = Places::new(&bounds);
        let of = |text: &str| Share::of(text.parse().unwrap(), &places, &bounds);
        let held = [of("2001:db8::1").unwrap(), of("2001:db8::2").unwrap()];
        assert!(of("2001:db8::3").is_none() && of("192.0.2.1").is_some());
        drop(held);
        assert!(of("2001:db8::3").is_some());
        let proxied: Vec<_> = (0..5).map(|_| of("10.0.0.1").unwrap()).collect();
        drop(proxied);
        assert!(places.of_addresses.lock().unwrap().is_empty());
    }
}
