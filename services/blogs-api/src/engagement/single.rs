//! One event a request: a view, a like taken or given, a share.

use axum::Json as JsonAnswer;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use events::{Action, Channel, EngagementEvent};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::caller::{Caller, check_visitor};
use super::direct::Effect;
use super::identity::{ClientKey, Identity};
use super::refusal::Refusal;
use super::{Accepted, EngagementState};
use crate::extract::{Content, Json, Path, parse};
use crate::live_blogs::Presence;
use crate::openapi::{
    AuthProblems, BodyProblems, CommonProblems, LiveBlogProblems, ParameterProblems, UntypedBodyProblems,
};
use crate::problem::{Problem, ProblemBody, Result};
use crate::state::AppState;

/// Who looked. The body may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct ViewBody {
    /// What the client calls this visitor, 1 to 128 bytes. It is only ever kept as a hash that changes daily.
    /// Ignored when signed in; without it, address and user agent stand for the visitor.
    #[schema(example = "3f0c8e")]
    visitor: Option<String>,
}

/// Where to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct ShareBody {
    /// One of `link`, `email`, `message`, `social`, `other`.
    #[schema(example = "link")]
    pub(crate) channel: String,
}

/// The event is promised and will be counted exactly once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Promised {
    /// The event.
    event_id: Uuid,
}

/// The event is counted; the totals include it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountedNow {
    /// The event.
    event_id: Uuid,
    /// Views of the blog.
    total_views: i64,
    /// Accounts that like the blog.
    total_likes: i64,
    /// Shares of the blog.
    total_shares: i64,
}

/// Either of them.
#[derive(Debug)]
pub(crate) enum Answer {
    Promised(Promised),
    Counted(CountedNow),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Promised(body) => (StatusCode::ACCEPTED, JsonAnswer(body)).into_response(),
            Self::Counted(body) => (StatusCode::OK, JsonAnswer(body)).into_response(),
        }
    }
}

/// Tells that somebody looked at a blog.
///
/// A view counts once per visitor, blog and window (half an hour, unless set otherwise; where the window is set to 0,
/// every view counts). A view without an `Idempotency-Key` that is sent again after the window's end, or where every
/// view counts, may count twice.
#[utoipa::path(
    post,
    path = "/v1/blogs/{id}/views",
    tag = "engagement",
    params(
        ("id" = i64, Path, description = "The blog."),
        ("Idempotency-Key" = Option<String>, Header, description = "Counts once for all requests with this key."),
        ("X-Write-Path" = Option<String>, Header, description = "message, direct or direct-batched, where allowed."),
    ),
    request_body(content = Option<ViewBody>),
    responses(
        (status = 202, description = "Promised; it will be counted exactly once.", body = Promised),
        (status = 200, description = "Counted (direct paths).", body = CountedNow),
        UntypedBodyProblems, AuthProblems, LiveBlogProblems, CommonProblems,
    ),
    security((), ("bearer" = []))
)]
pub(crate) async fn view(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
    MaybeJson(body): MaybeJson<ViewBody>,
) -> Result<Answer> {
    if let Some(visitor) = &body.visitor {
        check_visitor(visitor).map_err(|reason| Problem::invalid("visitor", reason))?;
    }
    let identity = caller.identity(body.visitor.as_deref());
    let time = state.engagement.clock().stamp();
    let action = Action::Viewed(state.engagement.secrets.visitor(time, identity));
    accept(&state, &caller, identity, blog_id, time, action).await
}

/// Likes a blog.
///
/// Of the likes and unlikes of one account and blog, the one accepted last decides, in whatever order they are counted.
/// The process that answers stamps the time. Requests to different processes are in order when they are further apart
/// than the processes' clocks, which differ by at most 5 s: beyond that a process answers 503 until its clock is right. A
/// stamp that is still more than 5 s ahead of the database's clock counts as of the moment at which the event is applied.
/// Liking what is liked changes nothing.
#[utoipa::path(
    put,
    path = "/v1/blogs/{id}/like",
    tag = "engagement",
    params(
        ("id" = i64, Path, description = "The blog."),
        ("Idempotency-Key" = Option<String>, Header, description = "Counts once for all requests with this key."),
        ("X-Write-Path" = Option<String>, Header, description = "message, direct or direct-batched, where allowed."),
    ),
    responses(
        (status = 202, description = "Promised; it will be counted exactly once.", body = Promised),
        (status = 200, description = "Counted (direct paths).", body = CountedNow),
        (status = 422, description = "The `Idempotency-Key` or the event is not valid.", body = ProblemBody,
            content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, LiveBlogProblems, CommonProblems,
    ),
    security(("bearer" = []))
)]
pub(crate) async fn like(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
) -> Result<Answer> {
    decide(&state, &caller, blog_id, |account_id| Action::Liked { account_id }).await
}

/// Takes a like back.
///
/// Of the likes and unlikes of one account and blog, the one accepted last decides, in whatever order they are counted.
/// The process that answers stamps the time. Requests to different processes are in order when they are further apart
/// than the processes' clocks, which differ by at most 5 s: beyond that a process answers 503 until its clock is right. A
/// stamp that is still more than 5 s ahead of the database's clock counts as of the moment at which the event is applied.
/// Taking back what was not given changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/blogs/{id}/like",
    tag = "engagement",
    params(
        ("id" = i64, Path, description = "The blog."),
        ("Idempotency-Key" = Option<String>, Header, description = "Counts once for all requests with this key."),
        ("X-Write-Path" = Option<String>, Header, description = "message, direct or direct-batched, where allowed."),
    ),
    responses(
        (status = 202, description = "Promised; it will be counted exactly once.", body = Promised),
        (status = 200, description = "Counted (direct paths).", body = CountedNow),
        (status = 422, description = "The `Idempotency-Key` or the event is not valid.", body = ProblemBody,
            content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, LiveBlogProblems, CommonProblems,
    ),
    security(("bearer" = []))
)]
pub(crate) async fn unlike(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
) -> Result<Answer> {
    decide(&state, &caller, blog_id, |account_id| Action::Unliked { account_id }).await
}

/// Tells that somebody passed a blog on.
///
/// Every share counts, so one without an `Idempotency-Key` that is sent again may count twice.
#[utoipa::path(
    post,
    path = "/v1/blogs/{id}/shares",
    tag = "engagement",
    params(
        ("id" = i64, Path, description = "The blog."),
        ("Idempotency-Key" = Option<String>, Header, description = "Counts once for all requests with this key."),
        ("X-Write-Path" = Option<String>, Header, description = "message, direct or direct-batched, where allowed."),
    ),
    request_body = ShareBody,
    responses(
        (status = 202, description = "Promised; it will be counted exactly once.", body = Promised),
        (status = 200, description = "Counted (direct paths).", body = CountedNow),
        BodyProblems, AuthProblems, LiveBlogProblems, CommonProblems,
    ),
    security((), ("bearer" = []))
)]
pub(crate) async fn share(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
    Json(body): Json<ShareBody>,
) -> Result<Answer> {
    let channel: Channel = body
        .channel
        .parse()
        .map_err(|error: events::UnknownChannel| Problem::invalid("channel", error.to_string()))?;
    let time = state.engagement.clock().stamp();
    accept(&state, &caller, caller.identity(None), blog_id, time, Action::Shared(channel)).await
}

async fn decide(
    state: &AppState,
    caller: &Caller,
    blog_id: i64,
    action: impl FnOnce(i64) -> Action,
) -> Result<Answer> {
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
) -> Result<Answer> {
    let engagement: &EngagementState = &state.engagement;
    let deadline = engagement.deadline(caller);
    if state.live_blogs.is_live(blog_id).await == Presence::Absent {
        engagement.metrics.refused(Refusal::NoSuchBlog, 1);
        return Err(Refusal::NoSuchBlog.into());
    }
    let key = caller.key.as_deref().map(|key| {
        engagement.secrets.event_key(identity, action.kind(), blog_id, ClientKey { key, index: None })
    });
    let event = EngagementEvent { id: engagement.clock().id(), blog_id, time, action, key, imported: false };
    let event_id = event.id;
    match engagement.accept(caller, vec![event], deadline).await? {
        Accepted::Published => Ok(Answer::Promised(Promised { event_id })),
        Accepted::Applied(effects) => match effects.first() {
            Some(Effect::Counted(totals) | Effect::Repeat(totals)) => Ok(Answer::Counted(CountedNow {
                event_id,
                total_views: totals.total_views,
                total_likes: totals.total_likes,
                total_shares: totals.total_shares,
            })),
            Some(Effect::Refused(refusal)) => Err((*refusal).into()),
            None => Err(Refusal::Invalid.into()),
        },
    }
}

/// A JSON body that may be left out. Its declared type is not asked for: the browser's beacons, which send views
/// when a page is left, cannot declare one.
#[derive(Debug)]
pub(crate) struct MaybeJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let Content(body) = Content::from_request(request, state).await?;
        if body.trim_ascii().is_empty() { Ok(Self(T::default())) } else { parse(&body).map(Self) }
    }
}
