//! The frame around every request: the answer to any input says clearly what is wrong with it.

use std::collections::BTreeSet;

use reqwest::Method;
use runtime::settings::Loader;
use serde_json::json;
use tests::{Running, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Answer;

/// Sends bytes as they are, and returns the head of the answer.
async fn raw(api: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(api.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the connection ended within {:?}", String::from_utf8_lossy(&answer));
        answer.extend(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).to_ascii_lowercase()
}

#[tokio::test]
async fn unknown_path_is_404() {
    let world = World::new().await;
    let api = world.api().await;
    for path in [
        "/nowhere",
        "/v1",
        "/v2/blogs",
        "/v1/blogs/",
        "//v1/blogs",
        "/v1/blogs/1/likes",
        "/v1/%62logs/",
        "/V1/blogs",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
            let answer = Answer::to(api.request(method, path)).await.refused(404);
            assert!(answer.detail().contains("/docs"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn unknown_method_is_405_with_the_allowed_methods() {
    let world = World::new().await;
    let api = world.api().await;
    for (path, allowed, others) in [
        ("/v1/accounts", "POST", [Method::GET, Method::PUT]),
        ("/v1/accounts/me", "DELETE", [Method::GET, Method::POST]),
        ("/v1/accounts/me/password", "PUT", [Method::GET, Method::POST]),
        ("/v1/sessions", "DELETE,POST", [Method::GET, Method::PUT]),
        ("/v1/blogs", "GET,HEAD,POST", [Method::PUT, Method::DELETE]),
        ("/v1/blogs/1", "DELETE,GET,HEAD,PATCH", [Method::PUT, Method::POST]),
        ("/v1/blogs/by-slug/x", "GET,HEAD", [Method::PUT, Method::DELETE]),
        ("/v1/blogs/1/publish", "POST", [Method::GET, Method::PUT]),
        ("/v1/blogs/1/unpublish", "POST", [Method::GET, Method::DELETE]),
        ("/v1/blogs/1/views", "POST", [Method::GET, Method::PUT]),
        ("/v1/blogs/1/like", "DELETE,PUT", [Method::GET, Method::POST]),
        ("/v1/blogs/1/shares", "POST", [Method::GET, Method::PUT]),
        ("/v1/blogs/1/stats", "GET,HEAD", [Method::POST, Method::DELETE]),
        ("/v1/engagement", "POST", [Method::GET, Method::PUT]),
        ("/healthz", "GET,HEAD", [Method::POST, Method::PUT]),
        ("/readyz", "GET,HEAD", [Method::POST, Method::PUT]),
        ("/metrics", "GET,HEAD", [Method::POST, Method::PUT]),
    ] {
        let strange = [Method::OPTIONS, Method::TRACE, Method::from_bytes(b"BREW").unwrap()];
        for method in others.into_iter().chain(strange) {
            let answer = Answer::to(api.request(method.clone(), path)).await.refused(405);
            let named: BTreeSet<&str> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
            assert_eq!(named, allowed.split(',').collect(), "{method} {path}");
        }
    }
    let head = Answer::to(api.request(Method::HEAD, "/v1/blogs")).await.is(200);
    assert!(head.body.is_null());
}

#[tokio::test]
async fn body_must_be_declared_as_json_and_be_valid() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Bodies").await;
    for (method, path) in [
        (Method::POST, "/v1/accounts".to_owned()),
        (Method::POST, "/v1/sessions".to_owned()),
        (Method::PUT, "/v1/accounts/me/password".to_owned()),
        (Method::POST, "/v1/blogs".to_owned()),
        (Method::PATCH, format!("/v1/blogs/{blog}")),
        (Method::POST, format!("/v1/blogs/{blog}/shares")),
        (Method::POST, "/v1/engagement".to_owned()),
    ] {
        let send = async |media_type: Option<&str>, body: &[u8]| {
            let request = api.call(method.clone(), &path, Some(&token)).body(body.to_vec());
            Answer::to(match media_type {
                Some(media_type) => request.header("Content-Type", media_type),
                None => request,
            })
            .await
        };
        for other in
            [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some(""), Some("json")]
        {
            let answer = send(other, b"{}").await.refused(415);
            assert!(answer.detail().contains("application/json"), "{answer:?}");
        }
        let cut_short: [&[u8]; 2] =
            if path == "/v1/engagement" { [b"[", b"[1,]"] } else { [b"{", b"{'a': 1}"] };
        for broken in cut_short.into_iter().chain([
            &b""[..],
            b"nul",
            b"\xef\xbb\xbf{}",
            b"\"\xff\"",
            b"\"\\ud800\"",
            b"\"\x00\"",
            b"<xml/>",
        ]) {
            let answer = send(Some("application/json"), broken).await.refused(400);
            assert!(answer.detail().contains("not JSON"), "{answer:?}");
        }
        // JSON of any media type is parsed, and refused for its contents.
        for json in ["application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"] {
            send(Some(json), b"7").await.refused(422);
        }
        let deep = "[".repeat(10_000);
        let answer = send(Some("application/json"), deep.as_bytes()).await;
        assert!([400, 422].contains(&answer.status), "{answer:?}");
        answer.clone().refused(answer.status);
    }
}

#[tokio::test]
async fn list_instead_of_an_object_is_refused() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let sign_up = json!(["grace", "grace@example.org", super::PASSWORD]);
    api.post_json("/v1/accounts", None, sign_up).await.names(422, &["body"]);
    api.post_json("/v1/sessions", None, json!(["ada", super::PASSWORD])).await.names(422, &["body"]);
    api.post_json("/v1/blogs", Some(&token), json!(["Title", "Text", [], true])).await.names(422, &["body"]);
    let blog = api.blog(&token, "Kept").await;
    api.patch(&format!("/v1/blogs/{blog}"), Some(&token), json!(["Lost", null, null]))
        .await
        .names(422, &["body"]);
    for (path, body) in [("views", json!(["reader"])), ("shares", json!(["link"]))] {
        api.post_json(&format!("/v1/blogs/{blog}/{path}"), None, body).await.names(422, &["body"]);
    }
    let batch = json!([["blog.viewed", blog, null, null, null, null]]);
    assert_eq!(api.post_json("/v1/engagement", None, batch).await.is(202).body["accepted"], 0);
}

#[tokio::test]
async fn body_that_is_too_long_is_413_with_or_without_a_length() {
    let world = World::new().await;
    let keys = ["requests.body_bytes_max", "bodies.blog_bytes_max", "bodies.batch_bytes_max"];
    let few = |loader: Loader| loader.set("requests.concurrent_max", 32);
    let set = |loader| keys.into_iter().fold(few(loader), |loader, key| loader.set(key, 524_288));
    let api = world.api_with(set).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Long").await;
    for path in ["/v1/blogs".to_owned(), "/v1/engagement".to_owned(), format!("/v1/blogs/{blog}/views")] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        );
        let body = "x".repeat(524_289);
        for long in [
            format!("{head}Content-Length: 524289\r\n\r\n{body}"),
            // In chunks, so that the length is unknown in advance.
            format!("{head}Transfer-Encoding: chunked\r\n\r\n80001\r\n{body}\r\n0\r\n\r\n"),
        ] {
            let answer = raw(&api, long.as_bytes()).await;
            assert!(answer.starts_with("http/1.1 413"), "{path}: {answer}");
            assert!(answer.contains("content-type: application/problem+json"), "{path}: {answer}");
        }
    }
    api.post_json("/v1/blogs", Some(&token), json!({"title": "Short", "body": ""})).await.is(201);
}

#[tokio::test]
async fn invalid_http_is_refused_and_the_next_request_is_served() {
    let world = World::new().await;
    let api = world.api().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X-A: b\r\n".repeat(200));
    let large = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-A: {}\r\n\r\n", "x".repeat(40_000));
    for (bytes, status) in
        [(&large[..], "431"), ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: 127.0.0.1\r\n\r\n", "400")]
    {
        let answer = raw(&api, bytes.as_bytes()).await;
        assert!(answer.starts_with(&format!("http/1.1 {status}")), "{answer}");
    }
    for bytes in [
        &b"garbage\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"POST /v1/blogs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/blogs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let answer = raw(&api, bytes).await;
        assert!(answer.starts_with("http/1.1 4"), "{answer}");
    }
    api.get("/healthz", None).await.is(200);
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_security_headers() {
    let world = World::new().await;
    let api = world.api().await;
    let mut ids = BTreeSet::new();
    for path in ["/v1/blogs", "/v1/blogs/1", "/nothing", "/healthz", "/openapi.json"] {
        let request = api.request(Method::GET, path).header("X-Request-Id", "chosen by the client");
        let answer = Answer::to(request).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(
            answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"),
            "{path}"
        );
        ids.insert(answer.header("x-request-id").unwrap().to_owned());
    }
    assert_eq!(ids.len(), 5);
    assert!(!ids.contains("chosen by the client"));
}
