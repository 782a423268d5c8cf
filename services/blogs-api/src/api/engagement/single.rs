//! One event per request: a view, a like, an unlike or a share.

use ::engagement::Totals;
use axum::Json as JsonAnswer;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::actions::{self, Taken};
use super::caller::Caller;
use crate::api::openapi::{
    AuthProblems, BodyProblems, CommonProblems, LiveBlogProblems, ParameterProblems, UntypedBodyProblems,
};
use crate::extract::{Content, Json, Path, parse};
use crate::problem::{Problem, ProblemBody, Result};
use crate::state::AppState;

/// The visitor. The body may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct ViewBody {
    /// The client's name for this visitor, 1 to 128 bytes. It is stored only as a hash that changes daily. Ignored when
    /// signed in. Without it, the address and the user agent identify the visitor.
    #[schema(example = "3f0c8e")]
    visitor: Option<String>,
}

/// The channel of a share.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct ShareBody {
    /// One of `link`, `email`, `message`, `social`, `other`.
    #[schema(example = "link")]
    channel: String,
}

/// The event is accepted and will be counted exactly once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Promised {
    /// The event's id.
    event_id: Uuid,
}

/// The event is counted; the totals include it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CountedNow {
    /// The event's id.
    event_id: Uuid,
    /// Views of the blog.
    total_views: i64,
    /// Accounts that like the blog.
    total_likes: i64,
    /// Shares of the blog.
    total_shares: i64,
}

/// Accepted or counted.
#[derive(Debug)]
pub(super) enum Answer {
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

impl From<Taken> for Answer {
    fn from(Taken { event_id, totals }: Taken) -> Self {
        match totals {
            None => Self::Promised(Promised { event_id }),
            Some(Totals { total_views, total_likes, total_shares }) => {
                Self::Counted(CountedNow { event_id, total_views, total_likes, total_shares })
            }
        }
    }
}

/// Record a view of a blog.
///
/// A view counts once per visitor, blog and window (30 minutes unless the operator has set another length; with a
/// window of 0, every view counts). To retry a view safely, send an `Idempotency-Key`: without one, a retry may count
/// twice if it arrives after the window has ended or if every view counts.
#[utoipa::path(
    post,
    path = "/v1/blogs/{id}/views",
    tag = "engagement",
    params(
        ("id" = i64, Path, description = "The blog."),
        ("Idempotency-Key" = Option<String>, Header, description = "Requests with the same key together count only once."),
        ("X-Write-Path" = Option<String>, Header,
         description = "The write path: message, direct or direct-batched, if the server allows the choice."),
    ),
    request_body(content = Option<ViewBody>),
    responses(
        (status = 202, description = "Accepted; the event will be counted exactly once.", body = Promised),
        (status = 200, description = "Counted (direct paths).", body = CountedNow),
        UntypedBodyProblems, AuthProblems, LiveBlogProblems, CommonProblems,
    ),
    security((), ("bearer" = []))
)]
pub(super) async fn view(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
    MaybeJson(body): MaybeJson<ViewBody>,
) -> Result<Answer> {
    Ok(actions::view(&state, &caller, blog_id, body.visitor.as_deref()).await?.into())
}

/// Like a blog.
///
/// For one account and blog, the like or unlike that was accepted last decides, in whatever order they are counted. The
/// API process that accepts a request stamps its time. Two requests to different processes are ordered correctly if
/// they are further apart than the difference between the processes' clocks, which is at most 5 s: a process whose
/// clock is further off answers 503 until the clock is right. A timestamp that is still more than 5 s ahead of the
/// database's clock is replaced by the time at which the event is applied. Liking a blog again changes nothing.
#[utoipa::path(
    put,
    path = "/v1/blogs/{id}/like",
    tag = "engagement",
    params(
        ("id" = i64, Path, description = "The blog."),
        ("Idempotency-Key" = Option<String>, Header, description = "Requests with the same key together count only once."),
        ("X-Write-Path" = Option<String>, Header,
         description = "The write path: message, direct or direct-batched, if the server allows the choice."),
    ),
    responses(
        (status = 202, description = "Accepted; the event will be counted exactly once.", body = Promised),
        (status = 200, description = "Counted (direct paths).", body = CountedNow),
        (status = 422, description = "The `Idempotency-Key` or the event is invalid.", body = ProblemBody,
            content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, LiveBlogProblems, CommonProblems,
    ),
    security(("bearer" = []))
)]
pub(super) async fn like(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
) -> Result<Answer> {
    Ok(actions::like(&state, &caller, blog_id).await?.into())
}

/// Remove a like.
///
/// For one account and blog, the like or unlike that was accepted last decides, in whatever order they are counted. The
/// API process that accepts a request stamps its time. Two requests to different processes are ordered correctly if
/// they are further apart than the difference between the processes' clocks, which is at most 5 s: a process whose
/// clock is further off answers 503 until the clock is right. A timestamp that is still more than 5 s ahead of the
/// database's clock is replaced by the time at which the event is applied. Removing a like that does not exist changes
/// nothing.
#[utoipa::path(
    delete,
    path = "/v1/blogs/{id}/like",
    tag = "engagement",
    params(
        ("id" = i64, Path, description = "The blog."),
        ("Idempotency-Key" = Option<String>, Header, description = "Requests with the same key together count only once."),
        ("X-Write-Path" = Option<String>, Header,
         description = "The write path: message, direct or direct-batched, if the server allows the choice."),
    ),
    responses(
        (status = 202, description = "Accepted; the event will be counted exactly once.", body = Promised),
        (status = 200, description = "Counted (direct paths).", body = CountedNow),
        (status = 422, description = "The `Idempotency-Key` or the event is invalid.", body = ProblemBody,
            content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, LiveBlogProblems, CommonProblems,
    ),
    security(("bearer" = []))
)]
pub(super) async fn unlike(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
) -> Result<Answer> {
    Ok(actions::unlike(&state, &caller, blog_id).await?.into())
}

/// Record a share of a blog.
///
/// Every share counts. To retry one safely, send an `Idempotency-Key`: without one, a retry may count twice.
#[utoipa::path(
    post,
    path = "/v1/blogs/{id}/shares",
    tag = "engagement",
    params(
        ("id" = i64, Path, description = "The blog."),
        ("Idempotency-Key" = Option<String>, Header, description = "Requests with the same key together count only once."),
        ("X-Write-Path" = Option<String>, Header,
         description = "The write path: message, direct or direct-batched, if the server allows the choice."),
    ),
    request_body = ShareBody,
    responses(
        (status = 202, description = "Accepted; the event will be counted exactly once.", body = Promised),
        (status = 200, description = "Counted (direct paths).", body = CountedNow),
        BodyProblems, AuthProblems, LiveBlogProblems, CommonProblems,
    ),
    security((), ("bearer" = []))
)]
pub(super) async fn share(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
    Json(body): Json<ShareBody>,
) -> Result<Answer> {
    Ok(actions::share(&state, &caller, blog_id, &body.channel).await?.into())
}

/// An optional JSON body. Its declared content type is ignored: `navigator.sendBeacon`, with which browsers send views
/// when the reader leaves a page, cannot declare one.
#[derive(Debug)]
pub(super) struct MaybeJson<T>(T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let Content(body) = Content::from_request(request, state).await?;
        if body.trim_ascii().is_empty() { Ok(Self(T::default())) } else { parse(&body).map(Self) }
    }
}
