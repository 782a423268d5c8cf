//! Sign-up, sign-in and sign-out.

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use secrecy::SecretString;
use serde::Deserialize;

use super::form::Form;
use super::layout::{self, Frame};
use super::session::{self, Reader};
use super::{page, see, settings};
use crate::api::accounts::{self, NewAccount};
use crate::api::sessions::{self, Credentials, SignedIn};
use crate::auth::Signed;
use crate::client_address::ClientAddress;
use crate::extract::Query;
use crate::problem::{Problem, Result};
use crate::state::AppState;

/// A password form may not be cached.
const NO_STORE: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

/// Where to go afterwards: a path on this site.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    next: Option<String>,
}

/// The sign-in form.
#[derive(Debug, Deserialize)]
pub(super) struct SignIn {
    handle: String,
    password: SecretString,
    next: Option<String>,
}

/// The sign-up form.
#[derive(Debug, Deserialize)]
pub(super) struct SignUp {
    handle: String,
    email: String,
    password: SecretString,
}

/// Shows the sign-in form.
pub(super) async fn sign_in_page(reader: Reader, Query(next): Query<Next>) -> Response {
    let next = here(next.next.as_deref());
    let page = page(StatusCode::OK, frame("Sign in", "/sign-in", &reader), sign_in_form("", next, None));
    (NO_STORE, page).into_response()
}

/// Signs in.
pub(super) async fn sign_in(
    State(state): State<AppState>,
    address: ClientAddress,
    Form(form): Form<SignIn>,
) -> Result<Response> {
    let SignIn { handle, password, next } = form;
    let next = here(next.as_deref()).to_owned();
    let credentials = Credentials { handle: handle.trim().to_owned(), password };
    match sessions::sign_in(&state, credentials, address).await {
        Ok(SignedIn { issued, restored }) => {
            Ok(signed_in(&state, issued.token, if restored { settings::RESTORED } else { &next }))
        }
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            let main = sign_in_form(&handle, &next, Some(&problem));
            Ok(page(StatusCode::FORBIDDEN, frame("Sign in", "/sign-in", &Reader::default()), main))
        }
        Err(problem) => Err(problem),
    }
}

/// Shows the sign-up form.
pub(super) async fn sign_up_page(reader: Reader) -> Response {
    let page = page(StatusCode::OK, frame("Join", "/sign-up", &reader), sign_up_form("", "", None));
    (NO_STORE, page).into_response()
}

/// Creates an account and signs in to it.
pub(super) async fn sign_up(
    State(state): State<AppState>,
    address: ClientAddress,
    Form(form): Form<SignUp>,
) -> Result<Response> {
    let SignUp { handle, email, password } = form;
    let new = NewAccount { handle: handle.clone(), email: email.clone(), password };
    match accounts::sign_up(&state, new).await {
        Ok(account) => {
            let issued = sessions::of_new_account(&state, &account.handle, address).await?;
            Ok(signed_in(&state, issued.token, "/"))
        }
        Err(problem) if !problem.errors().is_empty() => {
            let main = sign_up_form(&handle, &email, Some(&problem));
            Ok(page(problem.status(), frame("Join", "/sign-up", &Reader::default()), main))
        }
        Err(problem) => Err(problem),
    }
}

/// Signs out everywhere, because the API cannot end a single session, and because this is the safe choice on a shared
/// computer. The cookie is removed even if the sign-out fails.
pub(super) async fn sign_out(State(state): State<AppState>, signed: Option<Signed>) -> Response {
    let over_tls = state.settings.pages.secure_cookies;
    let ended = match signed {
        Some(signed) => sessions::delete_sessions(&state, signed.account_id).await,
        None => Ok(()),
    };
    let mut response = ended.map_or_else(IntoResponse::into_response, |()| see("/"));
    session::forget(response.headers_mut(), over_tls);
    response
}

/// The address of the sign-in form that leads back to `next`.
pub(super) fn address(next: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::from("/sign-in?"));
    query.append_pair("next", next).finish()
}

fn signed_in(state: &AppState, token: String, next: &str) -> Response {
    let mut response = see(next);
    let settings = &state.settings;
    session::keep(response.headers_mut(), token, settings.tokens.lifetime_s, settings.pages.secure_cookies);
    response
}

/// Accepts only a path on this site. A browser reads `//host` and `/\host` as another host, and drops tabs and line
/// breaks.
fn here(next: Option<&str>) -> &str {
    next.filter(|path| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    })
    .unwrap_or("/")
}

fn frame<'a>(title: &'a str, here: &'a str, reader: &'a Reader) -> Frame<'a> {
    Frame { title, reader, here }
}

fn sign_in_form(handle: &str, next: &str, problem: Option<&Problem>) -> Markup {
    html! {
        h1 { "Sign in" }
        (layout::errors(problem))
        form.card method="post" action="/sign-in" {
            (layout::field("Handle", "handle", "text", handle, "username"))
            (layout::field("Password", "password", "password", "", "current-password"))
            input type="hidden" name="next" value=(next);
            button.main type="submit" { "Sign in" }
        }
        p { "New here? " a href="/sign-up" { "Join" } "." }
    }
}

fn sign_up_form(handle: &str, email: &str, problem: Option<&Problem>) -> Markup {
    html! {
        h1 { "Join" }
        (layout::errors(problem))
        form.card method="post" action="/sign-up" {
            (layout::field("Handle", "handle", "text", handle, "username"))
            p.hint { "2 to 30 characters: a–z, 0–9, and single hyphens between them. Your handle can never be changed." }
            (layout::field("E-mail", "email", "email", email, "email"))
            p.hint { "Never shown." }
            (layout::field("Password", "password", "password", "", "new-password"))
            p.hint { "At least 10 characters. Use several words rather than a common password with digits." }
            button.main type="submit" { "Join" }
        }
        p { "Already have an account? " a href="/sign-in" { "Sign in" } "." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_after_sign_in_stays_on_the_site() {
        for good in ["/", "/b/x?done=liked", "/a/b/c#d"] {
            assert_eq!(here(Some(good)), good);
        }
        for bad in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "evil",
            "/\u{e9}",
        ] {
            assert_eq!(here(Some(bad)), "/", "{bad}");
        }
        assert_eq!(here(None), "/");
    }
}
