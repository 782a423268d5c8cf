//! The layer around every request: request id, log, metrics, limits, headers, and a response in every case.
//!
//! Except for cross-origin rules and the limit of body sizes, it is a single layer with one function, `surround`, because
//! layers are expensive: the router boxes each one together with the request and the pending response, and with a thousand
//! requests waiting for a confirm those boxes no longer fit into the processor's caches. From the outside in, it consists of
//! cross-origin rules, which answer preflight requests themselves; observation; headers; panic handling; and, except for the
//! endpoints of operations, the limits of concurrent requests and of their duration.

mod observe;

use std::any::Any;
use std::future::Ready;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use prometheus_client::registry::Registry;
use runtime::health::Health;
use runtime::metrics::{liveness_router, operations_router};
use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower_http::cors::CorsLayer;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use self::observe::Observed;
pub use self::observe::{HttpMetrics, REQUEST_ID};

use crate::client_address::{TrustedProxies, client};
use crate::limits::{Class, Client, Limits};
use crate::problem::Problem;
use crate::server::Routers;
use crate::settings::{DocsSettings, RequestSettings};

/// The paths that the public listener does not serve if there is an operations listener.
const NOT_PUBLIC: [&str; 2] = ["/readyz", "/metrics"];

/// The parts of the frame.
pub struct Frame {
    /// The state behind `/readyz`.
    pub health: Health,
    /// The registry behind `/metrics`.
    pub registry: Registry,
    /// The HTTP metrics in that registry.
    pub metrics: HttpMetrics,
    /// Cross-origin rules. With `None` no such header is sent.
    pub cors: Option<CorsLayer>,
    /// Rate limits, which also apply to unknown paths.
    pub limits: Limits,
    /// Our own proxies, for finding the client's address.
    pub trusted_proxies: TrustedProxies,
    /// How a problem is shown as a page, if the service has pages.
    pub pages: Option<AsPage>,
    /// Whether there is a separate operations listener. Then the public listener serves only `/healthz` of these endpoints.
    pub has_operations_listener: bool,
    /// Whether the public listener serves the documentation.
    pub docs: DocsSettings,
}

/// Inspects a request before it is handled. It may return a function that changes the response at the very end.
pub type AsPage = fn(&Request) -> Option<ShowPage>;
/// Renders a problem as a page.
pub type ShowPage = Box<dyn FnOnce(Response) -> Response + Send>;

impl Frame {
    /// Wraps the product's routes: adds their limits, the documentation, the endpoints of operations, and the layer around
    /// every request.
    pub fn around(self, product: Router, mut document: OpenApi, requests: &RequestSettings) -> Routers {
        let (limits, proxies) = (self.limits, self.trusted_proxies);
        let surroundings = Arc::new(Surroundings {
            metrics: self.metrics,
            places: Semaphore::new(requests.concurrent_max),
            timeout: requests.timeout(),
            pages: self.pages,
        });
        let operations = operations_router(self.health, Arc::new(self.registry));
        let mut public = product;
        if self.has_operations_listener {
            public = public.merge(liveness_router());
            for path in NOT_PUBLIC {
                document.paths.paths.remove(path);
            }
        } else {
            public = public.merge(operations.clone());
        }
        let mut nothing = "there is nothing at this path";
        if self.docs.enabled {
            // Otherwise the page would send the document to a validator on the internet.
            let page = utoipa_swagger_ui::Config::default().validator_url("none");
            public = public.merge(SwaggerUi::new("/docs").url("/openapi.json", document).config(page));
            nothing = "there is nothing at this path; see /docs for the API";
        }
        let public = public
            .method_not_allowed_fallback(limited(&limits, &proxies, Problem::method_not_allowed))
            .fallback(limited(&limits, &proxies, move || Problem::not_found(nothing)))
            .layer(
                ServiceBuilder::new()
                    .option_layer(self.cors)
                    .layer(from_fn_with_state(Arc::clone(&surroundings), surround))
                    .layer(DefaultBodyLimit::max(requests.body_bytes_max)),
            );
        let operations = operations
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .fallback(async || Problem::not_found("there is nothing at this path"))
            .layer(from_fn_with_state(surroundings, surround));
        Routers { public, operations }
    }
}

/// Answers requests that match no route. They count as reads of the client's address.
fn limited(
    limits: &Limits,
    proxies: &TrustedProxies,
    problem: impl Fn() -> Problem + Clone + Send + Sync + 'static,
) -> impl Fn(Parts) -> Ready<Problem> + Clone + Send + Sync + 'static {
    let (limits, TrustedProxies(trusted)) = (limits.clone(), proxies.clone());
    move |parts| {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = peer.map(|ConnectInfo(peer)| client(peer.ip(), &parts.headers, &trusted));
        let taken = address.map_or(Ok(()), |address| limits.take(Class::Read, Client::Address(address), 1));
        std::future::ready(taken.err().unwrap_or_else(&problem))
    }
}

struct Surroundings {
    metrics: HttpMetrics,
    places: Semaphore,
    timeout: Duration,
    pages: Option<AsPage>,
}

/// Middleware: runs once around every request, whether or not it matches a route.
async fn surround(State(surroundings): State<Arc<Surroundings>>, request: Request, next: Next) -> Response {
    // Among the responses without their own policy, only the documentation needs scripts and styles.
    let policy = if request.uri().path().starts_with("/docs") { DOCS_POLICY } else { POLICY };
    let show = surroundings.pages.and_then(|as_page| as_page(&request));
    let observed = Observed::start(&surroundings.metrics, &request);
    let bounds = (!observed.is_of_operations()).then_some(&*surroundings);
    let answer = AssertUnwindSafe(within(bounds, next.run(request))).catch_unwind();
    let mut response = observed.spans(answer.map(|answer| answer.unwrap_or_else(panicked))).await;
    add_headers(response.headers_mut(), policy);
    observed.end(&mut response);
    match show {
        Some(show) => show(response),
        None => response,
    }
}

/// Handles the request if the limit of concurrent requests allows it, within the time limit.
async fn within(bounds: Option<&Surroundings>, answer: impl Future<Output = Response>) -> Response {
    let Some(bounds) = bounds else { return answer.await };
    let Ok(_place) = bounds.places.try_acquire() else {
        return Problem::unavailable("too many concurrent requests; nothing was done, try again", 1)
            .into_response();
    };
    match tokio::time::timeout(bounds.timeout, answer).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("the request timed out; it may or may not have taken effect", 1)
            .into_response(),
    }
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(message, "a request panicked");
    Problem::panicked().into_response()
}

/// Headers that keep a browser from interpreting a response as anything else.
fn add_headers(headers: &mut HeaderMap, policy: &'static str) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(policy));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'";
