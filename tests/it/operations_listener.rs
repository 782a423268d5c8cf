//! Metrics, readiness and documentation, on another port than the one that readers reach.

use reqwest::{Client, Method};
use runtime::settings::Loader;
use tests::{Running, World, answer, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const OPERATIONS: [&str; 2] = ["/metrics", "/readyz"];
const DOCS: [&str; 3] = ["/docs", "/docs/", "/openapi.json"];

/// Sets the production value of what the other tests replace.
fn apart(loader: Loader) -> Loader {
    loader.set("http.operations_address", "127.0.0.1:0")
}

fn apart_without_docs(loader: Loader) -> Loader {
    apart(loader).set("docs.enabled", false)
}

/// The status of a request to the operations listener.
async fn of_operations(running: &Running, path: &str) -> u16 {
    let url = format!("http://{}{path}", running.operations_address);
    Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap().status().as_u16()
}

async fn of_public(running: &Running, path: &str) -> u16 {
    answer(running.request(Method::GET, path)).await.0.as_u16()
}

#[tokio::test]
async fn public_port_has_neither_metrics_nor_readiness_nor_docs() {
    let world = World::new().await;
    let api = world.api_with(apart_without_docs).await;
    let recommender = world.recommender_with(apart_without_docs).await;
    let worker = world.worker().await;
    let console = world.console_with(api.address, worker.address, apart).await;
    for (name, running) in [("blogs-api", &api), ("recommendation-api", &recommender), ("console", &console)]
    {
        assert_ne!(running.address, running.operations_address, "{name}");
        for path in OPERATIONS.into_iter().chain(DOCS) {
            assert_eq!(of_public(running, path).await, 404, "{name}: {path} on the public port");
        }
        for path in DOCS.into_iter().chain(["/v1/blogs", "/", "/sign-in"]) {
            assert_eq!(of_operations(running, path).await, 404, "{name}: {path} on the operations port");
        }
        assert_eq!(of_operations(running, "/metrics").await, 200, "{name}");
        let ready = wait_until(async || of_operations(running, "/readyz").await == 200);
        assert!(ready.await, "{name} is ready");
        for status in [of_public(running, "/healthz").await, of_operations(running, "/healthz").await] {
            assert_eq!(status, 200, "{name}: /healthz");
        }
    }
    for running in [console, recommender, api, worker] {
        running.stop().await;
    }
}

#[tokio::test]
async fn document_names_only_what_its_port_serves() {
    let world = World::new().await;
    let api = world.api_with(apart).await;
    assert_eq!(of_public(&api, "/docs/").await, 200);
    let (_, document) = answer(api.request(Method::GET, "/openapi.json")).await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/healthz") && paths.contains_key("/v1/blogs"));
    assert!(OPERATIONS.into_iter().all(|path| !paths.contains_key(path)));
    // The readers' pages link to the documentation, if it is enabled.
    let page = async |api: &Running| {
        let page = api.request(Method::GET, "/").header("accept", "text/html");
        page.send().await.unwrap().text().await.unwrap()
    };
    assert!(page(&api).await.contains("href=\"/docs\""));
    assert!(!page(&world.api_with(apart_without_docs).await).await.contains("href=\"/docs\""));
}

/// Sends a request with this `Host` to the operations listener and returns its status.
async fn with_host(running: &Running, host: &str) -> u16 {
    let mut stream = TcpStream::connect(running.operations_address).await.unwrap();
    let head = format!("GET /metrics HTTP/1.1\r\n{host}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn operations_listener_bounds_names_heads_and_connections() {
    let world = World::new().await;
    let api = world.api_with(apart).await;
    assert_eq!(with_host(&api, "host: localhost\r\n").await, 200);
    assert_eq!(with_host(&api, "host: evil.example\r\n").await, 403);
    assert_eq!(with_host(&api, "host: localhost\r\nhost: localhost\r\n").await, 400);
    assert_eq!(with_host(&api, "").await, 400);
    // One address has 8 connections there, whatever the public listener allows; further ones are closed. Those from above may
    // still count for a moment.
    let mut held = Vec::new();
    let is_full = wait_until(async || {
        let mut stream = TcpStream::connect(api.operations_address).await.unwrap();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let mut status = [0; 12];
        if stream.read_exact(&mut status).await.is_ok() {
            assert_eq!(&status, b"HTTP/1.1 200");
            held.push(stream);
        }
        held.len() == 8
    });
    assert!(is_full.await, "8 connections are accepted");
    let mut refused = TcpStream::connect(api.operations_address).await.unwrap();
    let _ = refused.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(!matches!(refused.read(&mut [0]).await, Ok(1)), "a connection beyond the share is closed");
    assert_eq!(of_public(&api, "/healthz").await, 200);
}

#[tokio::test]
async fn workers_refuse_names_of_other_sites() {
    let world = World::new().await;
    let named = |loader: Loader| loader.set("http.host_names", vec!["analytics.example"]);
    let (worker, notifier) = (world.worker_with(named).await, world.notifier().await);
    for (name, running) in [("analytics-worker", &worker), ("notification-worker", &notifier)] {
        for good in ["host: localhost\r\n", "host: 127.0.0.1:8090\r\n"] {
            assert_eq!(with_host(running, good).await, 200, "{name}: {good}");
        }
        assert_eq!(with_host(running, "host: evil.example\r\n").await, 403, "{name}");
    }
    assert_eq!(with_host(&worker, "host: analytics.example\r\n").await, 200);
    assert_eq!(with_host(&notifier, "host: analytics.example\r\n").await, 403);
    for running in [worker, notifier] {
        running.stop().await;
    }
}

/// In a container, which listens on every address while its port is published on a loopback address.
#[tokio::test]
async fn service_with_names_answers_no_other_name_on_any_address() {
    let world = World::new().await;
    let on_every_address = |loader: Loader| {
        let loader = loader.set("http.address", "0.0.0.0:0").set("http.operations_address", "0.0.0.0:0");
        loader.set("requests.host_names", vec!["blogs-api"])
    };
    let api = world.api_with(on_every_address).await;
    for (host, status) in
        [("blogs-api:9080", 200), ("localhost", 200), ("172.18.0.2:9080", 200), ("evil.example", 403)]
    {
        assert_eq!(with_host(&api, &format!("host: {host}\r\n")).await, status, "{host}");
        let public = answer(api.request(Method::GET, "/healthz").header("host", host)).await;
        assert_eq!(public.0.as_u16(), status, "{host} on the public port");
    }
    api.stop().await;
}

/// A request under way at the shutdown is answered, operations are served until then, and afterwards neither port is open.
#[tokio::test]
async fn both_listeners_drain_on_shutdown() {
    let world = World::new().await;
    let api = world.api_with(apart).await;
    let (public, operations) = (api.address, api.operations_address);
    let mut under_way = TcpStream::connect(public).await.unwrap();
    let body = br#"{"handle":"ada","email":"ada@example.org","password":"correct horse battery"}"#;
    let head = format!(
        "POST /v1/accounts HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    under_way.write_all(head.as_bytes()).await.unwrap();
    // The handler waits for the body.
    let mut go_on = [0; 25];
    under_way.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    let drain = api.begin_to_stop();
    assert!(wait_until(async || TcpStream::connect(public).await.is_err()).await, "the public port closes");
    let mut scrape = TcpStream::connect(operations).await.unwrap();
    let ask = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    scrape.write_all(ask).await.unwrap();
    let mut metrics = String::new();
    scrape.read_to_string(&mut metrics).await.unwrap();
    assert!(
        metrics.starts_with("HTTP/1.1 200") && metrics.contains("http_requests_under_way 2"),
        "{metrics}"
    );

    under_way.write_all(body).await.unwrap();
    let mut created = String::new();
    under_way.read_to_string(&mut created).await.unwrap();
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    drain.await;
    assert!(TcpStream::connect(operations).await.is_err(), "the operations port closes");
}
