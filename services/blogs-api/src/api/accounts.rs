//! Accounts: sign-up, password changes and deletion.
//!
//! A deleted account keeps its row, which records when it was deleted, and its handle, which no other account can take.
//! Its blogs are no longer live. During the grace period, a sign-in or an operator restores the account; afterwards its
//! e-mail address and password hash are removed ([`forget_deleted`]). Only an operator can erase an account, which
//! releases the handle.

mod forgetting;
mod reserved;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use database::{Statement, statement};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::forgetting::forget_deleted;
use crate::account::{Account, is_handle};
use crate::api::openapi::{AuthProblems, BodyProblems, CommonProblems};
use crate::auth::{Known, PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, Signed, weakness};
use crate::extract::Json;
use crate::limits;
use crate::problem::{FieldError, Problem, ProblemBody, Result};
use crate::state::AppState;

const ACCOUNT_CREATE: Statement = statement!("account_create.sql");
const ACCOUNT_DELETE: Statement = statement!("account_delete.sql");
const ACCOUNT_PASSWORD: Statement = statement!("account_password.sql");
const ACCOUNT_SET_PASSWORD: Statement = statement!("account_set_password.sql");
const ACCOUNT_TAKEN: Statement = statement!("account_taken.sql");

/// Maximum number of inserts. An insert is retried if the account that it conflicts with is gone by the time it is looked up.
const CREATE_TRIES_MAX: usize = 3;
const EMAIL_LENGTH_MAX: usize = 254;

/// The endpoints of accounts.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    let by_address = axum::middleware::from_fn_with_state(state.clone(), limits::sign_ins::<AppState>);
    let guessable =
        OpenApiRouter::new().routes(routes!(create)).routes(routes!(set_password)).routes(routes!(delete));
    guessable.layer(by_address)
}

/// A request to sign up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct NewAccount {
    /// 2 to 30 characters of a-z and 0-9, with single hyphens between them and at least one letter. A handle never
    /// changes. Handles that suggest an official role, such as `admin`, are reserved.
    #[schema(example = "ada")]
    pub(crate) handle: String,
    /// The author's e-mail address; never shown to others.
    #[schema(example = "ada@example.org", max_length = 254)]
    pub(crate) email: String,
    /// 10 to 128 bytes. Common passwords and passwords derived from the handle or the e-mail address are rejected.
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 128)]
    pub(crate) password: SecretString,
}

/// A request to change the password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct PasswordChange {
    /// The current password.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// The new password; the rules for new accounts apply.
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 128)]
    new_password: SecretString,
}

/// A request to delete the account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
struct Deletion {
    /// The account's password.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// Sign up.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "accounts", operation_id = "create_account", request_body = NewAccount,
    responses(
        (status = 201, description = "The account", body = Account),
        (status = 409, description = "The handle or the e-mail address is taken; `errors` says which",
         body = ProblemBody, content_type = "application/problem+json"),
        BodyProblems, CommonProblems,
    )
)]
async fn create(State(state): State<AppState>, Json(new): Json<NewAccount>) -> Result<impl IntoResponse> {
    Ok((StatusCode::CREATED, axum::Json(sign_up(&state, new).await?)))
}

/// Creates an account.
///
/// # Errors
/// 422 or 409, naming the invalid or taken fields.
pub(crate) async fn sign_up(state: &AppState, new: NewAccount) -> Result<Account> {
    new.validate()?;
    let password_hash = state.passwords.hash(new.password).await?;
    let client = state.pool.get().await?;
    for _ in 0..CREATE_TRIES_MAX {
        let created = ACCOUNT_CREATE.query_opt(&client, &[&new.handle, &new.email, &password_hash]).await?;
        if let Some(row) = created {
            return Ok(Account { id: row.get("id"), handle: new.handle });
        }
        let taken = ACCOUNT_TAKEN.query_one(&client, &[&new.handle, &new.email]).await?;
        if taken.get("is_handle_taken") {
            return Err(Problem::taken("handle", "is taken"));
        }
        if taken.get("is_email_taken") {
            return Err(Problem::taken("email", "belongs to an existing account"));
        }
    }
    Err(Problem::unavailable(
        "other requests are using this handle or e-mail address; no account was created, try again",
        1,
    ))
}

/// Change the password.
///
/// This ends every session of the account, including the current one. Sign in again with the new password.
#[utoipa::path(
    put, path = "/v1/accounts/me/password", tag = "accounts", operation_id = "set_password",
    request_body = PasswordChange, security(("bearer" = [])),
    responses(
        (status = 204, description = "The password is changed; earlier tokens stop working within a minute"),
        (status = 403, description = "`password` is not the current password", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 409, description = "Another request has just changed the password", body = ProblemBody,
         content_type = "application/problem+json"),
        BodyProblems, AuthProblems, CommonProblems,
    )
)]
async fn set_password(
    State(state): State<AppState>,
    signed: Signed,
    Json(change): Json<PasswordChange>,
) -> Result<StatusCode> {
    let Present { hash: old_hash, handle, email } = present(&state, signed.account_id).await?;
    verify_present(&state, signed.account_id, change.password, &old_hash).await?;
    // Only after the current password was verified: the result reveals whether the new password derives from the e-mail
    // address, which the holder of a stolen token must not learn.
    if let Some(error) = password_error("new_password", &change.new_password, &handle, &email) {
        return Err(Problem::invalid_many(vec![error]));
    }
    let new_hash = state.passwords.hash(change.new_password).await?;
    let client = state.pool.get().await?;
    let row = ACCOUNT_SET_PASSWORD.query_opt(&client, &[&signed.account_id, &old_hash, &new_hash]).await?;
    let row = row.ok_or_else(|| Problem::conflict("another request has just changed the password"))?;
    let known = Known::Account { epoch: row.get("token_epoch"), created_at: row.get("created_at") };
    state.tokens.epochs().raised(signed.account_id, known).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete the account.
///
/// The account and its blogs are no longer shown, and all its sessions end. Signing in during the grace period (14 days
/// unless the operator has changed it) restores the account. After the grace period, the e-mail address and the
/// password are removed. The handle stays taken.
#[utoipa::path(
    delete, path = "/v1/accounts/me", tag = "accounts", operation_id = "delete_account", request_body = Deletion,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The account is deleted; its tokens stop working within a minute"),
        (status = 403, description = "`password` is not the current password", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 409, description = "Another request has just changed the password or deleted the account",
         body = ProblemBody, content_type = "application/problem+json"),
        BodyProblems, AuthProblems, CommonProblems,
    )
)]
async fn delete(
    State(state): State<AppState>,
    signed: Signed,
    Json(deletion): Json<Deletion>,
) -> Result<StatusCode> {
    delete_account(&state, signed.account_id, deletion.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes the account and ends all its sessions.
///
/// # Errors
/// Those of [`prove_password`]; 409 when another request has just changed the account.
pub(crate) async fn delete_account(state: &AppState, account_id: i64, password: SecretString) -> Result<()> {
    let hash = prove_password(state, account_id, password).await?;
    let client = state.pool.get().await?;
    let deleted = ACCOUNT_DELETE.query_opt(&client, &[&account_id, &hash]).await?;
    if deleted.is_none() {
        return Err(Problem::conflict("another request has just changed the account"));
    }
    state.tokens.epochs().raised(account_id, Known::Gone).await;
    Ok(())
}

/// Returns the hash of the account's password if `password` matches it.
///
/// # Errors
/// Those of [`verify_present`]; 401 when the account no longer exists.
pub(crate) async fn prove_password(
    state: &AppState,
    account_id: i64,
    password: SecretString,
) -> Result<String> {
    let Present { hash, .. } = present(state, account_id).await?;
    verify_present(state, account_id, password, &hash).await?;
    Ok(hash)
}

/// The only place where a signed-in client proves its password; attempts are limited per account.
///
/// # Errors
/// 403 when the password does not match; 429 after too many attempts.
async fn verify_present(state: &AppState, account_id: i64, password: SecretString, hash: &str) -> Result<()> {
    state.tries.with_token(account_id)?;
    if state.passwords.verify(password, Some(hash.to_owned())).await? {
        return Ok(());
    }
    Err(Problem::forbidden("password is not the current password"))
}

/// What a request's current and new passwords are checked against.
struct Present {
    hash: String,
    handle: String,
    email: String,
}

/// Reads these values, and returns the connection to the pool before the hash is verified, which is slow.
async fn present(state: &AppState, account_id: i64) -> Result<Present> {
    let client = state.pool.get().await?;
    let row = ACCOUNT_PASSWORD.query_opt(&client, &[&account_id]).await?;
    let row = row.ok_or_else(|| Problem::unauthorized("this account no longer exists"))?;
    Ok(Present { hash: row.get("password_hash"), handle: row.get("handle"), email: row.get("email") })
}

impl NewAccount {
    fn validate(&self) -> Result<()> {
        let mut errors = Vec::new();
        if !is_handle(&self.handle) {
            errors.push(FieldError::new(
                "handle",
                "must have 2 to 30 characters of a-z and 0-9, single hyphens only between them, and at least one letter",
            ));
        } else if reserved::is_reserved(&self.handle) {
            errors.push(FieldError::new("handle", "is reserved, because it suggests an official role"));
        }
        if !is_email(&self.email) {
            errors.push(FieldError::new("email", "must be an e-mail address of at most 254 characters"));
        }
        errors.extend(password_error("password", &self.password, &self.handle, &self.email));
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_many(errors)) }
    }
}

/// Checks the form only; whether the address exists shows only when mail is sent to it.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    !local.is_empty()
        && !local.contains('@')
        && domain.contains('.')
        && domain.split('.').all(|label| !label.is_empty())
        && text.chars().count() <= EMAIL_LENGTH_MAX
        && !text.chars().any(|character| character.is_whitespace() || character.is_control())
}

fn password_error(
    field: &'static str,
    password: &SecretString,
    handle: &str,
    email: &str,
) -> Option<FieldError> {
    let password = password.expose_secret();
    if !(PASSWORD_LENGTH_MIN..=PASSWORD_LENGTH_MAX).contains(&password.len()) {
        let detail = format!("must have {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} bytes");
        return Some(FieldError::new(field, detail));
    }
    weakness(password, handle, email).map(|why| FieldError::new(field, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implausible_e_mail_addresses_are_rejected() {
        for good in ["a@b.c", "ada.lovelace+notes@example.org", "\u{e9}@example.org"] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("{}@example.org", "a".repeat(250));
        for bad in ["", "a", "@b.c", "a@", "a@b", "a@b.", "a@.b", "a@b@c.d", "a b@c.d", "a\0@b.c", &long] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }

    #[test]
    fn error_names_every_invalid_field() {
        let new = NewAccount { handle: "A".to_owned(), email: "b".to_owned(), password: "short".into() };
        let problem = new.validate().unwrap_err();
        let fields: Vec<_> = problem.errors().iter().map(|error| error.field.as_ref()).collect();
        assert_eq!(fields, ["handle", "email", "password"]);
    }
}
