//! What surrounds every request: an id, the log and the metrics, the limits, and an answer whatever happens.
//!
//! But for cross-origin rules and the bound of a body, which are layers of their own, it is one layer and one function,
//! `surround`, because of what a layer costs: the router puts each into a box of its own, with the request and the
//! answer to come, and while a thousand requests wait for a confirm those boxes are what the processor's caches no
//! longer hold. From the outside in: cross-origin rules, which answer a browser that asks for leave by themselves; what
//! is observed; headers; panics; and, but for the endpoints of operations, the number of requests at a time and their
//! time.

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

/// What a listener of operations takes from the public one.
const NOT_PUBLIC: [&str; 2] = ["/readyz", "/metrics"];

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
    /// How often a client may ask, also for what is not there.
    pub limits: Limits,
    /// Where clients are behind proxies.
    pub trusted_proxies: TrustedProxies,
    /// How problems are shown to people, if the service has pages.
    pub pages: Option<AsPage>,
    /// Whether operations have a listener of their own: then the public one has `/healthz` alone of them.
    pub has_operations_listener: bool,
    /// Whether the public listener has the documentation.
    pub docs: DocsSettings,
}

/// Looks at a request before it is worked on. What it gives back, if anything, is done to the answer, last of all.
pub type AsPage = fn(&Request) -> Option<ShowPage>;
/// Makes a page of a problem.
pub type ShowPage = Box<dyn FnOnce(Response) -> Response + Send>;

impl Frame {
    /// Puts everything around the product's own routes: their bounds, the documentation, the endpoints of operations, and
    /// what every answer has.
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
            // Otherwise the page would have the document judged by a service on the internet.
            let page = utoipa_swagger_ui::Config::default().validator_url("none");
            public = public.merge(SwaggerUi::new("/docs").url("/openapi.json", document).config(page));
            nothing = "there is nothing at this path; /docs shows what there is";
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

/// Answers what no route does. It counts as a read of the address.
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

/// As middleware: once around every route, and around what has none.
async fn surround(State(surroundings): State<Arc<Surroundings>>, request: Request, next: Next) -> Response {
    // Of what does not say by itself what it needs, the documentation alone has scripts and styles.
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

/// The answer, if there is a place for the request and it comes in time.
async fn within(bounds: Option<&Surroundings>, answer: impl Future<Output = Response>) -> Response {
    let Some(bounds) = bounds else { return answer.await };
    let Ok(_place) = bounds.places.try_acquire() else {
        return Problem::unavailable("too many requests are under way; nothing was promised", 1)
            .into_response();
    };
    match tokio::time::timeout(bounds.timeout, answer).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("the request took too long; whether it was done is not known", 1)
            .into_response(),
    }
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(message, "a request panicked");
    Problem::panicked().into_response()
}

/// Headers that keep a browser from making more of an answer than it is.
fn add_headers(headers: &mut HeaderMap, policy: &'static str) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(policy));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'";
