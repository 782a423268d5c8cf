//! The actions of readers, one event each, shared by endpoints and pages.

use ::engagement::Totals;
use events::{Action, Channel, EngagementEvent, UnknownChannel};
use jiff::Timestamp;
use uuid::Uuid;

use super::caller::{Caller, check_visitor};
use crate::acceptance::{Accepted, ClientKey, Effect, Identity, Refusal};
use crate::live_blogs::Presence;
use crate::problem::{Problem, Result};
use crate::state::AppState;

/// An event that was accepted.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(super) event_id: Uuid,
    /// The totals that include the event; none if it is accepted but not yet counted.
    pub(super) totals: Option<Totals>,
}

/// Accepts a view of a blog by the visitor that the client names.
///
/// # Errors
/// 404 when readers cannot see the blog, 422 when the visitor's name is invalid, and the reason when the event is not
/// accepted.
pub(crate) async fn view(
    state: &AppState,
    caller: &Caller,
    blog_id: i64,
    visitor: Option<&str>,
) -> Result<Taken> {
    if let Some(visitor) = visitor {
        check_visitor(visitor).map_err(|reason| Problem::invalid("visitor", reason))?;
    }
    let identity = caller.identity(visitor);
    let time = state.engagement.clock().stamp();
    let action = Action::Viewed(state.engagement.secrets().visitor(time, identity));
    accept(state, caller, identity, blog_id, time, action).await
}

/// Accepts the caller's like of a blog.
///
/// # Errors
/// 401 without an account, 404 when readers cannot see the blog, and the reason when the event is not accepted.
pub(crate) async fn like(state: &AppState, caller: &Caller, blog_id: i64) -> Result<Taken> {
    decide(state, caller, blog_id, |account_id| Action::Liked { account_id }).await
}

/// Accepts the removal of the caller's like.
///
/// # Errors
/// Those of [`like`].
pub(crate) async fn unlike(state: &AppState, caller: &Caller, blog_id: i64) -> Result<Taken> {
    decide(state, caller, blog_id, |account_id| Action::Unliked { account_id }).await
}

/// Accepts a share of a blog through this channel.
///
/// # Errors
/// 422 for an unknown channel, 404 when readers cannot see the blog, and the reason when the event is not accepted.
pub(crate) async fn share(state: &AppState, caller: &Caller, blog_id: i64, channel: &str) -> Result<Taken> {
    let channel: Channel =
        channel.parse().map_err(|error: UnknownChannel| Problem::invalid("channel", error.to_string()))?;
    let time = state.engagement.clock().stamp();
    accept(state, caller, caller.identity(None), blog_id, time, Action::Shared(channel)).await
}

async fn decide(
    state: &AppState,
    caller: &Caller,
    blog_id: i64,
    action: impl FnOnce(i64) -> Action,
) -> Result<Taken> {
    let Some(account_id) = caller.account_id() else {
        return Err(Problem::unauthorized("sign in to like a blog: send `Authorization: Bearer <token>`"));
    };
    let time = state.engagement.clock().stamp();
    accept(state, caller, Identity::Account(account_id), blog_id, time, action(account_id)).await
}

async fn accept(
    state: &AppState,
    caller: &Caller,
    identity: Identity<'_>,
    blog_id: i64,
    time: Timestamp,
    action: Action,
) -> Result<Taken> {
    let engagement = &state.engagement;
    let deadline = engagement.deadline(caller.known_after);
    if state.live_blogs.is_live(blog_id).await == Presence::Absent {
        engagement.refused(Refusal::NoSuchBlog, 1);
        return Err(Refusal::NoSuchBlog.into());
    }
    let key = caller.key.as_deref().map(|key| {
        engagement.secrets().event_key(identity, action.kind(), blog_id, ClientKey { key, index: None })
    });
    let event = EngagementEvent { id: engagement.clock().id(), blog_id, time, action, key, imported: false };
    let event_id = event.id;
    match engagement.accept(caller.path, vec![event], caller.traceparent.as_deref(), deadline).await? {
        Accepted::Published => Ok(Taken { event_id, totals: None }),
        Accepted::Applied(effects) => match effects.first() {
            Some(Effect::Counted(totals) | Effect::Repeat(totals)) => {
                Ok(Taken { event_id, totals: Some(*totals) })
            }
            Some(Effect::Refused(refusal)) => Err((*refusal).into()),
            None => Err(Refusal::Invalid.into()),
        },
    }
}
