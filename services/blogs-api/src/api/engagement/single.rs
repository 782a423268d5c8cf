//! One event a request: a view, a like taken or given, a share.

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

/// Who looked. The body may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct ViewBody {
    /// What the client calls this visitor, 1 to 128 bytes. It is only ever kept as a hash that changes daily.
    /// Ignored when signed in; without it, address and user agent stand for the visitor.
    #[schema(example = "3f0c8e")]
    visitor: Option<String>,
}

/// Where to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct ShareBody {
    /// One of `link`, `email`, `message`, `social`, `other`.
    #[schema(example = "link")]
    channel: String,
}

/// The event is promised and will be counted exactly once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Promised {
    /// The event.
    event_id: Uuid,
}

/// The event is counted; the totals include it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CountedNow {
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
pub(super) async fn view(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
    MaybeJson(body): MaybeJson<ViewBody>,
) -> Result<Answer> {
    Ok(actions::view(&state, &caller, blog_id, body.visitor.as_deref()).await?.into())
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
pub(super) async fn like(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
) -> Result<Answer> {
    Ok(actions::like(&state, &caller, blog_id).await?.into())
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
pub(super) async fn unlike(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
) -> Result<Answer> {
    Ok(actions::unlike(&state, &caller, blog_id).await?.into())
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
pub(super) async fn share(
    State(state): State<AppState>,
    caller: Caller,
    Path(blog_id): Path<i64>,
    Json(body): Json<ShareBody>,
) -> Result<Answer> {
    Ok(actions::share(&state, &caller, blog_id, &body.channel).await?.into())
}

/// A JSON body that may be left out. Its declared type is not asked for: the browser's beacons, which send views
/// when a page is left, cannot declare one.
#[derive(Debug)]
pub(super) struct MaybeJson<T>(T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let Content(body) = Content::from_request(request, state).await?;
        if body.trim_ascii().is_empty() { Ok(Self(T::default())) } else { parse(&body).map(Self) }
    }
}
