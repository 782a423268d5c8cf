//! The load generator against a server that answers, refuses and hangs up, and keeps its own count.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

/// What the server did with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    Accept,
    Refuse,
    HangUp,
}

/// Serves one connection; says of each request what it was and what was done.
async fn serve(mut stream: TcpStream, seen: mpsc::Sender<(String, Did)>) {
    let mut received = Vec::new();
    for n in 1_u32.. {
        let body = loop {
            let head = received.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(head) = head.filter(|head| received.len() >= head + 4 + 46) {
                break String::from_utf8(received[head + 4..].to_vec()).unwrap();
            }
            if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&received).into_owned();
        assert!(head.starts_with("POST /v1/blogs/7/views HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("x-write-path: direct-batched\r\n"), "{head}");
        received.clear();
        let did = match n % 10 {
            3 => Did::Refuse,
            7 => Did::HangUp,
            _ => Did::Accept,
        };
        seen.send((body, did)).await.unwrap();
        let answer: &[u8] = match did {
            Did::Accept => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            Did::Refuse => b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            Did::HangUp => return,
        };
        stream.write_all(answer).await.unwrap();
    }
}

#[tokio::test]
async fn every_request_is_in_the_tally_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let load = Load {
        target: listener.local_addr().unwrap(),
        connections: 8,
        duration: Duration::from_secs(60),
        path: WritePath::DirectBatched,
        blogs: vec![7],
        spread: Spread::Hot,
        think: Duration::ZERO,
    };
    let stop = CancellationToken::new();
    let (sender, mut seen) = mpsc::channel(16);
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, sender.clone()));
        }
    });
    let count = async {
        let mut visitors = BTreeSet::new();
        let (mut accepted, mut refused, mut hung_up) = (0, 0, 0);
        while let Some((body, did)) = seen.recv().await {
            assert!(visitors.insert(body), "a visitor came twice");
            match did {
                Did::Accept => accepted += 1,
                Did::Refuse => refused += 1,
                Did::HangUp => hung_up += 1,
            }
            if visitors.len() == 500 {
                stop.cancel();
            }
        }
        (accepted, refused, hung_up)
    };
    let run = async {
        let tally = load.run(&stop).await.unwrap();
        server.shutdown().await;
        tally
    };
    let (tally, counts) = tokio::join!(run, count);
    assert_eq!((tally.accepted, tally.refused_total(), tally.unknown), counts);
    assert_eq!(tally.refused.keys().collect::<Vec<_>>(), [&503]);
    assert!(tally.accepted > 0 && tally.refused_total() > 0 && tally.unknown > 0);
    assert!(tally.latency(1.0) >= tally.latency(0.5) && tally.latency(0.5) > Duration::ZERO);
}

#[tokio::test]
async fn load_goes_to_this_machine_only() {
    let load = Load {
        target: "192.0.2.1:8080".parse().unwrap(),
        connections: 1,
        duration: Duration::from_secs(1),
        path: WritePath::Message,
        blogs: vec![1],
        spread: Spread::Uniform,
        think: Duration::ZERO,
    };
    let refused = load.run(&CancellationToken::new()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "192.0.2.1:8080 is not a loopback address; the load generator sends to this machine only"
    );
}
