//! The endpoints of the API.
//!
//! A handler validates the form of a request in its extractors and then calls a plain function with the same name as the
//! operation in the OpenAPI document. The pages call the same functions.

pub(crate) mod account_transaction;
pub(crate) mod accounts;
pub(crate) mod blogs;
pub(crate) mod engagement;
pub(crate) mod exports;
pub(crate) mod follows;
pub(crate) mod idempotency;
pub(crate) mod notifications;
pub(crate) mod openapi;
pub(crate) mod sessions;

use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

/// Every endpoint, with its part of the OpenAPI document.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(accounts::routes(state))
        .merge(exports::routes(state))
        .merge(sessions::routes(state))
        .merge(blogs::routes(state))
        .merge(follows::routes(state))
        .merge(notifications::routes(state))
        .merge(engagement::routes(state))
}
