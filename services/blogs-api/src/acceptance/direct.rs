//! Applies events directly to the database, for both direct paths.

use std::collections::BTreeMap;

use ::engagement::{Engagement, Error, Incoming, OnBadEvent, Outcome, Totals};
use events::{Clock, ENVELOPE_EVENTS_MAX, EngagementEvent, EngagementKind, WritePath};

use super::metrics::Metrics;
use super::refusal::Refusal;

/// The effect of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It was counted; these are its blog's totals.
    Counted(Totals),
    /// It had been counted before, by its key or by its content; these are its blog's totals.
    Repeat(Totals),
    /// It was not counted, for this reason.
    Refused(Refusal),
}

/// Applies the events in one transaction and returns the effect of each. Like every envelope they have an id in the
/// ledger, so that the outcome of a lost commit can be looked up.
pub(super) async fn apply(
    engagement: &Engagement,
    clock: &Clock,
    path: WritePath,
    events: Vec<EngagementEvent>,
    metrics: &Metrics,
) -> Result<Vec<Effect>, Refusal> {
    let about: Vec<(EngagementKind, i64)> =
        events.iter().map(|event| (event.action.kind(), event.blog_id)).collect();
    let applied = engagement.apply(&envelopes(events, clock), OnBadEvent::Refuse).await.map_err(refusal)?;
    metrics.committed(path, about.len());
    let outcomes = applied.outcomes.into_iter().flatten();
    let effects: Vec<Effect> = about
        .iter()
        .zip(outcomes)
        .map(|(&(_, blog_id), outcome)| effect(outcome, blog_id, &applied.totals))
        .collect();
    let accepted = about.iter().zip(&effects).filter(|(_, effect)| !matches!(effect, Effect::Refused(_)));
    metrics.accepted(path, accepted.map(|(&(kind, _), _)| kind));
    Ok(effects)
}

fn envelopes(events: Vec<EngagementEvent>, clock: &Clock) -> Vec<Incoming> {
    let mut envelopes = Vec::with_capacity(events.len().div_ceil(ENVELOPE_EVENTS_MAX));
    let mut events = events.into_iter().map(Ok).peekable();
    while events.peek().is_some() {
        let events = events.by_ref().take(ENVELOPE_EVENTS_MAX).collect();
        envelopes.push(Incoming { id: clock.envelope_id(), traceparent: None, events });
    }
    envelopes
}

fn effect(outcome: Outcome, blog_id: i64, totals: &BTreeMap<i64, Totals>) -> Effect {
    match (outcome, totals.get(&blog_id)) {
        (Outcome::Counted, Some(totals)) => Effect::Counted(*totals),
        (Outcome::Repeat, Some(totals)) => Effect::Repeat(*totals),
        (Outcome::Refused | Outcome::Parked, _) => Effect::Refused(Refusal::BadValue),
        // The ledger has the event, but no attempt of this request saw its result.
        (Outcome::Replayed, _) => Effect::Refused(Refusal::OutcomeUnknown),
        _ => Effect::Refused(Refusal::NoSuchBlog),
    }
}

fn refusal(error: Error) -> Refusal {
    let refusal = match &error {
        Error::OutcomeUnknown(_) => Refusal::OutcomeUnknown,
        error if error.is_unavailable() => Refusal::DatabaseAway,
        _ => Refusal::DatabaseBroken,
    };
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        reason = refusal.name(),
        "could not apply events"
    );
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::Action;
    use jiff::Timestamp;
    use uuid::Uuid;

    #[test]
    fn envelopes_hold_all_events_in_order() {
        for n in [0, 1, 512, 513, 1024, 1025] {
            let event = |blog_id| EngagementEvent {
                id: Uuid::now_v7(),
                blog_id,
                time: Timestamp::UNIX_EPOCH,
                action: Action::Liked { account_id: 1 },
                key: None,
                imported: false,
            };
            let envelopes = envelopes((0..n).map(event).collect(), &Clock::system());
            assert!(envelopes.iter().all(|envelope| (1..=512).contains(&envelope.events.len())));
            let blogs: Vec<i64> = envelopes
                .into_iter()
                .flat_map(|envelope| envelope.events)
                .map(|event| event.unwrap().blog_id)
                .collect();
            assert_eq!(blogs, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_an_event_of_a_live_blog_is_counted() {
        let totals = BTreeMap::from([(1, Totals { total_views: 3, total_likes: 0, total_shares: 0 })]);
        let counted = Effect::Counted(Totals { total_views: 3, total_likes: 0, total_shares: 0 });
        assert_eq!(effect(Outcome::Counted, 1, &totals), counted);
        let repeat = Effect::Repeat(Totals { total_views: 3, total_likes: 0, total_shares: 0 });
        assert_eq!(effect(Outcome::Repeat, 1, &totals), repeat);
        assert_eq!(effect(Outcome::Replayed, 1, &totals), Effect::Refused(Refusal::OutcomeUnknown));
        assert_eq!(effect(Outcome::Discarded, 2, &totals), Effect::Refused(Refusal::NoSuchBlog));
        assert_eq!(effect(Outcome::Refused, 1, &totals), Effect::Refused(Refusal::BadValue));
    }
}
