//! What a person is told: the blogs of those whom they follow, and how far authors' followers have been told.
//!
//! The rows are the notification-worker's; here they are read and marked as read. A blog's title, address and author are
//! those of now, and a blog that readers no longer see is not shown and not counted: both are asked of the shared tables.

use axum::extract::State;
use axum::http::StatusCode;
use database::{Statement, statement};
use deadpool_postgres::Object;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::account::Account;
use crate::api::openapi::{AuthProblems, BodyProblems, CommonProblems, ParameterProblems};
use crate::auth::Signed;
use crate::extract::{Json, Path, Query};
use crate::limits;
use crate::page::{self, Cursor};
use crate::problem::{Problem, ProblemBody, Result};
use crate::state::AppState;

const FAN_OUT_PROGRESS: Statement = statement!("fan_out_progress.sql");
const NOTIFICATION_PAGE: Statement = statement!("notification_page.sql");
const NOTIFICATION_READ: Statement = statement!("notification_read.sql");
const NOTIFICATION_READ_ALL: Statement = statement!("notification_read_all.sql");
const NOTIFICATION_UNREAD: Statement = statement!("notification_unread.sql");

/// Up to where unread notifications are counted.
const UNREAD_MAX: i64 = 1000;
/// Most blogs of one request to mark as read.
const READ_MAX: usize = 1000;
/// Notifications that one statement marks as read.
const READ_AT_ONCE: i64 = 1000;

/// The endpoints of notifications.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(inbox))
        .routes(routes!(mark_read))
        .routes(routes!(fan_out))
        .layer(axum::middleware::from_fn_with_state(state.clone(), limits::requests::<AppState>))
}

/// Which part of the inbox.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InboxQuery {
    /// Items in the page, 20 if it is not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    pub(crate) limit: Option<String>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// A page of notifications, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Inbox {
    /// The notifications.
    pub(crate) items: Vec<Notification>,
    /// Where the next page begins; null on the last one.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
    /// How many are not read, in all pages; 1000 stands for 1000 or more.
    #[schema(maximum = 1000)]
    pub(crate) unread: i64,
}

/// Somebody whom the account follows has published a blog.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Notification {
    /// The blog; it names the notification as well, since there is one for each.
    blog_id: i64,
    /// Its present address for people.
    pub(crate) slug: String,
    /// Its present title.
    pub(crate) title: String,
    /// Whose it is.
    pub(crate) author: Account,
    /// When it was first published.
    pub(crate) published_at: Timestamp,
    /// When this was marked as read; null until then.
    #[schema(required = true)]
    pub(crate) read_at: Option<Timestamp>,
}

/// What has been read: either `blog_ids`, or everything.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct Reading {
    /// The blogs of the notifications that have been read; those that the account was not told of do not matter.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub(crate) blog_ids: Option<Vec<i64>>,
    /// `true`: everything that there is.
    #[serde(default)]
    pub(crate) all: Option<bool>,
}

/// How far followers have been told of a blog.
#[derive(Debug, Serialize, ToSchema)]
struct FanOut {
    /// `running`, `done`, `withdrawn` (the blog is not shown to readers; it goes on when it is again), or by an
    /// operator `paused` or `cancelled`.
    state: String,
    /// The moment of the first publishing: who followed then is told.
    published_at: Timestamp,
    /// Followers to look at, as counted when it began; exact once it is done.
    total: i64,
    /// Followers looked at so far.
    done: i64,
    /// Of those, how many were told: not accounts that are suspended or have left, nor those who came later.
    notified: i64,
    /// Followers looked at in a second, lately.
    per_second: f64,
    /// Seconds left at that rate; null unless it is running and has begun.
    #[schema(required = true)]
    seconds_left: Option<f64>,
    /// When it began.
    begun_at: Timestamp,
    /// When it ended; null until then.
    #[schema(required = true)]
    ended_at: Option<Timestamp>,
}

/// What the account was told, newest first.
#[utoipa::path(
    get, path = "/v1/notifications", tag = "notifications", operation_id = "list_notifications",
    security(("bearer" = [])), params(InboxQuery),
    responses(
        (status = 200, description = "A page", body = Inbox),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
async fn inbox(
    State(state): State<AppState>,
    signed: Signed,
    Query(query): Query<InboxQuery>,
) -> Result<axum::Json<Inbox>> {
    Ok(axum::Json(list_notifications(&state, signed.account_id, &query).await?))
}

/// A page of what an account was told.
///
/// # Errors
/// 400 with the parameter that is wrong.
pub(crate) async fn list_notifications(state: &AppState, reader: i64, query: &InboxQuery) -> Result<Inbox> {
    let limit = page::limit(query.limit.as_deref())?;
    let after = query.cursor.as_deref().map_or(Ok(Cursor::START), Cursor::decode)?;
    let client = state.pool.get().await?;
    let unread = unread(&client, reader).await?;
    // One more than is shown tells whether there is a next page.
    let rows = NOTIFICATION_PAGE.query(&client, &[&reader, &after.time, &after.id, &(limit + 1)]).await?;
    let shown = usize::try_from(limit).unwrap_or_default();
    let items: Vec<Notification> = rows.iter().take(shown).map(notification).collect();
    let last = items.last().filter(|_| rows.len() > shown);
    let next_cursor = last.map(|last| Cursor { time: last.published_at, id: last.blog_id }.encode());
    Ok(Inbox { items, next_cursor, unread })
}

/// How many are not read, up to [`UNREAD_MAX`].
pub(crate) async fn unread(client: &Object, reader: i64) -> Result<i64> {
    Ok(NOTIFICATION_UNREAD.query_one(client, &[&reader, &UNREAD_MAX]).await?.get("unread"))
}

/// Mark notifications as read: one, several, or all.
#[utoipa::path(
    post, path = "/v1/notifications/read", tag = "notifications", operation_id = "read_notifications",
    security(("bearer" = [])), request_body = Reading,
    responses((status = 204, description = "They are read"), BodyProblems, AuthProblems, CommonProblems)
)]
async fn mark_read(
    State(state): State<AppState>,
    signed: Signed,
    Json(reading): Json<Reading>,
) -> Result<StatusCode> {
    read_notifications(&state, signed.account_id, reading).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Marks notifications of an account as read.
///
/// # Errors
/// 422 when it is not said which.
pub(crate) async fn read_notifications(state: &AppState, reader: i64, reading: Reading) -> Result<()> {
    match (reading.blog_ids, reading.all) {
        (Some(blog_ids), None | Some(false)) => {
            if blog_ids.len() > READ_MAX {
                return Err(Problem::invalid("blog_ids", format!("must be {READ_MAX} at most")));
            }
            let client = state.pool.get().await?;
            NOTIFICATION_READ.execute(&client, &[&reader, &blog_ids]).await?;
        }
        (None, Some(true)) => {
            let client = state.pool.get().await?;
            let most = u64::try_from(READ_AT_ONCE).unwrap_or_default();
            while NOTIFICATION_READ_ALL.execute(&client, &[&reader, &READ_AT_ONCE]).await? >= most {}
        }
        (Some(_), Some(true)) => {
            return Err(Problem::invalid("all", "is for everything: send either it or blog_ids"));
        }
        (None, None | Some(false)) => {
            return Err(Problem::invalid("blog_ids", "names what was read; or send \"all\": true"));
        }
    }
    Ok(())
}

/// How far followers have been told of a blog; for its author.
#[utoipa::path(
    get, path = "/v1/blogs/{id}/fan-out", tag = "notifications", operation_id = "get_fan_out",
    security(("bearer" = [])), params(("id" = i64, Path, description = "The blog")),
    responses(
        (status = 200, description = "The progress", body = FanOut),
        (status = 403, description = "The blog belongs to somebody else", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 404, description = "There is no such blog, it is not yours to see, or nobody has been told of it yet",
         body = ProblemBody, content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
async fn fan_out(
    State(state): State<AppState>,
    signed: Signed,
    Path(id): Path<i64>,
) -> Result<axum::Json<FanOut>> {
    let client = state.pool.get().await?;
    let row = FAN_OUT_PROGRESS.query_opt(&client, &[&id]).await?;
    let row = row.ok_or_else(|| Problem::not_found("there is no such blog"))?;
    if row.get::<_, i64>("author_id") != signed.account_id {
        return Err(if row.get("is_live") {
            Problem::forbidden("the blog belongs to somebody else")
        } else {
            Problem::not_found("there is no such blog")
        });
    }
    let Some(fan_out) = progress(&row) else {
        return Err(Problem::not_found("no follower has been told of this blog yet"));
    };
    Ok(axum::Json(fan_out))
}

fn notification(row: &Row) -> Notification {
    Notification {
        blog_id: row.get("blog_id"),
        slug: row.get("slug"),
        title: row.get("title"),
        author: Account { id: row.get("author_id"), handle: row.get("author_handle") },
        published_at: row.get("published_at"),
        read_at: row.get("read_at"),
    }
}

/// Nothing when the fan-out has not begun.
fn progress(row: &Row) -> Option<FanOut> {
    let state: String = row.get::<_, Option<String>>("state")?;
    Some(FanOut {
        seconds_left: row.get("seconds_left"),
        state,
        published_at: row.get("published_at"),
        total: row.get("total"),
        done: row.get("looked_at"),
        notified: row.get("notified"),
        per_second: row.get("rows_per_s"),
        begun_at: row.get("created_at"),
        ended_at: row.get("ended_at"),
    })
}
