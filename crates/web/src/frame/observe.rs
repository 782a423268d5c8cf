//! Observes each request: an id, a log line, and metrics by route.
//!
//! The service creates the id and never takes it from the client, so the log can rely on it. Neither queries nor headers are
//! logged. Metrics use the route's template, so their number is bounded. If traces are exported, a request to the product
//! gets a span for them that continues the client's `traceparent`; the span for the log is a separate one. If cross-origin
//! rules are enabled, they answer `OPTIONS` requests before this code runs.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::Response;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use runtime::metrics::OPERATIONS_PATHS;
use runtime::traces;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

/// The id of a request, in its response and in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const BUCKETS_S: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Metrics of requests.
#[derive(Clone)]
pub struct HttpMetrics {
    requests: Family<Answered, Counter>,
    duration: Family<Asked, Histogram, fn() -> Histogram>,
    under_way: Gauge,
}

/// A route and a method.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: Route,
}

/// A route, a method and a status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: Route,
    status: u16,
}

/// The template of a route, such as `/v1/blogs/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Route(Arc<str>);

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(&self.0)
    }
}

impl HttpMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS_S)),
            under_way: Gauge::default(),
        };
        registry.register(
            "http_requests",
            "Requests by status, without the preflights that cross-origin rules answer",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time until the head of the response",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register("http_requests_under_way", "Requests in progress", metrics.under_way.clone());
        metrics
    }
}

/// One request, from its head to the head of its response.
pub(super) struct Observed<'a> {
    started: Instant,
    id: Uuid,
    method: &'static str,
    route: Arc<str>,
    log: Span,
    trace: Span,
    metrics: UnderWay<'a>,
}

impl<'a> Observed<'a> {
    pub(super) fn start(metrics: &'a HttpMetrics, request: &Request) -> Self {
        let (started, metrics) = (Instant::now(), UnderWay::new(metrics));
        let id = Uuid::now_v7();
        let method = method_label(request.method());
        let route = route(request);
        let log = tracing::info_span!("request", %id, method, route = &*route);
        let trace = traced(request, id, method, &route);
        Self { started, id, method, route, log, trace, metrics }
    }

    pub(super) fn is_of_operations(&self) -> bool {
        OPERATIONS_PATHS.contains(&&*self.route)
    }

    /// Runs the request's work inside its spans.
    pub(super) fn spans<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.instrument(self.trace.clone()).instrument(self.log.clone())
    }

    /// Records the head of the response.
    pub(super) fn end(self, response: &mut Response) {
        let status = response.status().as_u16();
        self.trace.record("http.response.status_code", status);
        if response.status().is_server_error() {
            traces::failed(&self.trace);
        }
        let elapsed = self.started.elapsed();
        let UnderWay(metrics) = &self.metrics;
        let (method, route) = (self.method, Route(Arc::clone(&self.route)));
        let asked = Asked { method, route: route.clone() };
        metrics.duration.get_or_create(&asked).observe(elapsed.as_secs_f64());
        metrics.requests.get_or_create(&Answered { method, route, status }).inc();
        tracing::debug!(parent: &self.log, status, elapsed_us = elapsed.as_micros(), "answered");
        if let Ok(id) = HeaderValue::try_from(self.id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
    }
}

/// Counts a request as in progress until this is dropped, which also happens when the client disconnects.
struct UnderWay<'a>(&'a HttpMetrics);

impl<'a> UnderWay<'a> {
    fn new(metrics: &'a HttpMetrics) -> Self {
        metrics.under_way.inc();
        Self(metrics)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.dec();
    }
}

/// The span for exported traces. Requests to the operations endpoints are not traced.
fn traced(request: &Request, id: Uuid, method: &str, route: &str) -> Span {
    if OPERATIONS_PATHS.contains(&route) {
        return Span::none();
    }
    let span = tracing::trace_span!(
        target: traces::TARGET,
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        commonplace.request.id = %id,
    );
    if !span.is_disabled()
        && let Some(traceparent) = request.headers().get("traceparent").and_then(|value| value.to_str().ok())
    {
        traces::continue_from(&span, traceparent);
    }
    span
}

fn route(request: &Request) -> Arc<str> {
    request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| Arc::from("none"), |path| Arc::from(path.as_str()))
}

/// Clients may send any word as the method; only these become labels.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
