//! Many events in one request. Each is validated separately: invalid events are rejected with their index and a reason,
//! and the others are accepted, either all of them or none.

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
    /// One of `blog.viewed`, `blog.liked`, `blog.unliked`, `blog.shared`. Likes and unlikes require a token.
    #[schema(example = "blog.viewed")]
    r#type: String,
    /// The blog's id.
    blog_id: i64,
    /// The client's name for the visitor, 1 to 128 bytes. Ignored when the caller is signed in, except for imported
    /// events, where it identifies the visitor.
    visitor: Option<String>,
    /// The channel of a share: one of `link`, `email`, `message`, `social`, `other`.
    channel: Option<String>,
    /// When the event happened, for imported events. Requires a token with the scope `import`, which can send no other
    /// events.
    occurred_at: Option<Timestamp>,
    /// An idempotency key: all events with this key count once, whatever their index and batch.
    key: Option<String>,
}

/// The result of a batch.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    /// Number of accepted events. They will be counted exactly once, or already are (direct paths).
    accepted: usize,
    /// Number of accepted events that this request counted; direct paths only. If the database connection is lost
    /// during the commit, every accepted event is reported here: the counters are correct, but repeats cannot be told
    /// apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = usize)]
    counted: Option<usize>,
    /// Number of accepted events that had been counted before; direct paths only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = usize)]
    repeat: Option<usize>,
    /// The rejected events.
    rejected: Vec<Rejected>,
}

/// An event that was rejected.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Rejected {
    /// The event's index in the batch, from 0.
    index: usize,
    /// The reason.
    #[schema(example = "channel: unknown channel; use one of link, email, message, social, other")]
    reason: String,
}

/// Send a batch of events.
///
/// Each event is validated separately. The valid events are accepted all together or not at all. A 503 promises none of
/// them, but some may count nevertheless: retry with the same keys. With an `Idempotency-Key` header, events without a
/// `key` of their own get a key from the header and their index.
#[utoipa::path(
    post,
    path = "/v1/engagement",
    tag = "engagement",
    params(
        ("Idempotency-Key" = Option<String>, Header,
         description = "An event without a `key` gets one from this header and the event's index."),
        ("X-Write-Path" = Option<String>, Header,
         description = "The write path: message, direct or direct-batched, if the server allows the choice."),
    ),
    request_body(content = Vec<Element>, description = "At most 1000 events, unless the operator has set another limit."),
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
        return Err(Problem::invalid(
            "body",
            format!("must hold at most {most} events; the request has {sent}"),
        ));
    }
    // The `Caller` extractor has already taken one.
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

/// The unparsed elements of a batch. Elements beyond the largest allowed batch are counted but not kept: a body of a
/// million `1`s would take many times its own size in boxes.
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

/// The events that have passed validation so far, with their indexes, and the rejected ones.
#[derive(Debug, Default)]
struct Verdicts {
    events: Vec<(usize, EngagementEvent)>,
    rejected: Vec<Rejected>,
}

impl Verdicts {
    fn reject(&mut self, index: usize, reason: String) {
        self.rejected.push(Rejected { index, reason });
    }

    /// Builds the response from the database's result for each accepted event.
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
    /// Returns the event, or the reason for rejecting it.
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
            .ok_or("type: must be one of blog.viewed, blog.liked, blog.unliked, blog.shared")?;
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
            (Some(_), false) => return Err("occurred_at: requires a token with the scope import".to_owned()),
            (None, true) => {
                return Err("occurred_at: a token with the scope import can send only events that have one"
                    .to_owned());
            }
            (Some(time), true) => time,
        };
        if time > self.clock.now() {
            return Err("occurred_at: must not be in the future".to_owned());
        }
        if time < Timestamp::UNIX_EPOCH {
            return Err("occurred_at: must not be before 1970".to_owned());
        }
        // Postgres keeps microseconds.
        Timestamp::from_microsecond(time.as_microsecond()).map_err(|error| format!("occurred_at: {error}"))
    }

    /// An importer is not the visitor of the events that it imports.
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
            || self.caller.account_id().ok_or(format!("type: {} requires a token", kind.event_type()));
        if element.channel.is_some() && kind != EngagementKind::Share {
            return Err("channel: only blog.shared has a channel".to_owned());
        }
        Ok(match kind {
            EngagementKind::View if element.occurred_at.is_some() && element.visitor.is_none() => {
                return Err(
                    "visitor: an imported view requires one, or all imported views would share one visitor"
                        .to_owned(),
                );
            }
            EngagementKind::View => Action::Viewed(self.secrets.visitor(time, identity)),
            EngagementKind::Like => Action::Liked { account_id: account_id()? },
            EngagementKind::Unlike => Action::Unliked { account_id: account_id()? },
            EngagementKind::Share => {
                let channel = element.channel.as_deref().ok_or("channel: blog.shared requires a channel")?;
                Action::Shared(channel.parse::<Channel>().map_err(|error| format!("channel: {error}"))?)
            }
        })
    }
}

#[cfg(test)]
mod tests;
