//! Accounts: signing up, a new password, leaving.
//!
//! A deleted account keeps its row, which says when it was deleted, and its handle, which no other account gets. Its blogs are
//! no longer live. For the grace period, signing in or an operator takes the deletion back; after that the account
//! forgets its e-mail address and its password ([`forget_deleted`]). Only an operator erases, and that gives the handle back.

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

/// Tries at an insert, if what was in its way is gone by the time that it is looked for.
const CREATE_TRIES_MAX: usize = 3;
const EMAIL_LENGTH_MAX: usize = 254;

/// The endpoints of accounts.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    let by_address = axum::middleware::from_fn_with_state(state.clone(), limits::sign_ins::<AppState>);
    let guessable =
        OpenApiRouter::new().routes(routes!(create)).routes(routes!(set_password)).routes(routes!(delete));
    guessable.layer(by_address)
}

/// Who wants an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct NewAccount {
    /// 2 to 30 of a-z and 0-9, with single hyphens between them and at least one letter. Never changes. Handles that speak for
    /// the site, such as `admin`, are reserved.
    #[schema(example = "ada")]
    pub(crate) handle: String,
    /// Where to reach the author; never shown.
    #[schema(example = "ada@example.org", max_length = 254)]
    pub(crate) email: String,
    /// 10 to 128 bytes. Common passwords are refused, and those made of the handle or the e-mail address.
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 128)]
    pub(crate) password: SecretString,
}

/// A change of password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct PasswordChange {
    /// The present one.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// The new one, as for a new account.
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 128)]
    new_password: SecretString,
}

/// A deletion.
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

/// Makes an account.
///
/// # Errors
/// 422 or 409 with the fields that are wrong or taken.
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
            return Err(Problem::taken("email", "belongs to an account already"));
        }
    }
    Err(Problem::unavailable(
        "accounts of this handle or e-mail address come and go; nothing was promised",
        1,
    ))
}

/// Change the password. Every session ends, this one too: sign in again.
#[utoipa::path(
    put, path = "/v1/accounts/me/password", tag = "accounts", operation_id = "set_password",
    request_body = PasswordChange, security(("bearer" = [])),
    responses(
        (status = 204, description = "Done; within a minute no older token counts anywhere"),
        (status = 403, description = "`password` is not the present one", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 409, description = "Another request has just changed it", body = ProblemBody,
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
    // Only now: the answer tells whether the new password is made of the e-mail address, which a stolen token must not learn.
    if let Some(error) = password_error("new_password", &change.new_password, &handle, &email) {
        return Err(Problem::invalid_many(vec![error]));
    }
    let new_hash = state.passwords.hash(change.new_password).await?;
    let client = state.pool.get().await?;
    let row = ACCOUNT_SET_PASSWORD.query_opt(&client, &[&signed.account_id, &old_hash, &new_hash]).await?;
    let row =
        row.ok_or_else(|| Problem::conflict("the password has just been changed by another request"))?;
    let known = Known::Account { epoch: row.get("token_epoch"), created_at: row.get("created_at") };
    state.tokens.epochs().raised(signed.account_id, known).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete the account. It and its blogs are no longer shown, and every session ends. Signing in during the grace period (14 days
/// unless the operator has set another) takes the deletion back; after it, e-mail address and password are forgotten. The
/// handle stays taken.
#[utoipa::path(
    delete, path = "/v1/accounts/me", tag = "accounts", operation_id = "delete_account", request_body = Deletion,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Deleted; within a minute no token of the account counts anywhere"),
        (status = 403, description = "`password` is not the present one", body = ProblemBody,
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

/// Deletes the account, and ends every session of it.
///
/// # Errors
/// Those of [`prove_password`]; 409 when another request has just changed the account.
pub(crate) async fn delete_account(state: &AppState, account_id: i64, password: SecretString) -> Result<()> {
    let hash = prove_password(state, account_id, password).await?;
    let client = state.pool.get().await?;
    let deleted = ACCOUNT_DELETE.query_opt(&client, &[&account_id, &hash]).await?;
    if deleted.is_none() {
        return Err(Problem::conflict("the account has just been changed by another request"));
    }
    state.tokens.epochs().raised(account_id, Known::Gone).await;
    Ok(())
}

/// The hash of the account's password, if this is the password.
///
/// # Errors
/// Those of [`verify_present`]; 401 when the account is gone.
pub(crate) async fn prove_password(
    state: &AppState,
    account_id: i64,
    password: SecretString,
) -> Result<String> {
    let Present { hash, .. } = present(state, account_id).await?;
    verify_present(state, account_id, password, &hash).await?;
    Ok(hash)
}

/// A signed-in client proves its password here and nowhere else, under the limit of tries at the account.
///
/// # Errors
/// 403 when it is another password; 429 after too many tries.
async fn verify_present(state: &AppState, account_id: i64, password: SecretString, hash: &str) -> Result<()> {
    state.tries.with_token(account_id)?;
    if state.passwords.verify(password, Some(hash.to_owned())).await? {
        return Ok(());
    }
    Err(Problem::forbidden("password is not the present one"))
}

/// What a request's password, and a new one, is checked against.
struct Present {
    hash: String,
    handle: String,
    email: String,
}

/// The connection goes back to the pool before the hash is verified, which takes long.
async fn present(state: &AppState, account_id: i64) -> Result<Present> {
    let client = state.pool.get().await?;
    let row = ACCOUNT_PASSWORD.query_opt(&client, &[&account_id]).await?;
    let row = row.ok_or_else(|| Problem::unauthorized("this account is gone"))?;
    Ok(Present { hash: row.get("password_hash"), handle: row.get("handle"), email: row.get("email") })
}

impl NewAccount {
    fn validate(&self) -> Result<()> {
        let mut errors = Vec::new();
        if !is_handle(&self.handle) {
            errors.push(FieldError::new(
                "handle",
                "must have 2 to 30 of a-z and 0-9, single hyphens only between them, and at least one letter",
            ));
        } else if reserved::is_reserved(&self.handle) {
            errors.push(FieldError::new("handle", "is reserved, because it speaks for the site"));
        }
        if !is_email(&self.email) {
            errors.push(FieldError::new("email", "must be an e-mail address of at most 254 characters"));
        }
        errors.extend(password_error("password", &self.password, &self.handle, &self.email));
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_many(errors)) }
    }
}

/// Plausible: only a letter sent there would tell.
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
    fn e_mail_addresses_are_plausible() {
        for good in ["a@b.c", "ada.lovelace+notes@example.org", "\u{e9}@example.org"] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("{}@example.org", "a".repeat(250));
        for bad in ["", "a", "@b.c", "a@", "a@b", "a@b.", "a@.b", "a@b@c.d", "a b@c.d", "a\0@b.c", &long] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }

    #[test]
    fn every_bad_field_is_named() {
        let new = NewAccount { handle: "A".to_owned(), email: "b".to_owned(), password: "short".into() };
        let problem = new.validate().unwrap_err();
        let fields: Vec<_> = problem.errors().iter().map(|error| error.field.as_ref()).collect();
        assert_eq!(fields, ["handle", "email", "password"]);
    }
}
