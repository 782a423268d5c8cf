//! All routes in the frame, without Postgres or RabbitMQ.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode};
use runtime::service::Service as _;
use runtime::settings::Loader;
use serde_json::Value;
use tower::ServiceExt;

use crate::{DEFAULTS, Service, Settings};

/// A service whose Postgres and RabbitMQ are unreachable.
pub(crate) async fn service() -> Service {
    let settings: Settings = Loader::new(DEFAULTS)
        .environment([])
        .set("http.address", "127.0.0.1:0")
        .set("http.operations_address", "")
        .set("docs.enabled", true)
        .set("database.url", "postgres://blogs_api@127.0.0.1:1/commonplace")
        .set("broker.url", "amqp://127.0.0.1:1/%2f")
        .set("tokens.signing_keys", "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .set("engagement.visitor_secret", "0123456789abcdef0123456789abcdef")
        .set("passwords.memory_kib", 1024)
        .load()
        .unwrap();
    Service::start(settings).await.unwrap()
}

async fn ask(
    service: &Service,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (StatusCode, HeaderMap, Value) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.into()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 4711))));
    let response = service.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let service = service().await;
    let token = service.state().issuer.issue(1, 0).unwrap().token;
    let bearer = format!("Bearer {token}");
    let signed = ("authorization", bearer.as_str());
    let long = format!("{{\"title\": \"{}\"}}", "x".repeat(3 << 20));
    for (method, path, headers, body, expected) in [
        ("GET", "/v1/nothing", &[][..], "", 404),
        ("PUT", "/v1/blogs", &[], "", 405),
        ("PUT", "/healthz", &[], "", 405),
        ("GET", "/v1/blogs/one", &[], "", 400),
        ("GET", "/v1/blogs?sort=oldest", &[], "", 400),
        ("POST", "/v1/blogs", &[JSON], "{}", 401),
        ("GET", "/v1/blogs", &[("authorization", "Bearer x")], "", 401),
        ("POST", "/v1/blogs", &[signed], "{}", 415),
        ("POST", "/v1/blogs", &[signed, JSON], "{", 400),
        ("POST", "/v1/blogs", &[signed, JSON], "{}", 422),
        ("POST", "/v1/blogs", &[signed, JSON], &long, 413),
        ("GET", "/v1/blogs/1", &[], "", 503),
        ("POST", "/v1/blogs", &[signed, JSON], r#"{"title": "a", "body": ""}"#, 503),
    ] {
        let (status, headers, problem) = ask(&service, method, path, headers, body.to_owned()).await;
        assert_eq!(status, expected, "{method} {path}: {problem}");
        assert_eq!(headers["content-type"], "application/problem+json", "{method} {path}");
        assert_eq!(problem["status"], expected, "{method} {path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{method} {path}");
        assert_eq!(headers.contains_key("retry-after"), expected == 503, "{method} {path}");
        assert_eq!(headers.contains_key("allow"), expected == 405, "{method} {path}");
        assert_eq!(headers.contains_key("www-authenticate"), expected == 401, "{method} {path}");
    }
}

#[tokio::test]
async fn every_response_has_a_request_id_and_security_headers() {
    let service = service().await;
    let (status, headers, _) = ask(&service, "GET", "/healthz", &[], "").await;
    assert_eq!(status, 200);
    for name in ["x-request-id", "x-content-type-options", "content-security-policy", "cache-control"] {
        assert!(headers.contains_key(name), "{name}");
    }
    assert!(!headers.contains_key("access-control-allow-origin"), "cross-origin rules are off");
}

#[tokio::test]
async fn readiness_needs_a_server_but_the_documentation_does_not() {
    let service = service().await;
    assert_eq!(ask(&service, "GET", "/readyz", &[], "").await.0, 503);
    assert_eq!(ask(&service, "GET", "/docs/", &[], "").await.0, 200);
}

#[tokio::test]
async fn document_has_no_dangling_references() {
    let service = service().await;
    let (_, _, document) = ask(&service, "GET", "/openapi.json", &[], "").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut missing = Vec::new();
    look_for_missing(&document, &document, &mut missing);
    assert!(missing.is_empty(), "{missing:?}");
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap_or(path);
            assert!(ids.insert(id.to_owned()), "{method} {path}: {id} is there twice");
            for status in operation["responses"].as_object().unwrap().keys() {
                // A range such as 4XX does not tell a client which errors to handle.
                assert!(status.parse::<u16>().is_ok(), "{method} {path}: {status}");
            }
            for (scheme, _) in operation["security"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|one| one.as_object().unwrap())
            {
                assert!(
                    document["components"]["securitySchemes"].get(scheme).is_some(),
                    "{method} {path}: {scheme}"
                );
            }
        }
    }
}

#[tokio::test]
async fn document_lists_every_refusal_of_engagement() {
    let service = service().await;
    let token = service.state().issuer.issue(1, 0).unwrap().token;
    let bearer = format!("Bearer {token}");
    let signed = ("authorization", bearer.as_str());
    let bad_key = ("idempotency-key", "");
    let long = "x".repeat(3 << 20);
    let (_, _, document) = ask(&service, "GET", "/openapi.json", &[], "").await;
    for (method, path, headers, body, expected) in [
        ("post", "/v1/blogs/{id}/views", &[("authorization", "Bearer x")][..], "", 401),
        ("post", "/v1/blogs/{id}/views", &[], "{", 400),
        ("post", "/v1/blogs/{id}/views", &[], &long, 413),
        ("post", "/v1/blogs/{id}/views", &[], r#"{"visitor": ""}"#, 422),
        ("put", "/v1/blogs/{id}/like", &[], "", 401),
        ("put", "/v1/blogs/{id}/like", &[signed, bad_key], "", 422),
        ("delete", "/v1/blogs/{id}/like", &[], "", 401),
        ("delete", "/v1/blogs/{id}/like", &[signed, bad_key], "", 422),
        ("post", "/v1/blogs/{id}/shares", &[], "{}", 415),
        ("post", "/v1/blogs/{id}/shares", &[JSON], "{}", 422),
        ("post", "/v1/blogs/{id}/shares", &[JSON], &long, 413),
        ("post", "/v1/engagement", &[], "[]", 415),
        ("post", "/v1/engagement", &[JSON], "[", 400),
        ("post", "/v1/engagement", &[JSON], "{}", 422),
        ("post", "/v1/engagement", &[JSON], &long, 413),
        ("get", "/v1/blogs/{id}/stats", &[("authorization", "Bearer x")], "", 401),
        ("get", "/v1/blogs/{id}/stats?interval=week", &[], "", 400),
        ("get", "/v1/blogs/{id}/stats", &[], "", 503),
    ] {
        let address = path.replace("{id}", "1");
        let asked = ask(&service, &method.to_uppercase(), &address, headers, body.to_owned()).await;
        assert_eq!(asked.0, expected, "{method} {path}: {}", asked.2);
        let template = path.split('?').next().unwrap();
        let responses = &document["paths"][template][method]["responses"];
        assert!(responses.get(expected.to_string()).is_some(), "{method} {path}: {expected} in {responses}");
    }
}

/// Collects references to missing parts of the document.
fn look_for_missing(document: &Value, value: &Value, missing: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref")
                && document.pointer(reference.trim_start_matches('#')).is_none()
            {
                missing.push(reference.clone());
            }
            fields.values().for_each(|field| look_for_missing(document, field, missing));
        }
        Value::Array(items) => items.iter().for_each(|item| look_for_missing(document, item, missing)),
        _ => {}
    }
}
