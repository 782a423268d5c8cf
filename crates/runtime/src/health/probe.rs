//! Queries `/readyz` from outside the process, for a container's health check: the image contains only the service's own
//! binary.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANSWER_MAX: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The service is not ready or not running.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The request failed.
    #[error("cannot query {0}. Is the service running?")]
    Unreachable(SocketAddr, #[source] std::io::Error),
    /// It did not answer in time.
    #[error("{0} did not answer within {seconds} s", seconds = ANSWER_MAX.as_secs())]
    TimedOut(SocketAddr),
    /// It is not ready. Contains its complete response.
    #[error("{0} is not ready: {1}")]
    Answer(SocketAddr, String),
}

/// Queries whether the service at this address of this machine is ready. For an unspecified address (`0.0.0.0`, `[::]`) it
/// uses the loopback address.
///
/// # Errors
/// [`NotReady`], unless the answer is 200.
pub async fn ask(address: SocketAddr) -> Result<(), NotReady> {
    let address = reachable(address);
    let answer = tokio::time::timeout(ANSWER_MAX, exchange(address)).await;
    let answer = answer.map_err(|_late| NotReady::TimedOut(address))?;
    let answer = answer.map_err(|source| NotReady::Unreachable(address, source))?;
    let status = answer.split(' ').nth(1);
    if status == Some("200") { Ok(()) } else { Err(NotReady::Answer(address, answer)) }
}

async fn exchange(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(loopback, address.port())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::registry::Registry;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::health::{Health, ReadyRule};

    #[tokio::test]
    async fn the_probe_reports_what_readyz_answers() {
        let health = Health::new(ReadyRule::All(&["broker"]));
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = crate::metrics::operations_router(health.clone(), Arc::new(Registry::default()));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });

        health.report("broker", Err("connection refused".to_owned()));
        let said = ask(address).await.unwrap_err().to_string();
        assert!(said.contains("connection refused"), "{said}");
        health.report("broker", Ok(()));
        ask(address).await.unwrap();

        server.shutdown().await;
        assert!(matches!(ask(address).await, Err(NotReady::Unreachable(..))));
    }
}
