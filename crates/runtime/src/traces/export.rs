//! Exports spans through a bounded queue and a separate thread that posts them, with a time limit at the end. No request
//! waits for the export; if the queue is full, spans are dropped. The log reports once that the collector is unreachable,
//! and once that it is back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::trace::{
    Link, SpanContext, SpanKind, TraceContextExt, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider,
    ShouldSample, SpanData, SpanExporter,
};

use super::{LINKS_MAX, TraceSettings};

/// Maximum time that a span waits for others before it is exported.
const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// Maximum spans per export.
const EXPORT_SPANS_MAX: usize = 512;

/// The exporter of one process.
#[derive(Debug)]
pub(crate) struct Export {
    provider: SdkTracerProvider,
    timeout: Duration,
}

impl Export {
    /// Starts the exporter under the name of the process.
    ///
    /// # Errors
    /// A message with the reason.
    pub(crate) fn start(name: &'static str, url: String, settings: &TraceSettings) -> Result<Self, String> {
        let timeout = Duration::from_millis(settings.export_timeout_ms);
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client(timeout)?)
            .with_endpoint(url)
            .with_timeout(timeout)
            .build()
            .map_err(|error| format!("traces cannot be exported: {error}"))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(settings.queue_spans_max)
            .with_max_export_batch_size(EXPORT_SPANS_MAX)
            .with_scheduled_delay(EXPORT_EVERY)
            .build();
        let exporter = Told { exporter, is_away: AtomicBool::new(false) };
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name(name).with_attribute(version).build())
            .with_sampler(Sampler { ratio: settings.sample_ratio })
            .with_max_links_per_span(LINKS_MAX)
            .with_span_processor(processor)
            .build();
        Ok(Self { provider, timeout })
    }

    /// The tracer that creates its spans.
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("commonplace")
    }

    /// Exports the remaining spans within the time limit.
    pub(crate) async fn end(self) {
        let Self { provider, timeout } = self;
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(timeout)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the last traces were not exported in time");
        }
    }
}

/// The client creates its own runtime, which must not happen inside another one.
fn client(timeout: Duration) -> Result<reqwest::blocking::Client, String> {
    let build = move || reqwest::blocking::Client::builder().no_proxy().timeout(timeout).build();
    let built = thread::spawn(build).join().map_err(|_| "the HTTP client for traces panicked".to_owned())?;
    built.map_err(|error| format!("cannot create the HTTP client for traces: {error}"))
}

/// Decides which traces are exported. Within this system, each process follows the decision of the first one. A client's
/// wish counts only if it does not want to be traced; otherwise any client could have all its requests traced.
#[derive(Debug, Clone)]
struct Sampler {
    ratio: f64,
}

impl Sampler {
    fn samples(&self, parent: Option<&SpanContext>, kind: &SpanKind) -> bool {
        match parent {
            Some(parent) if !parent.is_remote() || *kind == SpanKind::Consumer => parent.is_sampled(),
            Some(client) if !client.is_sampled() => false,
            _ => rand::random::<f64>() < self.ratio,
        }
    }
}

impl ShouldSample for Sampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        _trace_id: TraceId,
        _name: &str,
        span_kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let parent = parent_context.map(|context| context.span().span_context().clone());
        let parent = parent.filter(SpanContext::is_valid);
        let samples = self.samples(parent.as_ref(), span_kind);
        SamplingResult {
            decision: if samples { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: Vec::new(),
            trace_state: parent.map_or(TraceState::NONE, |parent| parent.trace_state().clone()),
        }
    }
}

/// An exporter that logs once that it cannot export, and once that it can again.
#[derive(Debug)]
struct Told<E> {
    exporter: E,
    is_away: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exported = self.exporter.export(batch).await;
        let was_away = self.is_away.swap(exported.is_err(), Ordering::Relaxed);
        match &exported {
            Err(error) if !was_away => {
                let error = error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "traces cannot be exported; dropping them until the collector is reachable"
                );
            }
            Ok(()) if was_away => tracing::info!("traces are exported again"),
            _ => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags};

    use super::*;

    #[test]
    fn a_client_can_refuse_tracing_but_not_demand_it() {
        let parent = |is_remote: bool, flags: TraceFlags| {
            SpanContext::new(TraceId::from(1), SpanId::from(1), flags, is_remote, TraceState::NONE)
        };
        let (yes, no) = (TraceFlags::SAMPLED, TraceFlags::NOT_SAMPLED);
        let samples = |ratio: f64, parent: Option<SpanContext>, kind: SpanKind| {
            Sampler { ratio }.samples(parent.as_ref(), &kind)
        };
        assert!(samples(1.0, None, SpanKind::Server) && !samples(0.0, None, SpanKind::Server));
        assert!(!samples(0.0, Some(parent(true, yes)), SpanKind::Server));
        assert!(samples(1.0, Some(parent(true, yes)), SpanKind::Server));
        assert!(!samples(1.0, Some(parent(true, no)), SpanKind::Server));
        for kind in [SpanKind::Producer, SpanKind::Internal] {
            assert!(samples(0.0, Some(parent(false, yes)), kind.clone()));
            assert!(!samples(1.0, Some(parent(false, no)), kind));
        }
        assert!(samples(0.0, Some(parent(true, yes)), SpanKind::Consumer));
        assert!(!samples(1.0, Some(parent(true, no)), SpanKind::Consumer));
    }
}
