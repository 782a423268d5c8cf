//! One AMQP message: its id and its events, still encoded.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use uuid::{Uuid, Version};

use crate::Clock;

/// The id of an envelope: a `UUIDv7`, so the id contains the UTC day on which the envelope was created. The ledger is
/// partitioned by that day and never by the clock of the worker that applies the envelope: a redelivery after midnight must
/// find the row of the first delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvelopeId(Uuid);

/// The id is not a `UUIDv7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("envelope id {0} is not a UUIDv7")]
pub struct NotTimeOrdered(pub Uuid);

impl EnvelopeId {
    /// A new id with the current time of this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        static SYSTEM: LazyLock<Clock> = LazyLock::new(Clock::system);
        SYSTEM.envelope_id()
    }

    /// The id as it appears on the wire and in the ledger.
    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        self.0
    }

    /// When the envelope was created, to the millisecond.
    #[must_use]
    pub fn made_at(self) -> Timestamp {
        let millis = self.0.as_u128() >> 80;
        i64::try_from(millis)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(Timestamp::MAX)
    }

    /// The UTC day inside the id.
    #[must_use]
    pub fn day(self) -> Date {
        self.made_at().to_zoned(TimeZone::UTC).date()
    }
}

impl Clock {
    /// The id of a new envelope.
    #[must_use]
    pub fn envelope_id(&self) -> EnvelopeId {
        EnvelopeId(self.id())
    }
}

impl TryFrom<Uuid> for EnvelopeId {
    type Error = NotTimeOrdered;

    fn try_from(id: Uuid) -> Result<Self, NotTimeOrdered> {
        if id.get_version() == Some(Version::SortRand) { Ok(Self(id)) } else { Err(NotTimeOrdered(id)) }
    }
}

impl std::fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Encoded events for one message. Each time an envelope is published again it has *the same bytes and the same id*, so that
/// the ledger recognizes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The idempotency key.
    pub id: EnvelopeId,
    /// The routing key, which is also the AMQP `type`: [`crate::ENGAGEMENT`] or an event's own type.
    pub routing_key: &'static str,
    /// The number of events in the body.
    pub events: usize,
    /// The CloudEvents batch.
    pub body: Vec<u8>,
    /// The W3C trace context of the request that caused it, if known.
    pub traceparent: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_comes_from_the_id() {
        // 2026-11-22T23:59:59.999Z and one millisecond later.
        let millis: u128 = 1_795_391_999_999;
        for (millis, day) in [(millis, 22), (millis + 1, 23)] {
            let id = Uuid::from_u128(millis << 80 | 0x7000 << 64 | 0x8000 << 48);
            assert_eq!(EnvelopeId::try_from(id).unwrap().day(), jiff::civil::date(2026, 11, day));
        }
    }

    #[test]
    fn other_uuids_are_refused() {
        let random = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
        assert_eq!(EnvelopeId::try_from(random), Err(NotTimeOrdered(random)));
    }

    #[test]
    fn an_id_far_in_the_future_has_a_day() {
        let id = EnvelopeId::try_from(Uuid::from_u128(!(0xf000 << 64) | 0x7000 << 64)).unwrap();
        assert_eq!(id.day().year(), 9999);
    }
}
