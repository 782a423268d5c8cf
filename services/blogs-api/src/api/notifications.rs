//! Notifications of an account: new blogs of the accounts that it follows; and for authors, the progress of a blog's
//! fan-out.
//!
//! The notification-worker owns the rows; this module reads them and marks them as read. A blog's title, slug and
//! author come from the shared tables at read time. A blog that readers can no longer see is neither shown nor counted.

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

/// Unread notifications are counted up to this number.
const UNREAD_MAX: i64 = 1000;
/// Maximum number of blogs in one request to mark notifications as read.
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

/// The parameters of the inbox.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InboxQuery {
    /// Items per page; 20 by default.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    pub(crate) limit: Option<String>,
    /// The `next_cursor` of the previous page.
    pub(crate) cursor: Option<String>,
}

/// A page of notifications, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Inbox {
    /// The notifications.
    pub(crate) items: Vec<Notification>,
    /// The cursor of the next page; null on the last page.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
    /// Number of unread notifications on all pages; 1000 means 1000 or more.
    #[schema(maximum = 1000)]
    pub(crate) unread: i64,
}

/// A followed account has published a blog.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Notification {
    /// The blog's id, which also identifies the notification: an account has at most one per blog.
    blog_id: i64,
    /// The blog's current slug.
    pub(crate) slug: String,
    /// The blog's current title.
    pub(crate) title: String,
    /// The author.
    pub(crate) author: Account,
    /// When the blog was first published.
    pub(crate) published_at: Timestamp,
    /// When the notification was marked as read; null if it is unread.
    #[schema(required = true)]
    pub(crate) read_at: Option<Timestamp>,
}

/// The notifications to mark as read: either `blog_ids` or `all`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct Reading {
    /// The blogs whose notifications to mark as read. Blogs without a notification for this account are ignored.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub(crate) blog_ids: Option<Vec<i64>>,
    /// `true` marks all notifications as read.
    #[serde(default)]
    pub(crate) all: Option<bool>,
}

/// The progress of notifying a blog's followers.
#[derive(Debug, Serialize, ToSchema)]
struct FanOut {
    /// `running`, `done`, `withdrawn` (readers cannot see the blog; resumes when they can again), or, set by an
    /// operator, `paused` or `cancelled`.
    state: String,
    /// When the blog was first published. Accounts that followed the author at this moment are notified.
    published_at: Timestamp,
    /// Number of followers to process, as counted at the start; exact once the state is `done`.
    total: i64,
    /// Number of followers processed so far.
    done: i64,
    /// Number of followers notified. Suspended and deleted accounts and later followers are processed but not notified.
    notified: i64,
    /// Followers processed per second, recently.
    per_second: f64,
    /// Estimated seconds left at that rate; null unless the state is `running` and processing has begun.
    #[schema(required = true)]
    seconds_left: Option<f64>,
    /// When it began.
    begun_at: Timestamp,
    /// When it ended; null until then.
    #[schema(required = true)]
    ended_at: Option<Timestamp>,
}

/// List your notifications, newest first.
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

/// Returns a page of an account's notifications.
///
/// # Errors
/// 400, naming the invalid parameter.
pub(crate) async fn list_notifications(state: &AppState, reader: i64, query: &InboxQuery) -> Result<Inbox> {
    let limit = page::limit(query.limit.as_deref())?;
    let after = query.cursor.as_deref().map_or(Ok(Cursor::START), Cursor::decode)?;
    let client = state.pool.get().await?;
    let unread = unread(&client, reader).await?;
    // One more row than the page shows tells whether there is a next page.
    let rows = NOTIFICATION_PAGE.query(&client, &[&reader, &after.time, &after.id, &(limit + 1)]).await?;
    let shown = usize::try_from(limit).unwrap_or_default();
    let items: Vec<Notification> = rows.iter().take(shown).map(notification).collect();
    let last = items.last().filter(|_| rows.len() > shown);
    let next_cursor = last.map(|last| Cursor { time: last.published_at, id: last.blog_id }.encode());
    Ok(Inbox { items, next_cursor, unread })
}

/// Counts an account's unread notifications, up to [`UNREAD_MAX`].
pub(crate) async fn unread(client: &Object, reader: i64) -> Result<i64> {
    Ok(NOTIFICATION_UNREAD.query_one(client, &[&reader, &UNREAD_MAX]).await?.get("unread"))
}

/// Mark one, several or all notifications as read.
#[utoipa::path(
    post, path = "/v1/notifications/read", tag = "notifications", operation_id = "read_notifications",
    security(("bearer" = [])), request_body = Reading,
    responses((status = 204, description = "The notifications are read"), BodyProblems, AuthProblems, CommonProblems)
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
/// 422 when neither or both of `blog_ids` and `all` are given.
pub(crate) async fn read_notifications(state: &AppState, reader: i64, reading: Reading) -> Result<()> {
    match (reading.blog_ids, reading.all) {
        (Some(blog_ids), None | Some(false)) => {
            if blog_ids.len() > READ_MAX {
                return Err(Problem::invalid("blog_ids", format!("must have at most {READ_MAX} entries")));
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
            return Err(Problem::invalid("all", "marks everything as read: send either all or blog_ids"));
        }
        (None, None | Some(false)) => {
            return Err(Problem::invalid(
                "blog_ids",
                "must name the notifications to mark; or send \"all\": true",
            ));
        }
    }
    Ok(())
}

/// Show the progress of notifying a blog's followers.
///
/// Only the blog's author can see it.
#[utoipa::path(
    get, path = "/v1/blogs/{id}/fan-out", tag = "notifications", operation_id = "get_fan_out",
    security(("bearer" = [])), params(("id" = i64, Path, description = "The blog")),
    responses(
        (status = 200, description = "The progress", body = FanOut),
        (status = 403, description = "The blog belongs to another account", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 404, description = "The blog does not exist, is not visible to you, or its fan-out has not begun",
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
            Problem::forbidden("the blog belongs to another account")
        } else {
            Problem::not_found("there is no such blog")
        });
    }
    let Some(fan_out) = progress(&row) else {
        return Err(Problem::not_found("no follower has been notified of this blog yet"));
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

/// The progress of a fan-out; `None` if it has not begun.
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
