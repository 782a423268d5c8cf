//! Writing: what authors do with their blogs.

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

/// Write a blog.
#[utoipa::path(
    post, path = "/v1/blogs", tag = "blogs", operation_id = "create_blog", request_body = NewBlog,
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header,
            description = "1 to 128 visible ASCII characters; the same request with the same key gets the same answer")),
    responses(
        (status = 201, description = "The blog", body = Blog, headers(
            ("Location" = String, description = "Where it is"),
            ("ETag" = String, description = "The version of the content"),
            ("Idempotency-Replayed" = Option<bool>, description = "`true` when this answer was given before"),
        )),
        (status = 403, description = "`source_path` needs a token with the scope `import`, which makes no other blogs", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 409, description = "The source path has a blog already, or a request with the same key has just ended",
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

/// What came of asking for a new blog.
pub(crate) enum Made {
    /// It has just been made.
    Now(Box<Blog>),
    /// A request with the same key made it.
    Before(Replay),
}

/// Makes a blog, or finds the one that was made under the same key.
///
/// # Errors
/// 422 with the bad fields, and what keeps the account from writing.
pub(crate) async fn create_blog(
    state: &AppState,
    signed: &Signed,
    headers: &HeaderMap,
    new: NewBlog,
) -> Result<Made> {
    let key = Key::of(headers, signed.account_id, "POST /v1/blogs", &new)?;
    let new = new.checked()?;
    match (new.source_path.is_some(), signed.may_import()) {
        (true, false) => return Err(Problem::forbidden("source_path needs a token with the scope import")),
        (false, true) => {
            return Err(Problem::forbidden(
                "a token with the scope import makes only blogs with a source_path; sign in to get a token for others",
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
            // What is taken may have been taken by another request with the same key.
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
        // Another request with the key came first, and its blog is the one.
        roll_back(transaction).await?;
        let problem = Problem::conflict("a request with this key has just ended; try again");
        return first_answer(&client, key, problem).await;
    }
    commit(transaction).await?;
    state.outbox.wake();
    Ok(Made::Now(Box::new(blog)))
}

/// The answer to the request with the same key that came first; the problem if there is no such answer.
async fn first_answer(client: &impl GenericClient, key: &Key, otherwise: Problem) -> Result<Made> {
    idempotency::find(client, key).await?.map(Made::Before).ok_or(otherwise)
}

async fn roll_back(transaction: Transaction<'_>) -> Result<()> {
    Ok(transaction.rollback().await.map_err(Error::transaction(TransactionStep::RollBack))?)
}

/// Edit a blog. What is not sent stays.
#[utoipa::path(
    patch, path = "/v1/blogs/{id}", tag = "blogs", operation_id = "change_blog", request_body = BlogChange,
    security(("bearer" = [])),
    params(
        ("id" = i64, Path, description = "The blog"),
        ("If-Match" = Option<String>, Header, description = "`ETag` of the version that is edited"),
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

/// Edits a blog that is in one of these versions.
///
/// # Errors
/// 412 when it is in another, 422 with the bad fields, and what keeps the account from changing it.
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

/// Delete a blog. Nobody sees it from then on.
#[utoipa::path(
    delete, path = "/v1/blogs/{id}", tag = "blogs", operation_id = "delete_blog", security(("bearer" = [])),
    params(
        ("id" = i64, Path, description = "The blog"),
        ("If-Match" = Option<String>, Header, description = "`ETag` of the version that is deleted"),
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

/// Deletes a blog that is in one of these versions.
///
/// # Errors
/// 412 when it is in another, and what keeps the account from deleting it.
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

/// Show a blog to readers. A blog that is shown already stays as it is.
///
/// The first time, the author's followers are notified: those whose follow began no later than `published_at`. That moment is
/// taken just before the blog is shown, however long the request has waited until then.
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

/// Shows a blog to readers.
///
/// # Errors
/// What keeps the account from publishing it.
pub(crate) async fn publish_blog(state: &AppState, signed: &Signed, id: i64) -> Result<Blog> {
    let mut client = state.pool.get().await?;
    let transaction = begin(&mut client, signed).await?;
    let has_changed = rows::publish(&transaction, id, signed.account_id).await?;
    finish(state, transaction, id, signed, BlogEventKind::Published, has_changed).await
}

/// Take a blog back: only its author sees it until it is published again.
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
/// What keeps the account from changing it.
pub(crate) async fn unpublish_blog(state: &AppState, signed: &Signed, id: i64) -> Result<Blog> {
    let mut client = state.pool.get().await?;
    let transaction = begin(&mut client, signed).await?;
    let has_changed = rows::unpublish(&transaction, id, signed.account_id).await?;
    let blog = finish(state, transaction, id, signed, BlogEventKind::Unpublished, has_changed).await?;
    state.live_blogs.forget(id).await;
    Ok(blog)
}

/// Ends a transaction that published or took back a blog, with the event that tells of it if it really did.
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

/// The blog as its author sees it after the change.
async fn read_back(client: &impl GenericClient, id: i64, author_id: i64) -> Result<Blog> {
    let blog = rows::by_id(client, id, Some(author_id)).await?;
    blog.ok_or_else(|| Problem::conflict("the blog has just been changed by another request; try again"))
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
        Some("blog_source_path") => Problem::taken("source_path", "has a blog already"),
        _ => error.into(),
    }
}

/// Why a change found no blog to change.
async fn unchanged(client: &impl GenericClient, id: i64, signed: &Signed) -> Result<Problem> {
    Ok(match rows::standing(client, id).await? {
        Some(standing) if standing.author_id == signed.account_id => {
            Problem::precondition_failed("the blog has changed since that version; read it again")
        }
        Some(standing) if standing.is_live => Problem::forbidden("the blog belongs to somebody else"),
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

/// The answer of the first time, with the headers that it had.
fn replayed(replay: Replay) -> Response {
    let Replay { status, answer } = replay;
    let number = |name: &str| answer.get(name).and_then(serde_json::Value::as_i64).unwrap_or_default();
    let location = format!("/v1/blogs/{}", number("id"));
    let version = i32::try_from(number("version")).unwrap_or_default();
    let replayed = (idempotency::REPLAYED, HeaderValue::from_static("true"));
    (status, [replayed, (ETAG, etag::of(version))], [(LOCATION, location)], axum::Json(answer))
        .into_response()
}
