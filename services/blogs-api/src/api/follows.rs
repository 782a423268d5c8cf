//! Who follows whom.
//!
//! A follow is a row, and so is each event that tells of it, in one transaction. Doing it again changes nothing and
//! tells nobody. How many follow an account is counted where follows are written (the table's own trigger), so that a
//! million of them make no request slow. Accounts that are suspended or have left are not shown in lists; the totals
//! count every follow that there is.

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

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Items in the page, 20 if it is not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    pub(crate) limit: Option<String>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// A page of accounts, in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountPage {
    /// The accounts.
    pub(crate) items: Vec<Account>,
    /// Where the next page begins; null on the last one.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
    /// How many there are in all, with those that are suspended just now or have left.
    pub(crate) total: i64,
}

/// Follow an account: be told of what it publishes from now on. Following it already, nothing changes.
///
/// A follow that is answered before the moment at which a blog is first published (`published_at` in notifications) is told of
/// that blog. A follow that begins after the answer to the publishing is not. One that is under way at that moment may be.
#[utoipa::path(
    put, path = "/v1/accounts/{id}/follow", tag = "follows", operation_id = "follow_account",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The account")),
    responses(
        (status = 204, description = "It is followed"),
        (status = 404, description = "There is no such account", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 422, description = "Nobody follows themselves", body = ProblemBody,
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
/// 404 when there is no such account, 422 when it is the signed-in account itself.
pub(crate) async fn follow_account(state: &AppState, signed: &Signed, id: i64) -> Result<()> {
    if id == signed.account_id {
        return Err(Problem::invalid("id", "is your own account; nobody follows themselves"));
    }
    let mut client = state.pool.get().await?;
    let transaction = begin(&mut client, signed).await?;
    if FOLLOW_CREATE.execute(&transaction, &[&id, &signed.account_id]).await? == 0 {
        // It is followed already, or is not there.
        FOLLOW_COUNTS.query_opt(&transaction, &[&id]).await?.ok_or_else(no_such_account)?;
        commit(transaction).await?;
        return Ok(());
    }
    tell(state, &transaction, id, signed, FollowEventKind::Followed).await?;
    commit(transaction).await?;
    state.outbox.wake();
    Ok(())
}

/// Follow an account no more. Not following it, nothing changes.
#[utoipa::path(
    delete, path = "/v1/accounts/{id}/follow", tag = "follows", operation_id = "unfollow_account",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The account")),
    responses(
        (status = 204, description = "It is not followed"),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
async fn unfollow(State(state): State<AppState>, signed: Signed, Path(id): Path<i64>) -> Result<StatusCode> {
    unfollow_account(&state, &signed, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the signed-in account follow another one no more.
///
/// # Errors
/// What keeps the signed-in account from acting.
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

/// Who follows an account.
#[utoipa::path(
    get, path = "/v1/accounts/{id}/followers", tag = "follows", operation_id = "list_followers",
    security((), ("bearer" = [])),
    params(("id" = i64, Path, description = "The account"), PageQuery),
    responses(
        (status = 200, description = "A page", body = AccountPage),
        (status = 404, description = "There is no such account", body = ProblemBody,
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

/// A page of the accounts that follow an account.
///
/// # Errors
/// 404 when there is no such account, 400 with the parameter that is wrong.
pub(crate) async fn list_followers(state: &AppState, id: i64, query: &PageQuery) -> Result<AccountPage> {
    list(state, FOLLOW_PAGE_FOLLOWERS, "followers", id, query).await
}

/// Whom an account follows.
#[utoipa::path(
    get, path = "/v1/accounts/{id}/following", tag = "follows", operation_id = "list_following",
    security((), ("bearer" = [])),
    params(("id" = i64, Path, description = "The account"), PageQuery),
    responses(
        (status = 200, description = "A page", body = AccountPage),
        (status = 404, description = "There is no such account", body = ProblemBody,
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

/// A page of the accounts that an account follows.
///
/// # Errors
/// 404 when there is no such account, 400 with the parameter that is wrong.
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
    // One more than is shown tells whether there is a next page.
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
