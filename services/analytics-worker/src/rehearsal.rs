//! Checks whether this release can count a sound envelope.
//!
//! An event that cannot be read, or whose time is outside the days that can be counted, says nothing about the worker:
//! a single producer can send any number of them. A release that reads or dates events wrongly parks sound events for
//! the same reasons. The worker distinguishes the two with an envelope of its own, whose bytes are fixed here: it reads
//! the envelope and applies it in a transaction that it rolls back.

use engagement::{Engagement, Error, Incoming};
use events::{EnvelopeId, codec};
use jiff::Timestamp;

/// One event of each kind, as producers write it. No blog or account has the id 0, so it would count nothing.
const SOUND: &str = include_str!("rehearsal.json");

/// Returns true if no part of the sound envelope would be parked.
pub(crate) async fn passes(engagement: &Engagement) -> Result<bool, Error> {
    let now = Timestamp::now();
    let Some(events) = read(SOUND) else { return Ok(false) };
    let events = events.into_iter().map(|event| Ok(events::EngagementEvent { time: now, ..event })).collect();
    engagement.rehearse(&Incoming { id: EnvelopeId::now(), traceparent: None, events }).await
}

/// The events of the envelope; `None` if one of them cannot be read.
fn read(body: &str) -> Option<Vec<events::EngagementEvent>> {
    codec::decode_engagement(body.as_bytes()).ok()?.into_iter().collect::<Result<_, _>>().ok()
}

#[cfg(test)]
mod tests {
    use events::{Action, Channel, Visitor};

    use super::*;

    #[test]
    fn sound_envelope_holds_one_event_of_each_kind() {
        let actions: Vec<_> = read(SOUND).unwrap().into_iter().map(|event| event.action).collect();
        let account_id = 0;
        assert_eq!(
            actions,
            [
                Action::Viewed(Visitor(255)),
                Action::Liked { account_id },
                Action::Unliked { account_id },
                Action::Shared(Channel::Link),
            ]
        );
        assert_eq!(read("[{}]"), None);
        assert_eq!(read("{}"), None);
    }
}
