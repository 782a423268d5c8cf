//! What surrounds every request: an id, the log and the metrics, the limits, and an answer whatever happens.
//! From the outside in: observe, cross-origin rules, headers, panics; and around the product's own paths
//! (not those of operations) the number of requests at a time, their time, and the length of their bodies.

mod observe;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use prometheus_client::registry::Registry;
use runtime::health::Health;
use runtime::metrics::operations_router;
use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

pub use observe::{HttpMetrics, REQUEST_ID};

use crate::problem::{Problem, Result};
use crate::settings::RequestSettings;

/// What the frame is made of.
pub struct Frame {
    /// What `/readyz` answers from.
    pub health: Health,
    /// What `/metrics` answers from.
    pub registry: Registry,
    /// Registered in it.
    pub metrics: HttpMetrics,
    /// Cross-origin rules; none, and no such header is ever sent.
    pub cors: Option<CorsLayer>,
}

impl Frame {
    /// Puts everything around the product's own routes: their bounds, the documentation, the endpoints of operations, and
    /// what every answer has.
    pub fn around(self, product: Router, document: OpenApi, requests: &RequestSettings) -> Router {
        let bounds =
            Bounds { places: Arc::new(Semaphore::new(requests.concurrent_max)), timeout: requests.timeout() };
        // The router boxes what a call of `layer` adds, and every request clones the boxes: one call for all of them.
        let product = product.layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(bounds, in_bounds))
                .layer(DefaultBodyLimit::max(requests.body_bytes_max)),
        );
        // Otherwise the page would have the document judged by a service on the internet.
        let page = utoipa_swagger_ui::Config::default().validator_url("none");
        let docs = SwaggerUi::new("/docs").url("/openapi.json", document).config(page);
        Router::new()
            .merge(product)
            .merge(docs)
            .merge(operations_router(self.health, Arc::new(self.registry)))
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .fallback(async || Problem::not_found("there is nothing at this path; /docs shows what there is"))
            .layer(
                ServiceBuilder::new()
                    .layer(from_fn_with_state(self.metrics, observe::observe))
                    .option_layer(self.cors)
                    .layer(from_fn(headers))
                    .layer(CatchPanicLayer::custom(panicked)),
            )
    }
}

#[derive(Clone)]
struct Bounds {
    places: Arc<Semaphore>,
    timeout: Duration,
}

/// So many requests at a time, each within its time.
async fn in_bounds(State(bounds): State<Bounds>, request: Request, next: Next) -> Result<Response> {
    let Ok(_place) = bounds.places.try_acquire() else {
        return Err(Problem::unavailable("too many requests are under way", 1));
    };
    match tokio::time::timeout(bounds.timeout, next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => Err(Problem::unavailable("the request took too long; whether it was done is not known", 1)),
    }
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(message, "a request panicked");
    Problem::panicked().into_response()
}

/// Headers that keep a browser from making more of an answer than it is.
async fn headers(request: Request, next: Next) -> Response {
    // Of what does not say by itself what it needs, the documentation alone has scripts and styles.
    let is_docs = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static(if is_docs { DOCS_POLICY } else { POLICY });
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'";
