//! The load generator against a server that answers, refuses, disconnects, and keeps its own count.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::turns::Turns;

/// What the server did with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    Accept,
    Refuse,
    LeaveOpen,
    HangUp,
}

/// Serves one connection, and reports each request and what the server did with it.
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
            5 => Did::LeaveOpen,
            7 => Did::HangUp,
            _ => Did::Accept,
        };
        seen.send((body, did)).await.unwrap();
        let answer: &[u8] = match did {
            Did::Accept => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            Did::Refuse => {
                b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 20\r\n\r\nnothing was promised"
            }
            Did::LeaveOpen => b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
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
        ask: Ask::View(WritePath::DirectBatched),
        pace: Pace::Closed { think: Duration::ZERO },
        blogs: vec![7],
        spread: Spread::Hot,
        anywhere: false,
        answer_max: Duration::from_secs(60),
        refused_pause: Duration::ZERO,
        progress: None,
        keep_times: false,
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
        let (mut accepted, mut refused, mut unknown) = (0, 0, 0);
        while let Some((body, did)) = seen.recv().await {
            assert!(visitors.insert(body), "a visitor came twice");
            match did {
                Did::Accept => accepted += 1,
                Did::Refuse => refused += 1,
                Did::LeaveOpen | Did::HangUp => unknown += 1,
            }
            if visitors.len() == 500 {
                stop.cancel();
            }
        }
        (accepted, refused, unknown)
    };
    let run = async {
        let tally = load.run(&stop).await.unwrap();
        server.shutdown().await;
        tally
    };
    let (tally, counts) = tokio::join!(run, count);
    assert_eq!((tally.accepted, tally.refused_total(), tally.unknown), counts);
    assert_eq!(tally.refused.keys().collect::<Vec<_>>(), [&503]);
    assert_eq!(tally.refusal, Some((503, b"nothing was promised".to_vec())));
    assert!(tally.accepted > 0 && tally.refused_total() > 0 && tally.unknown > 0);
    assert!(tally.latency(1.0) >= tally.latency(0.5) && tally.latency(0.5) > Duration::ZERO);
}

#[tokio::test]
async fn load_goes_to_this_machine_only() {
    let load = Load {
        target: "192.0.2.1:8080".parse().unwrap(),
        connections: 1,
        duration: Duration::from_secs(1),
        ask: Ask::View(WritePath::Message),
        pace: Pace::Closed { think: Duration::ZERO },
        blogs: vec![1],
        spread: Spread::Uniform,
        anywhere: false,
        answer_max: Duration::from_secs(60),
        refused_pause: Duration::ZERO,
        progress: None,
        keep_times: false,
    };
    let refused = load.run(&CancellationToken::new()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "192.0.2.1:8080 is not a loopback address; the load generator sends to this machine only"
    );
}

/// A server that stalls before its first response and is fast afterwards.
async fn stalls_once(listener: TcpListener, stall: Duration) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = vec![0; 4096];
    let mut first = true;
    while stream.read(&mut received).await.unwrap_or(0) > 0 {
        if std::mem::take(&mut first) {
            tokio::time::sleep(stall).await;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    }
}

async fn tally_of(pace: Pace, stall: Duration) -> Tally {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let load = Load {
        target: listener.local_addr().unwrap(),
        connections: 1,
        duration: Duration::from_secs(1),
        ask: Ask::Nothing,
        pace,
        blogs: vec![1],
        spread: Spread::Hot,
        anywhere: false,
        answer_max: Duration::from_secs(60),
        refused_pause: Duration::ZERO,
        progress: None,
        keep_times: true,
    };
    let mut server = JoinSet::new();
    server.spawn(stalls_once(listener, stall));
    load.run(&CancellationToken::new()).await.unwrap()
}

/// The server stalls for 600 ms while 100 requests a second are due. Of 100 requests, the 60 that were due during the stall
/// had to wait, the first of them for the whole stall. A closed loop sees only one slow request.
#[tokio::test]
async fn a_stall_is_not_hidden_from_an_open_loop() {
    let stall = Duration::from_millis(600);
    let open = tally_of(Pace::Open { per_s: 100.0 }, stall).await;
    assert_eq!((open.accepted, open.unsent, open.times.len()), (100, 0, 100));
    assert!(open.latency(1.0) >= stall, "{:?}", open.latency(1.0));
    let late = open.times.iter().filter(|(due, answered)| *answered - *due >= stall / 2).count();
    assert!(late >= 30, "{late} requests were at least half the stall late");

    let closed = tally_of(Pace::Closed { think: Duration::from_millis(5) }, stall).await;
    let late = closed.times.iter().filter(|(due, answered)| *answered - *due >= stall / 2).count();
    assert!(late < open.times.len() / 4 && late >= 1, "{late}");
}

#[tokio::test]
async fn requests_of_an_open_loop_are_due_at_even_times() {
    let mut times = tally_of(Pace::Open { per_s: 200.0 }, Duration::ZERO).await.times;
    times.sort();
    assert_eq!(times.len(), 200);
    for pair in times.windows(2) {
        let apart = pair[1].0 - pair[0].0;
        assert!(apart.abs_diff(Duration::from_millis(5)) < Duration::from_micros(2), "{apart:?}");
    }
}

#[tokio::test]
async fn requests_that_a_slow_server_prevents_are_counted_as_unsent() {
    let turns = Turns::new(Pace::Open { per_s: 1000.0 }, Some(Duration::from_secs(1)), 1);
    let stop = CancellationToken::new();
    stop.cancel();
    assert_eq!(turns.next(&stop).await, None);
    assert_eq!(turns.left(), 1000);
}
