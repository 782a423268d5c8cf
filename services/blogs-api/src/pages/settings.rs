//! The reader's account: the form that deletes it, and the pages that explain the consequences.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use secrecy::SecretString;
use serde::Deserialize;

use super::form::Form;
use super::layout::{self, Frame};
use super::session::{self, Reader};
use super::{account, page, see};
use crate::api::accounts;
use crate::auth::Signed;
use crate::extract::Query;
use crate::problem::{Problem, Result};
use crate::state::AppState;

/// Where a reader is sent after a sign-in that restored the account.
pub(super) const RESTORED: &str = "/account?done=restored";
const DELETED: &str = "/account/deleted";

/// The action that the reader has just completed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Done {
    done: Option<String>,
}

/// The form that deletes the account.
#[derive(Debug, Deserialize)]
pub(super) struct Leave {
    password: SecretString,
}

/// Shows the reader's account.
pub(super) async fn show(
    State(state): State<AppState>,
    reader: Reader,
    Query(done): Query<Done>,
) -> Result<Response> {
    let restored = done.done.as_deref() == Some("restored");
    shown(&state, &reader, StatusCode::OK, restored, None)
}

/// Deletes the account if the password is right, and removes the cookie.
pub(super) async fn delete(
    State(state): State<AppState>,
    signed: Signed,
    reader: Reader,
    Form(form): Form<Leave>,
) -> Result<Response> {
    let over_tls = state.settings.pages.secure_cookies;
    match accounts::delete_account(&state, signed.account_id, form.password).await {
        Ok(()) => {
            let mut response = see(DELETED);
            session::forget(response.headers_mut(), over_tls);
            Ok(response)
        }
        Err(problem) if problem.status() == StatusCode::FORBIDDEN => {
            shown(&state, &reader, StatusCode::FORBIDDEN, false, Some(&problem))
        }
        Err(problem) => Err(problem),
    }
}

/// Explains what happens to a deleted account.
pub(super) async fn deleted(State(state): State<AppState>, reader: Reader) -> Response {
    let main = html! {
        h1 { "Your account is deleted" }
        p {
            "Your account and your blogs are no longer shown. If you sign in within " (grace(&state)) ", both are restored. \
             After that, we remove your e-mail address and your password; your handle stays taken."
        }
        p { a href="/sign-in" { "Sign in" } " · " a href="/" { "All blogs" } }
    };
    page(StatusCode::OK, Frame { title: "Account deleted", reader: &reader, here: DELETED }, main)
        .into_response()
}

fn shown(
    state: &AppState,
    reader: &Reader,
    status: StatusCode,
    restored: bool,
    problem: Option<&Problem>,
) -> Result<Response> {
    let handle = &account(reader)?.handle;
    let main = html! {
        @if restored {
            div.notice role="status" { p { "Welcome back. Your account has been restored." } }
        }
        h1 { "Your account" }
        p { "You are signed in as " a href={"/a/" (handle)} { (handle) } "." }
        (leave_form(state, problem))
    };
    Ok(page(status, Frame { title: "Your account", reader, here: "/account" }, main))
}

fn leave_form(state: &AppState, problem: Option<&Problem>) -> Markup {
    html! {
        h2 { "Delete the account" }
        (layout::errors(problem))
        form.card method="post" action="/account/delete" {
            p {
                "Your account and your blogs will no longer be shown, and you will be signed out everywhere. If you sign in \
                 within " (grace(state)) ", both are restored. After that, we remove your e-mail address and your password."
            }
            (layout::field("Password", "password", "password", "", "current-password"))
            button.bad type="submit" { "Delete my account" }
        }
    }
}

fn grace(state: &AppState) -> String {
    layout::counted(state.settings.accounts.deletion_grace_days.into(), "day")
}
