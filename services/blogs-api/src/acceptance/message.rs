//! The message path. The handler encodes the events here, and the publisher's task fills the envelopes. If the
//! broker does not confirm an envelope in time, the task hands it over to the [spill](super::spill).
//!
//! A traced request gets a span here, which lasts from passing the events to the publisher until they are confirmed or
//! stored. The span records the envelope's id. The envelope carries the span's context to the workers. If it also holds
//! events of other requests, it carries the context of only one of them.

use broker::{EXCHANGE, EncodedEvents, PublishError, Publisher};
use events::{EngagementEvent, EnvelopeId, codec};
use futures_util::future::try_join_all;
use runtime::traces;
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use super::refusal::Refusal;

/// Passes the events to the publisher. `Ok` means that every event is confirmed by the broker or stored in the spill. An
/// error promises nothing about any of them. `traceparent` is passed on if the request is not traced here.
pub(super) async fn publish(
    publisher: &Publisher,
    events: &[EngagementEvent],
    traceparent: Option<&str>,
    deadline: Instant,
) -> Result<(), Refusal> {
    let parts = parts(events.iter().map(codec::encode_engagement))?;
    let span = span(events.len());
    let traceparent = traces::traceparent(&span).or_else(|| traceparent.map(str::to_owned));
    let parts = parts.into_iter().map(|part| part.with_traceparent(traceparent.clone()));
    let several = parts.len() > 1;
    let published = try_join_all(parts.map(|part| publisher.publish(part, deadline))).await;
    record(&span, &published);
    // If one of several parts was not sent, another may have been.
    published.map(drop).map_err(|error| if several { Refusal::OutcomeUnknown } else { error.into() })
}

fn span(events: usize) -> Span {
    tracing::trace_span!(
        target: traces::TARGET,
        "publish",
        otel.name = format!("publish {EXCHANGE}"),
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.system = "rabbitmq",
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = EXCHANGE,
        messaging.message.id = Empty,
        commonplace.events = events,
    )
}

fn record(span: &Span, published: &Result<Vec<EnvelopeId>, PublishError>) {
    if span.is_disabled() {
        return;
    }
    match published {
        Ok(ids) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            span.record("messaging.message.id", ids.join(","));
        }
        Err(_) => traces::failed(span),
    }
}

/// Splits encoded events, in order, into as few parts as possible that each fit into an envelope.
fn parts(events: impl Iterator<Item = Vec<u8>>) -> Result<Vec<EncodedEvents>, PublishError> {
    let mut parts: Vec<EncodedEvents> = Vec::new();
    for event in events {
        if !parts.last_mut().is_some_and(|part| part.try_push(&event)) {
            parts.push(EncodedEvents::one(event)?);
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{ENVELOPE_BYTES_MAX, ENVELOPE_EVENTS_MAX};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_hold_all_events_in_order_within_the_bounds(
            sizes in proptest::collection::vec(prop_oneof![Just(1_usize), 1..400_usize, 1..20_000_usize], 0..1200),
        ) {
            let events: Vec<Vec<u8>> = sizes.iter().map(|&size| vec![b'x'; size]).collect();
            let parts = parts(events.clone().into_iter()).unwrap();
            for part in &parts {
                prop_assert!(part.count() <= ENVELOPE_EVENTS_MAX);
                prop_assert!(part.bytes().len() + 2 <= ENVELOPE_BYTES_MAX);
                prop_assert_eq!(part.bytes().split(|&byte| byte == b',').count(), part.count());
            }
            let joined = parts.iter().map(EncodedEvents::bytes).collect::<Vec<_>>().join(&b',');
            let expected = events.iter().map(Vec::as_slice).collect::<Vec<_>>().join(&b',');
            prop_assert_eq!(joined, expected);
            // The first event of the next part would not have fitted into this one.
            for (part, next) in parts.iter().zip(parts.iter().skip(1)) {
                let first = next.bytes().split(|&byte| byte == b',').next().unwrap();
                prop_assert!(!part.clone().try_push(first));
            }
        }
    }

    #[test]
    fn event_larger_than_an_envelope_is_refused() {
        let events = [vec![b'x'], vec![b'x'; ENVELOPE_BYTES_MAX]];
        assert_eq!(parts(events.into_iter()), Err(PublishError::TooLarge));
    }
}
