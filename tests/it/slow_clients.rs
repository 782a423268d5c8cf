//! Clients that send or read as slowly as they can: the API bounds the memory, the connections and the time that each
//! of them takes, and serves other clients meanwhile.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::Method;
use runtime::settings::Loader;
use serde_json::json;
use tests::{DEADLINE, Running, World, answer, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Well below a test's `requests.timeout_ms`, so that the request timeout cannot be the cause.
const SOON: Duration = Duration::from_secs(40);
const STALLED: usize = 120;
const BODY_BYTES: usize = 2_000_000;
/// The number of such bodies that fit into one address's share of the memory.
const SHARE: usize = (4 << 20) / BODY_BYTES;

/// A connection from another address of this machine, with a receive buffer as small as the kernel allows.
async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Reads the status of the answer; `None` when the connection was reset before it.
async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.ok()?;
    std::str::from_utf8(&head).unwrap().rsplit(' ').next()?.parse().ok()
}

/// Sends a long body without its end, and returns the status of the answer. Every request names another client.
async fn stall(to: SocketAddr, index: usize) -> Option<u16> {
    let mut stream = connect([127, 0, 0, 2], to).await;
    let head = format!(
        "POST /v1/engagement HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         x-forwarded-for: 192.0.2.{index}\r\ncontent-length: {BODY_BYTES}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let body = vec![b' '; BODY_BYTES - 1];
    let (mut read, mut write) = stream.split();
    // The API does not read a refused body to its end.
    let sent = async {
        let _ = write.write_all(&body).await;
        std::future::pending::<()>().await;
    };
    let mut head = [0; 12];
    tokio::select! {
        () = sent => None,
        read = read.read_exact(&mut head) => {
            read.ok()?;
            std::str::from_utf8(&head).unwrap().rsplit(' ').next()?.parse().ok()
        }
    }
}

#[tokio::test]
async fn stalled_bodies_are_limited_per_address_and_time_out_while_others_are_served() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Busy").await;
    let address = api.address;
    let mut stalled = JoinSet::new();
    for index in 0..STALLED {
        stalled.spawn(async move { timeout(SOON, stall(address, index)).await.ok() });
    }
    for n in 0..200 {
        let view = api.request(Method::POST, &format!("/v1/blogs/{blog}/views"));
        let view = view.header("X-Write-Path", "direct").json(&json!({"visitor": format!("v{n}")}));
        let (status, body) = answer(view).await;
        assert_eq!(status, 200, "view {n}: {body}");
    }
    let ended = stalled.join_all().await;
    let (unanswered, ended): (Vec<_>, Vec<_>) = ended.into_iter().partition(Option::is_none);
    assert!(unanswered.is_empty(), "{} of {STALLED} stalled requests are still held", unanswered.len());
    let too_slow = ended.iter().filter(|status| **status == Some(Some(408))).count();
    assert!(too_slow <= SHARE, "{too_slow} were held to their end: {ended:?}");
    let refused = ended.iter().filter(|status| matches!(status, Some(None | Some(429 | 503)))).count();
    assert_eq!(too_slow + refused, STALLED, "{ended:?}");
    // A single body is within the share, and times out.
    let single = timeout(SOON, stall(address, 0)).await.expect("it is not waited for any longer");
    assert_eq!(single, Some(408));
    api.stop().await;
}

#[tokio::test]
async fn body_limit_depends_on_the_route() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Bodies").await;
    let long = json!({"x": "x".repeat(20_000)});
    for (method, path, expected) in [
        (Method::POST, "/v1/accounts".to_owned(), 413),
        (Method::POST, "/v1/sessions".to_owned(), 413),
        (Method::PUT, "/v1/accounts/me/password".to_owned(), 413),
        (Method::POST, format!("/v1/blogs/{blog}/views"), 413),
        (Method::POST, format!("/v1/blogs/{blog}/shares"), 413),
        (Method::POST, "/v1/notifications/read".to_owned(), 413),
        (Method::POST, "/v1/blogs".to_owned(), 422),
        (Method::PATCH, format!("/v1/blogs/{blog}"), 422),
        (Method::POST, "/v1/engagement".to_owned(), 422),
    ] {
        let request = api.request(method.clone(), &path).bearer_auth(&token).json(&long);
        let (status, body) = answer(request).await;
        assert_eq!(status, expected, "{method} {path}: {body}");
    }
}

/// Sends many requests on one connection, and reads one byte a second of the answers. Returns when the connection ends.
async fn hardly_read(to: SocketAddr) {
    let mut stream = connect([127, 0, 0, 3], to).await;
    let requests = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200);
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut byte = [0];
    loop {
        ticks.tick().await;
        // Check for a reset as well: what arrived before it could still be read for hours, a byte at a time.
        if stream.take_error().unwrap().is_some() || !matches!(stream.read(&mut byte).await, Ok(1)) {
            return;
        }
    }
}

/// Reads a long answer at 16 KiB a second, to its end.
async fn read_slowly(to: SocketAddr, blog: i64) -> usize {
    let mut stream = connect([127, 0, 0, 4], to).await;
    let request = format!("GET /v1/blogs/{blog} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    let (mut read, mut part) = (0, vec![0; 4096]);
    loop {
        ticks.tick().await;
        match stream.read_exact(&mut part).await {
            Ok(bytes) => read += bytes,
            Err(end) => {
                assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof, "after {read} bytes");
                return read;
            }
        }
    }
}

#[tokio::test]
async fn client_reading_one_byte_a_second_is_disconnected_and_a_slow_one_is_not() {
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let console = world.console_with(api.address, worker.address, |loader| loader).await;
    let (notifier, recommender) = (world.notifier().await, world.recommender_with(|loader| loader).await);
    let (_, token) = api.account("ada").await;
    let long = json!({"title": "Long", "body": "x".repeat(250_000), "publish": true});
    let (status, blog) = api.send(Method::POST, "/v1/blogs", Some(&token), long).await;
    assert_eq!(status, 201, "{blog}");
    let (address, blog) = (api.address, blog["id"].as_i64().unwrap());
    let mut slow = JoinSet::new();
    slow.spawn(timeout(DEADLINE, read_slowly(address, blog)));
    let services: [(&str, &Running); 5] = [
        ("blogs-api", &api),
        ("analytics-worker", &worker),
        ("notification-worker", &notifier),
        ("recommendation-api", &recommender),
        ("console", &console),
    ];
    let mut cut = JoinSet::new();
    for (name, running) in services {
        let address = running.address;
        cut.spawn(async move { (name, timeout(SOON, hardly_read(address)).await.is_ok()) });
    }
    for (name, is_cut) in cut.join_all().await {
        assert!(is_cut, "{name} still holds the connection");
    }
    let read = slow.join_next().await.unwrap().unwrap().expect("the slow reader ends in time");
    // An incomplete part at the end is not counted.
    assert!(read > 245_000, "{read}");
}

#[tokio::test]
async fn connections_are_limited_per_address() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("requests.connections_per_address_max", 3)).await;
    let mut held = Vec::new();
    let ask = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for _ in 0..3 {
        let mut stream = connect([127, 0, 0, 5], api.address).await;
        stream.write_all(ask.as_bytes()).await.unwrap();
        assert_eq!(status(&mut stream).await, Some(200));
        held.push(stream);
    }
    let refused = async || {
        let mut stream = connect([127, 0, 0, 5], api.address).await;
        let _ = stream.write_all(ask.as_bytes()).await;
        timeout(DEADLINE, status(&mut stream)).await.expect("it is answered or closed")
    };
    assert_eq!(refused().await, None, "the fourth is closed");
    let (status, _) = answer(api.request(Method::GET, "/healthz")).await;
    assert_eq!(status, 200, "another address is served");
    held.clear();
    assert!(wait_until(async || refused().await == Some(200)).await, "a place is free again");
}

#[tokio::test]
async fn idle_connections_of_others_make_room_for_a_new_one() {
    let world = World::new().await;
    let set = |loader: Loader| {
        loader
            .set("requests.connections_max", 4)
            .set("requests.connections_per_address_max", 1)
            .set("requests.head_timeout_ms", 300_000)
    };
    let api = world.api_with(set).await;
    let mut idle = Vec::new();
    for index in 2..6 {
        idle.push(connect([127, 0, 0, index], api.address).await);
    }
    let newcomer = async || {
        let mut stream = connect([127, 0, 0, 20], api.address).await;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        status(&mut stream).await
    };
    let served = timeout(SOON, newcomer()).await;
    assert_eq!(served.expect("the newcomer is not kept waiting"), Some(200));
    let mut closed = 0;
    for mut stream in idle {
        closed += usize::from(timeout(Duration::from_millis(200), stream.read(&mut [0])).await.is_ok());
    }
    assert_eq!(closed, 1);
}

/// Sends bodies byte by byte, again and again. They take memory in amounts that are too small for a piece of a long
/// body.
async fn keep_dripping_from(from: [u8; 4], to: SocketAddr) {
    let head = format!(
        "POST /v1/engagement HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {BODY_BYTES}\r\n\r\n"
    );
    loop {
        let mut stream = connect(from, to).await;
        stream.set_nodelay(true).unwrap();
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(b" ").await.is_ok() && stream.try_read(&mut [0]).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Sends long bodies without their ends, again and again.
async fn keep_stalling_from(from: [u8; 4], to: SocketAddr) {
    let head = format!(
        "POST /v1/engagement HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {BODY_BYTES}\r\n\r\n"
    );
    let body = vec![b' '; BODY_BYTES - 1];
    loop {
        let mut stream = connect(from, to).await;
        let _ = stream.write_all(head.as_bytes()).await;
        let (mut read, mut write) = stream.split();
        let mut byte = [0];
        let sent = async {
            let _ = write.write_all(&body).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = sent => {}
            _ = read.read(&mut byte) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_bodies_are_read_while_long_ones_use_all_memory() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Busy").await;
    let address = api.address;
    let mut stalling = JoinSet::new();
    for index in 2..20 {
        for _ in 0..4 {
            stalling.spawn(keep_stalling_from([127, 0, 0, index], address));
        }
        stalling.spawn(keep_dripping_from([127, 0, 0, index], address));
    }
    let from = |last: u8| {
        let client = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, last]));
        client.build().unwrap()
    };
    let (reader, other) = (from(20), from(21));
    let is_full = async || {
        let long = other.post(format!("http://{address}/v1/engagement"));
        let long = long.header("content-type", "application/json").body(vec![b' '; 1_000_000]);
        long.send().await.is_ok_and(|response| response.status() == 503)
    };
    let mut while_full = 0;
    let sign_in = json!({"handle": "ada", "password": "correct horse battery"});
    let is_enough = wait_until(async || {
        let before = is_full().await;
        let (status, body) =
            answer(reader.post(format!("http://{address}/v1/sessions")).json(&sign_in)).await;
        assert_eq!(status, 201, "{body}");
        let share = reader.post(format!("http://{address}/v1/blogs/{blog}/shares"));
        let (status, body) = answer(share.json(&json!({"channel": "link"}))).await;
        assert_eq!(status, 202, "{body}");
        while_full += u32::from(before && is_full().await);
        while_full >= 5
    });
    assert!(is_enough.await, "the budget was exhausted {while_full} times");
    stalling.shutdown().await;
    api.stop().await;
}

/// Sends a long body without its end from an address of its own, again and again.
async fn keep_stalling(index: u8, to: SocketAddr) {
    let head = format!(
        "POST /v1/engagement HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {BODY_BYTES}\r\n\r\n"
    );
    let part = vec![b' '; BODY_BYTES / 32];
    loop {
        let mut stream = connect([127, 0, 1, index], to).await;
        if stream.write_all(head.as_bytes()).await.is_ok() && stream.write_all(&part).await.is_ok() {
            let _ = stream.read(&mut [0; 1]).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The number of requests from another address that are accepted in two seconds, eight at a time.
async fn accepted(api: &Running, blog: i64) -> u32 {
    let until = tokio::time::Instant::now() + Duration::from_secs(2);
    let one = async || {
        let mut accepted = 0;
        while tokio::time::Instant::now() < until {
            let share = api.request(Method::POST, &format!("/v1/blogs/{blog}/shares"));
            let (status, body) = answer(share.json(&json!({"channel": "link"}))).await;
            assert_eq!(status, 202, "{body}");
            accepted += 1;
        }
        accepted
    };
    let (a, b, c, d, e, f, g, h) = tokio::join!(one(), one(), one(), one(), one(), one(), one(), one());
    a + b + c + d + e + f + g + h
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and wants a quiet machine"]
async fn other_address_keeps_its_rate_while_400_bodies_stall() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Measured").await;
    api.connected().await;
    let (address, mut ratios) = (api.address, Vec::new());
    accepted(&api, blog).await;
    for pair in 0..10 {
        let before = accepted(&api, blog).await;
        let mut stalled = JoinSet::new();
        for index in 0..400_u16 {
            stalled.spawn(keep_stalling(u8::try_from(index / 2).unwrap() + 1, address));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let meanwhile = accepted(&api, blog).await;
        stalled.shutdown().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = accepted(&api, blog).await;
        let ratio = 2.0 * f64::from(meanwhile) / f64::from(before + after);
        eprintln!(
            "pair {pair}: {before} before, {meanwhile} while 400 bodies stall, {after} after: {ratio:.3}"
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let median = f64::midpoint(ratios[4], ratios[5]);
    eprintln!("median {median:.3}, from {:.3} to {:.3}", ratios[0], ratios[9]);
    assert!(median >= 0.9, "{median}");
}
