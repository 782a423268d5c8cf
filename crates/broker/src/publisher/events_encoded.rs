//! The input of a publish: encoded events that must stay together.

use events::{ENVELOPE_BYTES_MAX, ENVELOPE_EVENTS_MAX};

use super::PublishError;

/// The two brackets around an envelope's events.
pub(super) const BRACKETS: usize = 2;

/// One or more encoded events for the same envelope. There is always at least one, and together they always fit into an
/// envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvents {
    count: usize,
    bytes: Vec<u8>,
    traceparent: Option<String>,
}

impl EncodedEvents {
    /// One event, as [`events::codec`] encodes it.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`] if it does not fit into an envelope.
    pub fn one(event: Vec<u8>) -> Result<Self, PublishError> {
        if event.len() + BRACKETS > ENVELOPE_BYTES_MAX {
            return Err(PublishError::TooLarge);
        }
        Ok(Self { count: 1, bytes: event, traceparent: None })
    }

    /// Adds an event. Returns `false` without a change if it does not fit into the same envelope; the caller then starts
    /// another item.
    #[must_use]
    pub fn try_push(&mut self, event: &[u8]) -> bool {
        let bytes = self.bytes.len() + 1 + event.len();
        if self.count == ENVELOPE_EVENTS_MAX || bytes + BRACKETS > ENVELOPE_BYTES_MAX {
            return false;
        }
        self.count += 1;
        self.bytes.reserve(1 + event.len());
        self.bytes.push(b',');
        self.bytes.extend_from_slice(event);
        true
    }

    /// Adds the W3C trace context of the request that caused the events. An envelope has room for one: it carries the first
    /// sampled context, otherwise the first. The traces of the envelope's other requests record the envelope's id instead.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: Option<String>) -> Self {
        self.traceparent = traceparent;
        self
    }

    /// The number of events.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The events, separated by commas.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_accepted_up_to_the_exact_size_of_an_envelope() {
        assert!(EncodedEvents::one(vec![b'1'; ENVELOPE_BYTES_MAX - BRACKETS]).is_ok());
        let over = EncodedEvents::one(vec![b'1'; ENVELOPE_BYTES_MAX - BRACKETS + 1]);
        assert_eq!(over, Err(PublishError::TooLarge));

        let mut events = EncodedEvents::one(vec![b'1'; 10]).unwrap();
        assert!(!events.try_push(&vec![b'2'; ENVELOPE_BYTES_MAX - BRACKETS - 10]));
        assert!(events.try_push(&vec![b'2'; ENVELOPE_BYTES_MAX - BRACKETS - 11]));
        assert_eq!(events.bytes().len() + BRACKETS, ENVELOPE_BYTES_MAX);
        assert_eq!(events.count(), 2);
    }

    #[test]
    fn no_more_events_than_an_envelope_takes() {
        let mut events = EncodedEvents::one(b"1".to_vec()).unwrap();
        while events.try_push(b"1") {}
        assert_eq!(events.count(), ENVELOPE_EVENTS_MAX);
    }
}
