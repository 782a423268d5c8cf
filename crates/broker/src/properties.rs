//! Writes and reads the AMQP properties of an envelope.

use events::Envelope;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

const TRACEPARENT: &str = "traceparent";
const WIRE_VERSION: &str = "wire-version";
const PERSISTENT: u8 = 2;

/// The properties of an envelope. They are the same each time it is published.
pub(crate) fn write(envelope: &Envelope, app_id: &'static str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(WIRE_VERSION.into(), AMQPValue::LongInt(events::WIRE_VERSION));
    if let Some(traceparent) = &envelope.traceparent {
        headers.insert(TRACEPARENT.into(), AMQPValue::LongString(traceparent.as_str().into()));
    }
    let seconds = u64::try_from(envelope.id.made_at().as_second()).unwrap_or(0);
    BasicProperties::default()
        .with_content_type(events::CONTENT_TYPE.into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(envelope.id.to_string().into())
        .with_type(envelope.routing_key.into())
        .with_timestamp(seconds)
        .with_app_id(app_id.into())
        .with_headers(headers)
}

/// The headers that a delivery may carry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) traceparent: Option<String>,
    pub(crate) wire_version: Option<i32>,
    pub(crate) delivery_count: u32,
    pub(crate) death_reason: Option<String>,
}

/// Reads the headers. Ignores a header of an unexpected type.
pub(crate) fn read(headers: Option<&FieldTable>) -> Headers {
    let Some(headers) = headers else { return Headers::default() };
    let find = |name: &str| headers.inner().get(name);
    Headers {
        traceparent: find(TRACEPARENT).and_then(string),
        wire_version: find(WIRE_VERSION).and_then(integer).and_then(|version| version.try_into().ok()),
        // RabbitMQ omits this header at the first delivery. A count that does not fit into `u32` is read as the maximum.
        delivery_count: find("x-delivery-count")
            .and_then(integer)
            .map_or(0, |count| u32::try_from(count.max(0)).unwrap_or(u32::MAX)),
        death_reason: find("x-first-death-reason").and_then(string),
    }
}

fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// Servers and clients encode integers with different widths.
fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(value) => Some(i64::from(*value)),
        AMQPValue::ShortShortUInt(value) => Some(i64::from(*value)),
        AMQPValue::ShortInt(value) => Some(i64::from(*value)),
        AMQPValue::ShortUInt(value) => Some(i64::from(*value)),
        AMQPValue::LongInt(value) => Some(i64::from(*value)),
        AMQPValue::LongUInt(value) => Some(i64::from(*value)),
        AMQPValue::LongLongInt(value) => Some(*value),
        AMQPValue::Timestamp(value) => i64::try_from(*value).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::EnvelopeId;

    #[test]
    fn written_properties_are_read_back() {
        let envelope = Envelope {
            id: EnvelopeId::now(),
            routing_key: events::ENGAGEMENT,
            events: 1,
            body: b"[{}]".to_vec(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        };
        let properties = write(&envelope, "blogs-api");
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), envelope.id.to_string());
        assert_eq!(properties.kind().as_ref().unwrap().as_str(), "engagement");
        let headers = read(properties.headers().as_ref());
        assert_eq!(headers.traceparent, envelope.traceparent);
        assert_eq!(headers.wire_version, Some(events::WIRE_VERSION));
        assert_eq!(headers.delivery_count, 0);
    }

    #[test]
    fn a_count_is_read_in_any_width() {
        for value in [AMQPValue::LongLongInt(3), AMQPValue::LongInt(3), AMQPValue::ShortShortUInt(3)] {
            let mut headers = FieldTable::default();
            headers.insert("x-delivery-count".into(), value);
            assert_eq!(read(Some(&headers)).delivery_count, 3);
        }
        let mut headers = FieldTable::default();
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(i64::MAX));
        assert_eq!(read(Some(&headers)).delivery_count, u32::MAX);
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(-1));
        assert_eq!(read(Some(&headers)).delivery_count, 0);
    }
}
