//! Limits on the cost of a request to the console.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use runtime::settings::Loader;
use tests::{DEADLINE, World, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn endless_form_holds_a_request_slot_until_its_timeout_and_streams_hold_none() {
    let world = World::new().await;
    let unused = ([127, 0, 0, 1], 9).into();
    let narrow = |loader: Loader| loader.set("requests.concurrent_max", 1).set("requests.timeout_ms", 3000);
    let console = world.console_with(unused, unused, narrow).await;
    let get = async |path: &str| console.request(Method::GET, path).send().await.unwrap();
    let mut changes = get("/events").await;
    assert_eq!(get("/").await.status(), StatusCode::OK, "an open stream takes no request slot");

    let mut slow = TcpStream::connect(console.address).await.unwrap();
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nhost: {}\r\nsec-fetch-site: same-origin\r\ncontent-length: 100\r\n\r\ntoken=",
        console.address
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let full = wait_until(async || get("/").await.status() == StatusCode::SERVICE_UNAVAILABLE);
    assert!(full.await, "the form takes the only place");
    let mut answer = String::new();
    let ended = timeout(DEADLINE, slow.read_to_string(&mut answer)).await;
    ended.expect("the connection of the form is closed").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("took too long"), "{answer}");

    assert_eq!(get("/").await.status(), StatusCode::OK, "the place is free again");
    // The stream has been open for longer than a request may take. Skip what it has sent until now.
    while let Ok(Ok(Some(_))) = timeout(Duration::from_millis(50), changes.chunk()).await {}
    let news = timeout(DEADLINE, changes.chunk()).await.expect("there is news").unwrap();
    assert!(news.is_some(), "the stream goes on");
    console.stop().await;
}

#[tokio::test]
async fn console_without_a_token_refuses_names_of_other_sites() {
    let world = World::new().await;
    let unused = ([127, 0, 0, 1], 9).into();
    let console = world.console_with(unused, unused, |loader| loader.set("access.token", "")).await;
    for (host, expected) in [("localhost", 200), ("evil.example:8082", 403), ("localhost.evil.example", 403)]
    {
        let page = console.request(Method::GET, "/").header("host", host);
        assert_eq!(page.send().await.unwrap().status(), expected, "{host}");
    }
    console.stop().await;
}

#[tokio::test]
async fn console_limits_token_attempts_and_expires_its_cookie() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let world = World::new().await;
    let unused = ([127, 0, 0, 1], 9).into();
    let console = world.console_with(unused, unused, |loader| loader.set("access.token", TOKEN)).await;
    let sign_in = async |token: &str| {
        let form = console.request(Method::POST, "/sign-in").header("sec-fetch-site", "same-origin");
        form.body(format!("token={token}")).send().await.unwrap()
    };
    let signed_in = sign_in(TOKEN).await;
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("Max-Age=43200"), "{cookie}");
    let session = cookie.split(';').next().unwrap();
    let shown = console.request(Method::GET, "/").header("cookie", session).send().await.unwrap();
    assert_eq!(shown.status(), StatusCode::OK);
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(sign_in("wrong").await.status());
    }
    assert!(statuses.contains(&StatusCode::FORBIDDEN), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
    console.stop().await;
}
