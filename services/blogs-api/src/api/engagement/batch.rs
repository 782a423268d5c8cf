//! Many events in one request, each judged by itself: a bad one is rejected with its place and a reason, the
//! others are accepted, all of them or none.

use std::collections::BTreeSet;
use std::fmt;

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::http::StatusCode;
use events::{Action, Channel, Clock, EngagementEvent, EngagementKind, WritePath};
use jiff::Timestamp;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::caller::{BatchCaller, Caller, check_key, check_visitor};
use crate::acceptance::{Accepted, BATCH_EVENTS_MAX, ClientKey, Effect, Identity, Refusal, Secrets};
use crate::api::openapi::{AuthProblems, BodyProblems, CommonProblems};
use crate::extract::{Json, parse};
use crate::limits::Class;
use crate::live_blogs::Presence;
use crate::problem::{Problem, Result};
use crate::state::AppState;

/// One event of a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with `type` and `blog_id`")]
pub(super) struct Element {
    /// One of `blog.viewed`, `blog.liked`, `blog.unliked`, `blog.shared`. Likes need a token.
    #[schema(example = "blog.viewed")]
    r#type: String,
    /// Which blog.
    blog_id: i64,
    /// What the client calls the visitor, 1 to 128 bytes. Ignored when signed in, but not for an imported event,
    /// where it says whose view it was.
    visitor: Option<String>,
    /// Where a blog was shared to: one of `link`, `email`, `message`, `social`, `other`.
    channel: Option<String>,
    /// When it happened, for events of the past; needs a token with the scope `import`, which sends no other events.
    occurred_at: Option<Timestamp>,
    /// The event counts once for all with this key, wherever in a batch it stands.
    key: Option<String>,
}

/// What became of a batch.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    /// How many events will be counted exactly once, or are (direct paths).
    accepted: usize,
    /// Of these, how many counted just now; only the direct paths know. Should the database be lost just as they were
    /// committed, all are said to have counted: what is counted is right, which of them repeated others is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = usize)]
    counted: Option<usize>,
    /// Of these, how many had been counted before; only the direct paths know.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = usize)]
    repeat: Option<usize>,
    /// The others.
    rejected: Vec<Rejected>,
}

/// An event that was not accepted.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Rejected {
    /// Its place in the batch, from 0.
    index: usize,
    /// What is wrong with it.
    #[schema(example = "channel: unknown channel; use one of link, email, message, social, other")]
    reason: String,
}

/// Takes many events at once.
///
/// Each is judged by itself. Those that are good are accepted all together: after a 503 none is promised. With
/// an `Idempotency-Key`, events that have no `key` of their own count once by that key and their place.
#[utoipa::path(
    post,
    path = "/v1/engagement",
    tag = "engagement",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "With its place, the key of every event without one."),
        ("X-Write-Path" = Option<String>, Header, description = "message, direct or direct-batched, where allowed."),
    ),
    request_body(content = Vec<Element>, description = "At most 1000 events, unless set otherwise."),
    responses(
        (status = 202, description = "The accepted events will be counted exactly once.", body = BatchAnswer),
        (status = 200, description = "The accepted events are counted (direct paths).", body = BatchAnswer),
        BodyProblems, AuthProblems, CommonProblems,
    ),
    security((), ("bearer" = []))
)]
pub(super) async fn engage(
    State(state): State<AppState>,
    BatchCaller(caller): BatchCaller,
    Json(Elements { elements, sent }): Json<Elements>,
) -> Result<(StatusCode, JsonAnswer<BatchAnswer>)> {
    let engagement = &state.engagement;
    let deadline = engagement.deadline(caller.known_after);
    let most = state.settings.engagement.batch_events_max;
    if sent > most {
        return Err(Problem::invalid("body", format!("must hold at most {most} events, and holds {sent}")));
    }
    // One was taken when the caller became known.
    let others = u32::try_from(elements.len().saturating_sub(1)).unwrap_or(u32::MAX);
    state.limits.take(Class::Engagement, caller.client, others)?;

    let reader = Reader { caller: &caller, secrets: engagement.secrets(), clock: engagement.clock() };
    let mut verdicts = Verdicts::default();
    for (index, element) in elements.iter().enumerate() {
        match reader.read(index, element) {
            Ok(event) => verdicts.events.push((index, event)),
            Err(reason) => verdicts.reject(index, reason),
        }
    }
    engagement.refused(Refusal::Invalid, verdicts.rejected.len());

    let blog_ids: BTreeSet<i64> = verdicts.events.iter().map(|(_, event)| event.blog_id).collect();
    let found = state.live_blogs.among(&blog_ids.into_iter().collect::<Vec<_>>()).await;
    let absent =
        verdicts.reject_where(Refusal::NoSuchBlog, |event| found.of(event.blog_id) == Presence::Absent);
    engagement.refused(Refusal::NoSuchBlog, absent);

    let (places, events): (Vec<usize>, Vec<EngagementEvent>) =
        std::mem::take(&mut verdicts.events).into_iter().unzip();
    let accepted = events.len();
    let outcome = if events.is_empty() && caller.path != WritePath::Message {
        Accepted::Applied(Vec::new())
    } else if events.is_empty() {
        Accepted::Published
    } else {
        engagement.accept(caller.path, events, caller.traceparent.as_deref(), deadline).await?
    };
    let (status, mut answer) = match outcome {
        Accepted::Published => (StatusCode::ACCEPTED, BatchAnswer { accepted, ..BatchAnswer::default() }),
        Accepted::Applied(effects) => (StatusCode::OK, verdicts.applied(places, &effects)),
    };
    verdicts.rejected.sort_unstable_by_key(|rejected| rejected.index);
    answer.rejected = verdicts.rejected;
    Ok((status, JsonAnswer(answer)))
}

/// The elements of a batch, not yet read. What lies beyond the largest batch that can be allowed is only counted: a body
/// of a million `1`s would take many times its own size in boxes.
#[derive(Debug)]
pub(super) struct Elements {
    elements: Vec<Box<RawValue>>,
    sent: usize,
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Elements;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Elements, A::Error> {
                let mut elements = Vec::new();
                while elements.len() < BATCH_EVENTS_MAX
                    && let Some(element) = list.next_element()?
                {
                    elements.push(element);
                }
                let mut sent = elements.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    sent += 1;
                }
                Ok(Elements { elements, sent })
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// The events that nothing speaks against so far, with their places, and the others.
#[derive(Debug, Default)]
struct Verdicts {
    events: Vec<(usize, EngagementEvent)>,
    rejected: Vec<Rejected>,
}

impl Verdicts {
    fn reject(&mut self, index: usize, reason: String) {
        self.rejected.push(Rejected { index, reason });
    }

    /// What the database has said of each accepted event.
    fn applied(&mut self, places: Vec<usize>, effects: &[Effect]) -> BatchAnswer {
        let (mut counted, mut repeat) = (0, 0);
        for (index, effect) in places.into_iter().zip(effects) {
            match effect {
                Effect::Counted(_) => counted += 1,
                Effect::Repeat(_) => repeat += 1,
                Effect::Refused(refusal) => self.reject(index, reason(*refusal)),
            }
        }
        let accepted = counted + repeat;
        BatchAnswer { accepted, counted: Some(counted), repeat: Some(repeat), rejected: Vec::new() }
    }

    fn reject_where(&mut self, refusal: Refusal, is_bad: impl Fn(&EngagementEvent) -> bool) -> usize {
        let bad: Vec<usize> =
            self.events.extract_if(.., |(_, event)| is_bad(event)).map(|(index, _)| index).collect();
        for &index in &bad {
            self.reject(index, reason(refusal));
        }
        bad.len()
    }
}

fn reason(refusal: Refusal) -> String {
    match refusal {
        Refusal::NoSuchBlog => format!("blog_id: {}", refusal.sentence()),
        other => other.sentence().to_owned(),
    }
}

/// Turns elements into events.
struct Reader<'a> {
    caller: &'a Caller,
    secrets: &'a Secrets,
    clock: &'a Clock,
}

impl Reader<'_> {
    /// The event, or what is wrong with it.
    fn read(&self, index: usize, element: &RawValue) -> std::result::Result<EngagementEvent, String> {
        let element: Element =
            parse(element.get().as_bytes()).map_err(|problem| problem.detail().to_owned())?;
        if let Some(visitor) = &element.visitor {
            check_visitor(visitor).map_err(|reason| format!("visitor: {reason}"))?;
        }
        if let Some(key) = &element.key {
            check_key(key).map_err(|reason| format!("key: {reason}"))?;
        }
        let kind = EngagementKind::ALL
            .into_iter()
            .find(|kind| kind.event_type() == element.r#type)
            .ok_or("type: one of blog.viewed, blog.liked, blog.unliked, blog.shared is expected")?;
        let imported = element.occurred_at.is_some();
        let time = self.time(element.occurred_at)?;
        let identity = self.identity(&element, imported);
        let action = self.action(kind, &element, identity, time)?;
        let key = match (&element.key, &self.caller.key) {
            (Some(own), _) => Some(ClientKey { key: own, index: None }),
            (None, Some(of_request)) => Some(ClientKey { key: of_request, index: Some(index as u64) }),
            (None, None) => None,
        };
        let key = key.map(|key| self.secrets.event_key(identity, kind, element.blog_id, key));
        Ok(EngagementEvent { id: self.clock.id(), blog_id: element.blog_id, time, action, key, imported })
    }

    fn time(&self, occurred_at: Option<Timestamp>) -> std::result::Result<Timestamp, String> {
        let time = match (occurred_at, self.caller.may_import()) {
            (None, false) => return Ok(self.clock.stamp()),
            (Some(_), false) => return Err("occurred_at: needs a token with the scope import".to_owned()),
            (None, true) => {
                return Err(
                    "occurred_at: a token with the scope import sends only events that have one".to_owned()
                );
            }
            (Some(time), true) => time,
        };
        if time > self.clock.now() {
            return Err("occurred_at: must not be in the future".to_owned());
        }
        if time < Timestamp::UNIX_EPOCH {
            return Err("occurred_at: must not be before 1970".to_owned());
        }
        // The database keeps microseconds.
        Timestamp::from_microsecond(time.as_microsecond()).map_err(|error| format!("occurred_at: {error}"))
    }

    /// Whoever imports is not who looked.
    fn identity<'a>(&'a self, element: &'a Element, imported: bool) -> Identity<'a> {
        match (&element.visitor, imported) {
            (Some(visitor), true) => Identity::Named(visitor),
            (visitor, _) => self.caller.identity(visitor.as_deref()),
        }
    }

    fn action(
        &self,
        kind: EngagementKind,
        element: &Element,
        identity: Identity<'_>,
        time: Timestamp,
    ) -> std::result::Result<Action, String> {
        let account_id =
            || self.caller.account_id().ok_or(format!("type: {} needs a token", kind.event_type()));
        if element.channel.is_some() && kind != EngagementKind::Share {
            return Err("channel: only blog.shared has one".to_owned());
        }
        Ok(match kind {
            EngagementKind::View if element.occurred_at.is_some() && element.visitor.is_none() => {
                return Err(
                    "visitor: an imported view needs one, or all of them would be one visitor's".to_owned()
                );
            }
            EngagementKind::View => Action::Viewed(self.secrets.visitor(time, identity)),
            EngagementKind::Like => Action::Liked { account_id: account_id()? },
            EngagementKind::Unlike => Action::Unliked { account_id: account_id()? },
            EngagementKind::Share => {
                let channel = element.channel.as_deref().ok_or("channel: blog.shared needs one")?;
                Action::Shared(channel.parse::<Channel>().map_err(|error| format!("channel: {error}"))?)
            }
        })
    }
}

#[cfg(test)]
mod tests;
