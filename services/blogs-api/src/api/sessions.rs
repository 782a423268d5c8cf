//! Sign-in and sign-out.
//!
//! A session is a signed token; the server stores nothing about it, so it cannot end a single session early. Signing
//! out raises the account's epoch instead, which ends all its sessions. Signing in to a deleted account during the
//! grace period restores the account.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use database::{Statement, statement};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::account::is_handle;
use crate::api::openapi::{AuthProblems, BodyProblems, CommonProblems};
use crate::auth::{Issued, Known, Signed};
use crate::client_address::ClientAddress;
use crate::extract::Json;
use crate::limits;
use crate::problem::{Problem, ProblemBody, Result};
use crate::state::AppState;

const ACCOUNT_COME_BACK: Statement = statement!("account_come_back.sql");
const ACCOUNT_RAISE_EPOCH: Statement = statement!("account_raise_epoch.sql");
const ACCOUNT_SIGN_IN: Statement = statement!("account_sign_in.sql");

/// The endpoints of sessions.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    let by_address = axum::middleware::from_fn_with_state(state.clone(), limits::sign_ins::<AppState>);
    let by_account = axum::middleware::from_fn_with_state(state.clone(), limits::requests::<AppState>);
    let sign_in = OpenApiRouter::new().routes(routes!(create)).layer(by_address);
    OpenApiRouter::new().routes(routes!(delete)).layer(by_account).merge(sign_in)
}

/// The credentials of an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct Credentials {
    /// The account's handle.
    #[schema(example = "ada")]
    pub(crate) handle: String,
    /// The account's password.
    #[schema(value_type = String, format = Password)]
    pub(crate) password: SecretString,
}

/// A new session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// The token to send as `Authorization: Bearer <token>`.
    token: String,
    /// When the token expires.
    expires_at: Timestamp,
    /// `true` if the account was deleted and this sign-in has restored it. Every process accepts the token within a
    /// minute.
    restored: bool,
}

/// A token, and whether the sign-in restored the account.
pub(crate) struct SignedIn {
    pub(crate) issued: Issued,
    /// The account was deleted, and the sign-in restored it.
    pub(crate) restored: bool,
}

/// Sign in.
///
/// Signing in to an account that was deleted within the grace period restores it.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", operation_id = "create_session", request_body = Credentials,
    responses(
        (status = 201, description = "A token", body = Session),
        (status = 401, description = "The handle does not exist, or the password is wrong", body = ProblemBody,
         content_type = "application/problem+json"),
        BodyProblems, CommonProblems,
    )
)]
async fn create(
    State(state): State<AppState>,
    address: ClientAddress,
    Json(credentials): Json<Credentials>,
) -> Result<impl IntoResponse> {
    let SignedIn { issued: Issued { token, expires_at }, restored } =
        sign_in(&state, credentials, address).await?;
    Ok((StatusCode::CREATED, axum::Json(Session { token, expires_at, restored })))
}

/// Issues a token for the account with this handle and password.
///
/// # Errors
/// 401 when the handle or the password is wrong; 429 after too many attempts for the handle.
pub(crate) async fn sign_in(
    state: &AppState,
    credentials: Credentials,
    ClientAddress(address): ClientAddress,
) -> Result<SignedIn> {
    state.tries.sign_in(&credentials.handle, address).await?;
    let account = find(state, &credentials.handle).await?;
    // Without an account, a hash is verified all the same: the time to answer must not reveal whether the handle exists.
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let matches = state.passwords.verify(credentials.password, hash).await?;
    let account = account.filter(|_| matches).ok_or_else(wrong)?;
    let (account, restored) = if account.is_deleted {
        come_back(state, account, &credentials.handle).await?
    } else {
        (unchanged(state, &account, &credentials.handle).await?, false)
    };
    state.tries.signed_in(&credentials.handle, address).await;
    // Another request may have cached the account as suspended a moment ago; what was read here is newer.
    state.tokens.epochs().raised(account.id, account.known()).await;
    let issued = state.issuer.issue(account.id, account.token_epoch)?;
    Ok(SignedIn { issued, restored })
}

/// Issues a token for an account that this client has just created, without verifying its password again.
///
/// # Errors
/// 401 when the account no longer exists.
pub(crate) async fn of_new_account(
    state: &AppState,
    handle: &str,
    ClientAddress(address): ClientAddress,
) -> Result<Issued> {
    let account = find(state, handle).await?.ok_or_else(wrong)?;
    state.tries.signed_in(handle, address).await;
    state.issuer.issue(account.id, account.token_epoch)
}

/// Reads the account again after its password was verified, which is slow: meanwhile another request may have replaced
/// the password or raised the epoch.
async fn unchanged(state: &AppState, account: &Found, handle: &str) -> Result<Found> {
    let again = find(state, handle).await?;
    let again = again.filter(|again| !again.is_deleted && again.password_hash == account.password_hash);
    again.ok_or_else(wrong)
}

/// Restores a deleted account whose password was right, unless the password has been removed or replaced since. If
/// several clients sign in at once, one sign-in restores the account and the others find it active.
async fn come_back(state: &AppState, account: Found, handle: &str) -> Result<(Found, bool)> {
    let client = state.pool.get().await?;
    let days = state.settings.accounts.deletion_grace_days;
    let row = ACCOUNT_COME_BACK.query_opt(&client, &[&account.id, &account.password_hash, &days]).await?;
    if let Some(row) = row {
        let (token_epoch, created_at) = (row.get("token_epoch"), row.get("created_at"));
        return Ok((Found { token_epoch, created_at, is_deleted: false, ..account }, true));
    }
    drop(client);
    Ok((unchanged(state, &account, handle).await?, false))
}

fn wrong() -> Problem {
    Problem::unauthorized("the handle or the password is wrong")
}

/// Sign out everywhere.
///
/// Ends every session of the account. Within a minute, no process accepts its earlier tokens.
#[utoipa::path(
    delete, path = "/v1/sessions", tag = "sessions", operation_id = "delete_sessions", security(("bearer" = [])),
    responses((status = 204, description = "Signed out"), AuthProblems, CommonProblems)
)]
async fn delete(State(state): State<AppState>, signed: Signed) -> Result<StatusCode> {
    delete_sessions(&state, signed.account_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions of an account.
///
/// # Errors
/// A failure of the database.
pub(crate) async fn delete_sessions(state: &AppState, account_id: i64) -> Result<()> {
    let client = state.pool.get().await?;
    let row = ACCOUNT_RAISE_EPOCH.query_opt(&client, &[&account_id]).await?;
    let known = row.map_or(Known::Gone, |row| Known::Account {
        epoch: row.get("token_epoch"),
        created_at: row.get("created_at"),
    });
    state.tokens.epochs().raised(account_id, known).await;
    Ok(())
}

struct Found {
    id: i64,
    password_hash: String,
    token_epoch: i32,
    created_at: Timestamp,
    is_deleted: bool,
}

impl Found {
    fn known(&self) -> Known {
        Known::Account { epoch: self.token_epoch, created_at: self.created_at }
    }
}

async fn find(state: &AppState, handle: &str) -> Result<Option<Found>> {
    if !is_handle(handle) {
        return Ok(None);
    }
    let client = state.pool.get().await?;
    let days = state.settings.accounts.deletion_grace_days;
    let row = ACCOUNT_SIGN_IN.query_opt(&client, &[&handle, &days]).await?;
    Ok(row.map(|row| Found {
        id: row.get("id"),
        password_hash: row.get("password_hash"),
        token_epoch: row.get("token_epoch"),
        created_at: row.get("created_at"),
        is_deleted: row.get("is_deleted"),
    }))
}
