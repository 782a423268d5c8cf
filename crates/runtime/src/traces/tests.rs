use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing_opentelemetry::SetParentError;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::settings::{LogFormat, LogSettings};
use crate::telemetry;

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Whether a span is created depends on all subscribers of the process, including those of other threads. So tests with a
/// subscriber take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn settings() -> TraceSettings {
    TraceSettings {
        otlp_endpoint: String::new(),
        sample_ratio: 1.0,
        queue_spans_max: 512,
        export_timeout_ms: 500,
    }
}

#[test]
fn invalid_trace_settings_are_refused_by_key() {
    assert_eq!(settings().checked(), Ok(None));
    for endpoint in ["http://127.0.0.1:4318", "http://collector:4318/"] {
        let url =
            TraceSettings { otlp_endpoint: endpoint.to_owned(), ..settings() }.checked().unwrap().unwrap();
        assert!(url.ends_with(":4318/v1/traces"), "{url}");
    }
    for endpoint in
        ["collector", "collector:4318", "https://collector:4318", "http://collector/v1/traces", "http://"]
    {
        let refused =
            TraceSettings { otlp_endpoint: endpoint.to_owned(), ..settings() }.checked().unwrap_err();
        assert!(refused.starts_with("traces.otlp_endpoint"), "{endpoint}: {refused}");
    }
}

/// The only test that starts logging for the whole process.
#[test]
fn without_traces_no_layer_is_installed() {
    let _alone = alone();
    let log = LogSettings { filter: "info,lapin=off".to_owned(), format: LogFormat::Text };
    let traces = telemetry::begin("test", &log, &settings()).unwrap();
    let span = tracing::trace_span!(target: TARGET, "request");
    assert!(span.is_disabled(), "no span is made for traces");
    assert_eq!(traceparent(&span), None);
    let logged = tracing::info_span!("request");
    assert!(!logged.is_disabled(), "spans of the log are as before");
    let layer = logged.set_parent(Context::new());
    assert!(matches!(layer, Err(SetParentError::LayerNotFound)), "{layer:?}");
    tokio::runtime::Runtime::new().unwrap().block_on(traces.end());
}

/// The spans that `make` creates.
fn exported(make: impl FnOnce()) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let layer = layer.with_context_activation(false);
    let _alone = alone();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), make);
    exporter.get_finished_spans().unwrap()
}

#[test]
fn span_continues_the_clients_trace_and_passes_it_on() {
    let mut said = None;
    let spans = exported(|| {
        let span = tracing::trace_span!(target: TARGET, "request");
        continue_from(&span, SAMPLED);
        said = traceparent(&span);
        let other = tracing::trace_span!(target: TARGET, "other");
        continue_from(&other, "no traceparent");
    });
    let (other, request) = (&spans[0], &spans[1]);
    assert_eq!(request.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(request.parent_span_id.to_string(), "b7ad6b7169203331");
    let own = request.span_context.span_id();
    assert_eq!(said.unwrap(), format!("00-0af7651916cd43dd8448eb211c80319c-{own}-01"));
    assert_eq!(other.parent_span_id.to_string(), "0000000000000000");
}

#[test]
fn a_span_for_many_messages_has_one_parent_and_limited_links() {
    let spans = exported(|| {
        let span = tracing::trace_span!(target: TARGET, "batch");
        let numbered = |number: usize| format!("00-0af7651916cd43dd8448eb211c80319c-{:016x}-01", number + 1);
        let sampled: Vec<String> = (0..200).map(numbered).collect();
        let all = [NOT_SAMPLED, "nonsense"].into_iter().chain(sampled.iter().map(String::as_str));
        continue_from_many(
            &span,
            all.enumerate().map(|(id, text)| (text, Some(Uuid::from_u128(id as u128)))),
        );
    });
    let batch = &spans[0];
    assert_eq!(batch.parent_span_id.to_string(), "0000000000000001");
    assert_eq!(batch.links.links.len(), LINKS_MAX as usize);
    assert_eq!(batch.links.links[0].span_context.span_id(), batch.parent_span_id);
    assert_eq!(
        batch.links.links[0].attributes[0],
        KeyValue::new("messaging.message.id", Uuid::from_u128(2).to_string())
    );
}

#[tokio::test]
async fn an_unresponsive_collector_delays_nobody() {
    // It accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", silent.local_addr().unwrap());
    let export = Export::start("test", url, &settings()).unwrap();
    let layer = tracing_opentelemetry::layer().with_tracer(export.tracer());
    let began = Instant::now();
    {
        let _alone = alone();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..20_000 {
                let _span = tracing::trace_span!(target: TARGET, "request").entered();
            }
        });
    }
    let made = began.elapsed();
    export.end().await;
    let ended = began.elapsed() - made;
    // Each limit is far above the real time, and far below that of waiting for 40 exports of half a second.
    assert!(made.as_secs() < 8, "20,000 spans took {made:?}");
    assert!(ended.as_secs() < 8, "the end took {ended:?}");
}
