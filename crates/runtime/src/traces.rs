//! Traces show what a request causes across processes, over HTTP and RabbitMQ. They are off unless `traces.otlp_endpoint` is
//! set. While they are off, no layer is installed and every span with [`TARGET`] is disabled.
//!
//! A span for export is a `trace_span!` with that target, so that logs neither show it nor pay for it: the log filter drops
//! such spans, and the exporting layer takes no others. Names and attributes follow the
//! [semantic conventions](https://opentelemetry.io/docs/specs/semconv/) for HTTP and messaging. Processes pass each other only
//! the W3C `traceparent`, as text.

mod export;

use axum::http::Uri;
use configuration::{Bound, bound, fraction};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde::Deserialize;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

pub(crate) use export::Export;

/// The target of spans for export.
pub const TARGET: &str = "traces";
/// Maximum links of a span, the default of OpenTelemetry's SDKs.
pub const LINKS_MAX: u32 = 128;

/// Bounds of the section `[traces]`.
pub const BOUNDS: &[Bound] = &[
    fraction("traces.sample_ratio", 0.0..=1.0),
    bound("traces.queue_spans_max", 512..=65_536),
    bound("traces.export_timeout_ms", 100..=10_000),
];

/// Section `[traces]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSettings {
    /// A collector that accepts OTLP over HTTP, such as `http://127.0.0.1:4318`. Empty: no traces.
    pub otlp_endpoint: String,
    /// The fraction of requests that are traced, from 0 to 1.
    pub sample_ratio: f64,
    /// Maximum spans waiting for export. Further spans are dropped.
    pub queue_spans_max: usize,
    /// Maximum time for an export, and for the remaining spans at the end of the process, in milliseconds.
    pub export_timeout_ms: u64,
}

impl TraceSettings {
    /// The address that spans are posted to; `None` if traces are off.
    ///
    /// # Errors
    /// A message that says what to change.
    pub(crate) fn checked(&self) -> Result<Option<String>, String> {
        let endpoint = &self.otlp_endpoint;
        if endpoint.is_empty() {
            return Ok(None);
        }
        let is_base =
            |uri: Uri| uri.scheme_str() == Some("http") && uri.host().is_some() && uri.path() == "/";
        if !endpoint.parse().is_ok_and(is_base) {
            let sentence = "must be http://host:port; for a collector with TLS, run a local collector that forwards to it";
            return Err(format!("traces.otlp_endpoint {sentence}"));
        }
        Ok(Some(format!("{}/v1/traces", endpoint.trim_end_matches('/'))))
    }
}

/// Makes a new span the child of the span in another process that a `traceparent` names. An invalid `traceparent` changes
/// nothing.
pub fn continue_from(span: &Span, traceparent: &str) {
    if let Some(parent) = context(traceparent) {
        // This fails only if traces are off.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// A span for messages from a queue that are processed together, given the `traceparent` and id of each.
pub fn batch<'a>(
    queue: &'static str,
    messages: impl ExactSizeIterator<Item = (Option<&'a str>, Option<Uuid>)>,
) -> Span {
    let span = tracing::trace_span!(
        target: TARGET,
        "batch",
        otel.name = format!("process {queue}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.system = "rabbitmq",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = queue,
        messaging.batch.message_count = messages.len(),
    );
    if !span.is_disabled() {
        continue_from_many(&span, messages.filter_map(|(traceparent, id)| Some((traceparent?, id))));
    }
    span
}

/// Marks the operation of a span as failed.
pub fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// Makes a new span for several messages the child of the first sampled one, and links it to all sampled ones, up to
/// [`LINKS_MAX`]. If none is sampled, the span is not sampled either.
///
/// A span has at most one parent. Without a parent each trace would end at the queue. The links connect the span to the
/// other requests in the same batch.
fn continue_from_many<'a>(span: &Span, messages: impl Iterator<Item = (&'a str, Option<Uuid>)>) {
    let contexts: Vec<_> =
        messages.filter_map(|(traceparent, id)| context(traceparent).map(|context| (context, id))).collect();
    let mut sampled =
        contexts.iter().filter(|(context, _)| context.is_sampled()).take(LINKS_MAX as usize).peekable();
    if let Some((parent, _)) = sampled.peek().copied().or(contexts.first()) {
        let _ = span.set_parent(Context::new().with_remote_span_context(parent.clone()));
    }
    for (context, id) in sampled {
        let id = id.map(|id| KeyValue::new("messaging.message.id", id.to_string()));
        span.add_link_with_attributes(context.clone(), id.into_iter().collect());
    }
}

/// The `traceparent` to pass to other processes; `None` if the span is not exported.
#[must_use]
pub fn traceparent(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
    context.is_valid().then(|| format!("00-{trace}-{span}-{flags:02x}"))
}

/// Parses a `traceparent`.
fn context(traceparent: &str) -> Option<SpanContext> {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Header(traceparent));
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

struct Header<'a>(&'a str);

impl Extractor for Header<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

#[cfg(test)]
mod tests;
