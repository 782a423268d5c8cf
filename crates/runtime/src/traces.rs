//! Traces: what one request set off, over HTTP and RabbitMQ, process by process. They are off unless `traces.otlp_endpoint`
//! says where they go; then nothing of this is installed, and every span of [`TARGET`] is disabled where it stands.
//!
//! A span that is to be exported is a `trace_span!` of that target, so that logs never show it and pay for it: their own
//! filter leaves such spans out, and the exporting layer takes no others. Names and attributes are those of the
//! [semantic conventions](https://opentelemetry.io/docs/specs/semconv/) of HTTP and messaging. Between processes goes the
//! W3C `traceparent` alone, as text.

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

/// The target of spans that are exported.
pub const TARGET: &str = "traces";
/// Links that a span may have; what OpenTelemetry's SDKs take by default.
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
    /// A collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`. Empty: no traces.
    pub otlp_endpoint: String,
    /// The share of requests that are traced, from 0 to 1.
    pub sample_ratio: f64,
    /// Spans that may wait to be exported; more are dropped.
    pub queue_spans_max: usize,
    /// Longest time for an export, and for what is left at the end of the process, in milliseconds.
    pub export_timeout_ms: u64,
}

impl TraceSettings {
    /// The address that spans are posted to; none when there are to be no traces.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub(crate) fn checked(&self) -> Result<Option<String>, String> {
        let endpoint = &self.otlp_endpoint;
        if endpoint.is_empty() {
            return Ok(None);
        }
        let is_base =
            |uri: Uri| uri.scheme_str() == Some("http") && uri.host().is_some() && uri.path() == "/";
        if !endpoint.parse().is_ok_and(is_base) {
            let sentence =
                "must be http://host:port; a collector that is reached by TLS needs one beside this process";
            return Err(format!("traces.otlp_endpoint {sentence}"));
        }
        Ok(Some(format!("{}/v1/traces", endpoint.trim_end_matches('/'))))
    }
}

/// Makes a new span the child of the one that a `traceparent` names, in another process. What is none changes nothing.
pub fn continue_from(span: &Span, traceparent: &str) {
    if let Some(parent) = context(traceparent) {
        // Fails only where nothing is exported.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// A span for messages that came out of a queue and are worked on together; of each its `traceparent` and its id.
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

/// What a span stands for has failed.
pub fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// Makes a new span that works on many messages at once the child of the first that is sampled, and links it to all that
/// are, up to [`LINKS_MAX`]. Where none is sampled the span is not, either.
///
/// A span has one parent. Without any, a trace would end at the queue; and a trace of several requests that went the same
/// way shows them all by the links.
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

/// The `traceparent` for what a span causes elsewhere; none where the span is not exported by anybody.
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

/// What a `traceparent` says, if it is one.
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
