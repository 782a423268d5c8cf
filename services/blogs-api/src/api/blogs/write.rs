//! Writing: how authors create, edit, publish and delete blogs.

use axum::extract::State;
use axum::http::header::{ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use database::{Error, TransactionStep};
use deadpool_postgres::{GenericClient, Transaction};
use events::{BlogEvent, BlogEventKind};

use super::draft::{BlogChange, NewBlog};
use super::etag::{self, Condition};
use super::{Blog, rows};
use crate::api::account_transaction::{begin, commit};
use crate::api::idempotency::{self, Key, Replay};
use crate::api::openapi::{AuthProblems, BodyProblems, CommonProblems, OwnedProblems, ParameterProblems};
use crate::auth::{AnyPurpose, Signed};
use crate::extract::{Json, Path};
use crate::problem::{Problem, ProblemBody, Result};
use crate::state::AppState;

/// SQLSTATE `unique_violation`.
const UNIQUE_VIOLATION: &str = "23505";

/// Create a blog.
#[utoipa::path(
    post, path = "/v1/blogs", tag = "blogs", operation_id = "create_blog", request_body = NewBlog,
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header,
            description = "1 to 128 visible ASCII characters; a repeated request with the same key gets the same response")),
    responses(
        (status = 201, description = "The blog", body = Blog, headers(
            ("Location" = String, description = "The URL of the new blog"),
            ("ETag" = String, description = "The version of the content"),
            ("Idempotency-Replayed" = Option<bool>, description = "`true` when this repeats an earlier response"),
        )),
        (status = 403,
         description = "`source_path` requires a token with the scope `import`, which creates no other blogs",
         body = ProblemBody, content_type = "application/problem+json"),
        (status = 409,
         description = "A blog with this source path exists, or a request with the same key has just ended",
         body = ProblemBody, content_type = "application/problem+json"),
        BodyProblems, AuthProblems, CommonProblems,
    )
)]
pub(super) async fn create(
    State(state): State<AppState>,
    AnyPurpose(signed): AnyPurpose,
    headers: HeaderMap,
    Json(new): Json<NewBlog>,
) -> Result<Response> {
    Ok(match create_blog(&state, &signed, &headers, new).await? {
        Made::Now(blog) => created(&blog),
        Made::Before(replay) => replayed(replay),
    })
}

/// The result of a request to create a blog.
pub(crate) enum Made {
    /// The blog was created now.
    Now(Box<Blog>),
    /// An earlier request with the same key created it.
    Before(Replay),
}

/// Creates a blog, or finds the one that an earlier request with the same key created.
///
/// # Errors
/// 422, naming the invalid fields, or the reason why the account may not write.
pub(crate) async fn create_blog(
    state: &AppState,
    signed: &Signed,
    headers: &HeaderMap,
    new: NewBlog,
) -> Result<Made> {
    let key = Key::of(headers, signed.account_id, "POST /v1/blogs", &new)?;
    let new = new.checked()?;
    match (new.source_path.is_some(), signed.may_import()) {
        (true, false) => {
            return Err(Problem::forbidden("source_path requires a token with the scope import"));
        }
        (false, true) => {
            return Err(Problem::forbidden(
                "a token with the scope import can create only blogs with a source_path; to create other blogs, sign in",
            ));
        }
        (true, true) | (false, false) => {}
    }
    let mut client = state.pool.get().await?;
    if let Some(key) = &key
        && let Some(replay) = idempotency::find(&client, key).await?
    {
        return Ok(Made::Before(replay));
    }
    let transaction = begin(&mut client, signed).await?;
    let id = match rows::create(&transaction, signed.account_id, &new).await {
        Ok(id) => id,
        Err(error) => {
            let is_taken = error.sqlstate() == Some(UNIQUE_VIOLATION);
            let problem = taken(error);
            let Some(key) = key.as_ref().filter(|_| is_taken) else { return Err(problem) };
            // Another request with the same key may have taken the source path.
            roll_back(transaction).await?;
            return first_answer(&client, key, problem).await;
        }
    };
    if new.publish {
        put_event(state, &transaction, id, signed.account_id, BlogEventKind::Published).await?;
    }
    let blog = read_back(&transaction, id, signed.account_id).await?;
    if let Some(key) = &key
        && !idempotency::keep(&transaction, key, StatusCode::CREATED, &blog).await?
    {
        // Another request with this key committed first; return its blog.
        roll_back(transaction).await?;
        let problem = Problem::conflict("a request with this Idempotency-Key has just ended; try again");
        return first_answer(&client, key, problem).await;
    }
    commit(transaction).await?;
    state.outbox.wake();
    Ok(Made::Now(Box::new(blog)))
}

/// The response to the earlier request with the same key, or `otherwise` if none is stored.
async fn first_answer(client: &impl GenericClient, key: &Key, otherwise: Problem) -> Result<Made> {
    idempotency::find(client, key).await?.map(Made::Before).ok_or(otherwise)
}

async fn roll_back(transaction: Transaction<'_>) -> Result<()> {
    Ok(transaction.rollback().await.map_err(Error::transaction(TransactionStep::RollBack))?)
}

/// Edit a blog.
///
/// Fields that are left out stay unchanged.
#[utoipa::path(
    patch, path = "/v1/blogs/{id}", tag = "blogs", operation_id = "change_blog", request_body = BlogChange,
    security(("bearer" = [])),
    params(
        ("id" = i64, Path, description = "The blog"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version to edit"),
    ),
    responses(
        (status = 200, description = "The blog", body = Blog,
         headers(("ETag" = String, description = "The new version of the content"))),
        (status = 412, description = "The blog has changed since that version", body = ProblemBody,
         content_type = "application/problem+json"),
        BodyProblems, AuthProblems, OwnedProblems, CommonProblems,
    )
)]
pub(super) async fn change(
    State(state): State<AppState>,
    signed: Signed,
    Path(id): Path<i64>,
    headers: HeaderMap,
    Json(change): Json<BlogChange>,
) -> Result<Response> {
    let versions = Condition::versions(etag::if_match(&headers)?);
    Ok(shown(&change_blog(&state, &signed, id, versions, change).await?))
}

/// Edits a blog if its version is one of these.
///
/// # Errors
/// 412 for another version, 422 naming the invalid fields, or the reason why the account may not change the blog.
pub(crate) async fn change_blog(
    state: &AppState,
    signed: &Signed,
    id: i64,
    versions: Option<Vec<i32>>,
    change: BlogChange,
) -> Result<Blog> {
    let change = change.checked()?;
    let mut client = state.pool.get().await?;
    let transaction = begin(&mut client, signed).await?;
    if !rows::change(&transaction, id, signed.account_id, &change, versions.as_ref()).await? {
        return Err(unchanged(&transaction, id, signed).await?);
    }
    let blog = read_back(&transaction, id, signed.account_id).await?;
    commit(transaction).await?;
    Ok(blog)
}

/// Delete a blog.
///
/// The blog is no longer visible to any reader or to its author, and this cannot be undone.
#[utoipa::path(
    delete, path = "/v1/blogs/{id}", tag = "blogs", operation_id = "delete_blog", security(("bearer" = [])),
    params(
        ("id" = i64, Path, description = "The blog"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version to delete"),
    ),
    responses(
        (status = 204, description = "Gone"),
        (status = 412, description = "The blog has changed since that version", body = ProblemBody,
         content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, OwnedProblems, CommonProblems,
    )
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    signed: Signed,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let versions = Condition::versions(etag::if_match(&headers)?);
    delete_blog(&state, &signed, id, versions).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a blog if its version is one of these.
///
/// # Errors
/// 412 for another version, or the reason why the account may not delete the blog.
pub(crate) async fn delete_blog(
    state: &AppState,
    signed: &Signed,
    id: i64,
    versions: Option<Vec<i32>>,
) -> Result<()> {
    let mut client = state.pool.get().await?;
    let transaction = begin(&mut client, signed).await?;
    if !rows::delete(&transaction, id, signed.account_id, versions.as_ref()).await? {
        return Err(unchanged(&transaction, id, signed).await?);
    }
    put_event(state, &transaction, id, signed.account_id, BlogEventKind::Deleted).await?;
    commit(transaction).await?;
    state.outbox.wake();
    state.live_blogs.forget(id).await;
    Ok(())
}

/// Publish a blog.
///
/// Publishing a blog that is already published changes nothing.
///
/// The first time, the author's followers are notified if their follow began no later than `published_at`. That moment
/// is read just before the blog becomes visible, however long the request has waited by then.
#[utoipa::path(
    post, path = "/v1/blogs/{id}/publish", tag = "blogs", operation_id = "publish_blog", security(("bearer" = [])),
    params(("id" = i64, Path, description = "The blog")),
    responses(
        (status = 200, description = "The blog", body = Blog,
         headers(("ETag" = String, description = "The version of the content"))),
        ParameterProblems, AuthProblems, OwnedProblems, CommonProblems,
    )
)]
pub(super) async fn publish(
    State(state): State<AppState>,
    signed: Signed,
    Path(id): Path<i64>,
) -> Result<Response> {
    Ok(shown(&publish_blog(&state, &signed, id).await?))
}

/// Publishes a blog.
///
/// # Errors
/// The reason why the account may not publish the blog.
pub(crate) async fn publish_blog(state: &AppState, signed: &Signed, id: i64) -> Result<Blog> {
    let mut client = state.pool.get().await?;
    let transaction = begin(&mut client, signed).await?;
    let has_changed = rows::publish(&transaction, id, signed.account_id).await?;
    finish(state, transaction, id, signed, BlogEventKind::Published, has_changed).await
}

/// Unpublish a blog.
///
/// Only the author can see it until it is published again.
#[utoipa::path(
    post, path = "/v1/blogs/{id}/unpublish", tag = "blogs", operation_id = "unpublish_blog",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The blog")),
    responses(
        (status = 200, description = "The blog", body = Blog,
         headers(("ETag" = String, description = "The version of the content"))),
        ParameterProblems, AuthProblems, OwnedProblems, CommonProblems,
    )
)]
pub(super) async fn unpublish(
    State(state): State<AppState>,
    signed: Signed,
    Path(id): Path<i64>,
) -> Result<Response> {
    Ok(shown(&unpublish_blog(&state, &signed, id).await?))
}

/// Hides a blog from readers other than its author.
///
/// # Errors
/// The reason why the account may not change the blog.
pub(crate) async fn unpublish_blog(state: &AppState, signed: &Signed, id: i64) -> Result<Blog> {
    let mut client = state.pool.get().await?;
    let transaction = begin(&mut client, signed).await?;
    let has_changed = rows::unpublish(&transaction, id, signed.account_id).await?;
    let blog = finish(state, transaction, id, signed, BlogEventKind::Unpublished, has_changed).await?;
    state.live_blogs.forget(id).await;
    Ok(blog)
}

/// Commits a transaction that published or unpublished a blog, with the event that announces it if the state changed.
async fn finish(
    state: &AppState,
    transaction: Transaction<'_>,
    id: i64,
    signed: &Signed,
    kind: BlogEventKind,
    has_changed: bool,
) -> Result<Blog> {
    if has_changed {
        put_event(state, &transaction, id, signed.account_id, kind).await?;
    } else {
        match rows::standing(&transaction, id).await? {
            Some(standing) if standing.author_id != signed.account_id => {
                return Err(unchanged(&transaction, id, signed).await?);
            }
            Some(standing) if standing.is_taken_down && kind == BlogEventKind::Published => {
                return Err(Problem::forbidden("an operator has taken this blog down"));
            }
            Some(_as_it_was) => {}
            None => return Err(unchanged(&transaction, id, signed).await?),
        }
    }
    let blog = read_back(&transaction, id, signed.account_id).await?;
    commit(transaction).await?;
    if has_changed {
        state.outbox.wake();
    }
    Ok(blog)
}

/// Reads the blog back as its author sees it after the change.
async fn read_back(client: &impl GenericClient, id: i64, author_id: i64) -> Result<Blog> {
    let blog = rows::by_id(client, id, Some(author_id)).await?;
    blog.ok_or_else(|| Problem::conflict("another request has just changed the blog; try again"))
}

async fn put_event(
    state: &AppState,
    transaction: &Transaction<'_>,
    blog_id: i64,
    author_id: i64,
    kind: BlogEventKind,
) -> Result<()> {
    let clock = state.clock.clock();
    let event = BlogEvent { id: clock.id(), blog_id, author_id, time: clock.now(), kind };
    Ok(state.outbox.put_blog(transaction, &event).await?)
}

fn taken(error: Error) -> Problem {
    match error.constraint() {
        Some("blog_source_path") => Problem::taken("source_path", "already has a blog"),
        _ => error.into(),
    }
}

/// Why a change found no blog to change.
async fn unchanged(client: &impl GenericClient, id: i64, signed: &Signed) -> Result<Problem> {
    Ok(match rows::standing(client, id).await? {
        Some(standing) if standing.author_id == signed.account_id => {
            Problem::precondition_failed("the blog has changed since that version; read it again")
        }
        Some(standing) if standing.is_live => Problem::forbidden("the blog belongs to another account"),
        _ => Problem::not_found("there is no such blog"),
    })
}

fn shown(blog: &Blog) -> Response {
    ([(ETAG, etag::of(blog.summary.version))], axum::Json(blog)).into_response()
}

fn created(blog: &Blog) -> Response {
    let location = format!("/v1/blogs/{}", blog.summary.id);
    (StatusCode::CREATED, [(LOCATION, location)], shown(blog)).into_response()
}

/// The earlier response, with its headers.
fn replayed(replay: Replay) -> Response {
    let Replay { status, answer } = replay;
    let number = |name: &str| answer.get(name).and_then(serde_json::Value::as_i64).unwrap_or_default();
    let location = format!("/v1/blogs/{}", number("id"));
    let version = i32::try_from(number("version")).unwrap_or_default();
    let replayed = (idempotency::REPLAYED, HeaderValue::from_static("true"));
    (status, [replayed, (ETAG, etag::of(version))], [(LOCATION, location)], axum::Json(answer))
        .into_response()
}
