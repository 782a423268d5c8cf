//! The three operations endpoints of every process: `/healthz`, `/readyz` and `/metrics`. Workers serve only these; the other
//! services have a separate listener for them, or merge them into their own router.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::health::Health;

/// The paths of the operations endpoints, for code that leaves them out of traces and request counts.
pub const OPERATIONS_PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Media type of `/metrics`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/healthz` answers 200 while the process is alive; it checks no dependency. `/readyz` answers 200 or 503 with the state
/// of every part. `/metrics` returns the registry as `OpenMetrics` text.
pub fn operations_router(health: Health, registry: Arc<Registry>) -> Router {
    let ready = Router::new().route("/readyz", get(readyz)).with_state(health);
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(registry);
    liveness_router().merge(ready).merge(metrics)
}

/// Only `/healthz`, for a port that is not restricted to operators. It reveals only that the process is alive.
pub fn liveness_router() -> Router {
    Router::new().route("/healthz", get(async || "ok\n"))
}

async fn readyz(State(health): State<Health>) -> Response {
    let status = health.status();
    let code = if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(status)).into_response()
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt;

    use super::*;
    use crate::health::ReadyRule;

    async fn get(router: &Router, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let code = response.status();
        let media_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, media_type, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_three_endpoints_answer() {
        let health = Health::new(ReadyRule::All(&["database"]));
        let mut registry = Registry::default();
        let turns: Counter = Counter::default();
        turns.inc_by(3);
        registry.register("turns", "How often it turned", turns);
        let router = operations_router(health.clone(), Arc::new(registry));

        assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);
        health.report("database", Err("no answer".to_owned()));
        let (code, media_type, body) = get(&router, "/readyz").await;
        assert_eq!((code, media_type.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "application/json"));
        assert_eq!(
            body,
            r#"{"ready":false,"degraded":["database"],"parts":{"database":{"works":false,"reason":"no answer"}}}"#
        );
        health.report("database", Ok(()));
        assert_eq!(get(&router, "/readyz").await.0, StatusCode::OK);
        let (code, media_type, body) = get(&router, "/metrics").await;
        assert_eq!((code, media_type.as_str()), (StatusCode::OK, OPEN_METRICS));
        assert!(body.contains("turns_total 3\n") && body.ends_with("# EOF\n"), "{body}");
    }
}
