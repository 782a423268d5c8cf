//! Export requests: an account requests its data here, and an operator exports it.
//!
//! An operator can read an account's e-mail address only through an export, and the database exports only accounts with
//! an open request. Each export uses one request and leaves a record (`migrations/V06__exports_and_erasing.sql`). A
//! request needs the password: a stolen session alone must not be enough to request an export in the account's name.

use axum::extract::State;
use database::{Statement, statement};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::account_transaction::{begin, commit};
use crate::api::accounts::prove_password;
use crate::api::openapi::{AuthProblems, BodyProblems, CommonProblems};
use crate::auth::Signed;
use crate::extract::Json;
use crate::limits;
use crate::problem::{ProblemBody, Result};
use crate::state::AppState;

const EXPORT_REQUEST_PUT: Statement = statement!("export_request_put.sql");

/// The endpoints of exports.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    let by_address = axum::middleware::from_fn_with_state(state.clone(), limits::sign_ins::<AppState>);
    OpenApiRouter::new().routes(routes!(request)).layer(by_address)
}

/// A request to export the account's data.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
struct NewExportRequest {
    /// The account's password.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// An open export request.
#[derive(Debug, Serialize, ToSchema)]
struct ExportRequest {
    /// The request's id, which the record of the export also contains.
    id: Uuid,
    /// When the account made the request.
    requested_at: Timestamp,
    /// Deadline for the operator's export.
    expires_at: Timestamp,
}

/// Request an export of all data about your account.
///
/// An operator exports the data and sends it to the account's e-mail address. A request covers one export and expires
/// after 7 days. Repeating the request while one is open changes nothing.
#[utoipa::path(
    put, path = "/v1/accounts/me/export-request", tag = "accounts", operation_id = "request_export",
    request_body = NewExportRequest, security(("bearer" = [])),
    responses(
        (status = 200, description = "The open request", body = ExportRequest),
        (status = 403, description = "`password` is not the current password", body = ProblemBody,
         content_type = "application/problem+json"),
        BodyProblems, AuthProblems, CommonProblems,
    )
)]
async fn request(
    State(state): State<AppState>,
    signed: Signed,
    Json(new): Json<NewExportRequest>,
) -> Result<axum::Json<ExportRequest>> {
    prove_password(&state, signed.account_id, new.password).await?;
    let mut client = state.pool.get().await?;
    let transaction = begin(&mut client, &signed).await?;
    let row = EXPORT_REQUEST_PUT.query_one(&transaction, &[&signed.account_id]).await?;
    let request = ExportRequest {
        id: row.get("id"),
        requested_at: row.get("requested_at"),
        expires_at: row.get("expires_at"),
    };
    commit(transaction).await?;
    Ok(axum::Json(request))
}
