//! Follows between accounts.
//!
//! A follow and the event that announces it are rows of one transaction. Repeating a follow changes nothing and
//! publishes no event. A trigger on the follow table counts each account's followers, so that a request is fast even
//! for an account with a million followers. Lists leave out accounts that are suspended or deleted; totals count every
//! follow.

use axum::extract::State;
use axum::http::StatusCode;
use database::{Statement, statement};
use deadpool_postgres::Transaction;
use events::{FollowEvent, FollowEventKind};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::account::Account;
use crate::api::account_transaction::{begin, commit};
use crate::api::openapi::{AuthProblems, CommonProblems, ParameterProblems};
use crate::auth::Signed;
use crate::extract::{Path, Query};
use crate::limits;
use crate::page::{self, IdCursor};
use crate::problem::{Problem, ProblemBody, Result};
use crate::state::AppState;

const FOLLOW_COUNTS: Statement = statement!("follow_counts.sql");
const FOLLOW_CREATE: Statement = statement!("follow_create.sql");
const FOLLOW_DELETE: Statement = statement!("follow_delete.sql");
const FOLLOW_PAGE_FOLLOWERS: Statement = statement!("follow_page_followers.sql");
const FOLLOW_PAGE_FOLLOWING: Statement = statement!("follow_page_following.sql");

/// The endpoints of follows.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(follow, unfollow))
        .routes(routes!(followers))
        .routes(routes!(following))
        .layer(axum::middleware::from_fn_with_state(state.clone(), limits::requests::<AppState>))
}

/// The parameters of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Items per page; 20 by default.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    pub(crate) limit: Option<String>,
    /// The `next_cursor` of the previous page.
    pub(crate) cursor: Option<String>,
}

/// A page of accounts, ordered by id.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountPage {
    /// The accounts.
    pub(crate) items: Vec<Account>,
    /// The cursor of the next page; null on the last page.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
    /// Number of accounts on all pages, including accounts that are suspended or deleted, which `items` leaves out.
    pub(crate) total: i64,
}

/// Follow an account.
///
/// You are notified of the blogs that it publishes from now on. Following it again changes nothing.
///
/// If the follow is answered before the moment at which a blog is first published (`published_at` in notifications),
/// you are notified of that blog. If the follow begins after the publishing request is answered, you are not. A follow
/// in progress at that moment may or may not be notified.
#[utoipa::path(
    put, path = "/v1/accounts/{id}/follow", tag = "follows", operation_id = "follow_account",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The account")),
    responses(
        (status = 204, description = "You follow the account"),
        (status = 404, description = "The account does not exist", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 422, description = "An account cannot follow itself", body = ProblemBody,
         content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
async fn follow(State(state): State<AppState>, signed: Signed, Path(id): Path<i64>) -> Result<StatusCode> {
    follow_account(&state, &signed, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the signed-in account follow another one.
///
/// # Errors
/// 404 when the account does not exist, 422 when it is the signed-in account itself.
pub(crate) async fn follow_account(state: &AppState, signed: &Signed, id: i64) -> Result<()> {
    if id == signed.account_id {
        return Err(Problem::invalid("id", "is your own account; an account cannot follow itself"));
    }
    let mut client = state.pool.get().await?;
    let transaction = begin(&mut client, signed).await?;
    if FOLLOW_CREATE.execute(&transaction, &[&id, &signed.account_id]).await? == 0 {
        // Either it is followed already, or it does not exist.
        FOLLOW_COUNTS.query_opt(&transaction, &[&id]).await?.ok_or_else(no_such_account)?;
        commit(transaction).await?;
        return Ok(());
    }
    tell(state, &transaction, id, signed, FollowEventKind::Followed).await?;
    commit(transaction).await?;
    state.outbox.wake();
    Ok(())
}

/// Unfollow an account.
///
/// If you do not follow it, nothing changes.
#[utoipa::path(
    delete, path = "/v1/accounts/{id}/follow", tag = "follows", operation_id = "unfollow_account",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The account")),
    responses(
        (status = 204, description = "You do not follow the account"),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
async fn unfollow(State(state): State<AppState>, signed: Signed, Path(id): Path<i64>) -> Result<StatusCode> {
    unfollow_account(&state, &signed, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the signed-in account unfollow another one.
///
/// # Errors
/// The reason why the signed-in account may not act.
pub(crate) async fn unfollow_account(state: &AppState, signed: &Signed, id: i64) -> Result<()> {
    let mut client = state.pool.get().await?;
    let transaction = begin(&mut client, signed).await?;
    if FOLLOW_DELETE.execute(&transaction, &[&id, &signed.account_id]).await? > 0 {
        tell(state, &transaction, id, signed, FollowEventKind::Unfollowed).await?;
    }
    commit(transaction).await?;
    state.outbox.wake();
    Ok(())
}

/// List an account's followers.
#[utoipa::path(
    get, path = "/v1/accounts/{id}/followers", tag = "follows", operation_id = "list_followers",
    security((), ("bearer" = [])),
    params(("id" = i64, Path, description = "The account"), PageQuery),
    responses(
        (status = 200, description = "A page", body = AccountPage),
        (status = 404, description = "The account does not exist", body = ProblemBody,
         content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
async fn followers(
    State(state): State<AppState>,
    _signed: Option<Signed>,
    Path(id): Path<i64>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<AccountPage>> {
    Ok(axum::Json(list_followers(&state, id, &query).await?))
}

/// Returns a page of an account's followers.
///
/// # Errors
/// 404 when the account does not exist, 400 naming the invalid parameter.
pub(crate) async fn list_followers(state: &AppState, id: i64, query: &PageQuery) -> Result<AccountPage> {
    list(state, FOLLOW_PAGE_FOLLOWERS, "followers", id, query).await
}

/// List the accounts that an account follows.
#[utoipa::path(
    get, path = "/v1/accounts/{id}/following", tag = "follows", operation_id = "list_following",
    security((), ("bearer" = [])),
    params(("id" = i64, Path, description = "The account"), PageQuery),
    responses(
        (status = 200, description = "A page", body = AccountPage),
        (status = 404, description = "The account does not exist", body = ProblemBody,
         content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
async fn following(
    State(state): State<AppState>,
    _signed: Option<Signed>,
    Path(id): Path<i64>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<AccountPage>> {
    Ok(axum::Json(list_following(&state, id, &query).await?))
}

/// Returns a page of the accounts that an account follows.
///
/// # Errors
/// 404 when the account does not exist, 400 naming the invalid parameter.
pub(crate) async fn list_following(state: &AppState, id: i64, query: &PageQuery) -> Result<AccountPage> {
    list(state, FOLLOW_PAGE_FOLLOWING, "following", id, query).await
}

async fn list(
    state: &AppState,
    statement: Statement,
    counted: &str,
    account_id: i64,
    query: &PageQuery,
) -> Result<AccountPage> {
    let limit = page::limit(query.limit.as_deref())?;
    let IdCursor(after) = query.cursor.as_deref().map_or(Ok(IdCursor::START), IdCursor::decode)?;
    let client = state.pool.get().await?;
    let counts = FOLLOW_COUNTS.query_opt(&client, &[&account_id]).await?.ok_or_else(no_such_account)?;
    // One more row than the page shows tells whether there is a next page.
    let rows = statement.query(&client, &[&account_id, &after, &(limit + 1)]).await?;
    let shown = usize::try_from(limit).unwrap_or_default();
    let account = |row: &tokio_postgres::Row| Account { id: row.get("id"), handle: row.get("handle") };
    let items: Vec<Account> = rows.iter().take(shown).map(account).collect();
    let last = items.last().filter(|_| rows.len() > shown);
    let next_cursor = last.map(|account| IdCursor(account.id).encode());
    Ok(AccountPage { next_cursor, items, total: counts.get(counted) })
}

async fn tell(
    state: &AppState,
    transaction: &Transaction<'_>,
    followee_id: i64,
    signed: &Signed,
    kind: FollowEventKind,
) -> Result<()> {
    let follower_id = signed.account_id;
    let clock = state.clock.clock();
    let event = FollowEvent { id: clock.id(), followee_id, follower_id, time: clock.now(), kind };
    Ok(state.outbox.put_follow(transaction, &event).await?)
}

fn no_such_account() -> Problem {
    Problem::not_found("there is no such account")
}
