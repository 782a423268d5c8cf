//! The pages that readers see: server-rendered HTML that works without script; a small script makes it more convenient.
//!
//! A page calls the same functions as the API, so the rules about what a reader may see and do have one home, and
//! engagement takes the same write paths. Failures are the API's [`Problem`], rendered for people by `as_page`. An
//! author's text is Markdown in which HTML is plain text (`markdown`); the content security policy lets a browser load
//! and run only what this service serves under `/assets`. A cookie identifies the reader (`session`). A form is answered
//! with a redirect, so that reloading a page does not submit it twice.

mod act;
mod assets;
mod form;
mod inbox;
mod layout;
mod lists;
mod markdown;
mod session;
mod settings;
mod show;
mod sign;
mod write;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE,
};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use web::frame::ShowPage;

use self::layout::Frame;
use self::session::Reader;
use crate::limits;
use crate::problem::Problem;
use crate::state::AppState;

/// Everything comes from this service, and scripts and styles only from files of their own.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The pages.
pub(crate) fn routes(state: &AppState) -> Router<AppState> {
    let writing = Router::new()
        .route("/write", get(write::blank).post(write::create))
        .route("/b/{slug}/edit", get(write::edit).post(write::change))
        .layer(DefaultBodyLimit::max(state.settings.bodies.blog_bytes_max));
    let reading = writing
        .route("/", get(lists::home))
        .route("/a/{handle}", get(lists::author))
        .route("/a/{handle}/followers", get(lists::followers))
        .route("/a/{handle}/following", get(lists::following))
        .route("/a/{handle}/follow", post(act::follow))
        .route("/mine", get(lists::mine))
        .route("/inbox", get(inbox::show).post(inbox::read_all))
        .route("/b/{slug}", get(show::blog))
        .route("/b/{slug}/publish", post(write::publish))
        .route("/b/{slug}/unpublish", post(write::unpublish))
        .route("/b/{slug}/delete", post(write::delete))
        .route("/account", get(settings::show))
        .route("/account/deleted", get(settings::deleted))
        .route("/sign-in", get(sign::sign_in_page))
        .route("/sign-up", get(sign::sign_up_page))
        .route("/sign-out", post(sign::sign_out))
        .layer(from_fn_with_state(state.clone(), limits::requests::<AppState>));
    let engaging = Router::new()
        .route("/b/{slug}/like", post(act::like))
        .route("/b/{slug}/unlike", post(act::unlike))
        .route("/b/{slug}/share", post(act::share));
    let signing = Router::new()
        .route("/sign-in", post(sign::sign_in))
        .route("/sign-up", post(sign::sign_up))
        .route("/account/delete", post(settings::delete))
        .layer(from_fn_with_state(state.clone(), limits::sign_ins::<AppState>));
    reading
        .merge(engaging)
        .merge(signing)
        .layer(from_fn_with_state(state.clone(), session::of_cookie))
        .layer(from_fn_with_state(state.clone(), with_headers))
        .merge(assets::routes())
}

/// Adds the headers that every page has.
async fn with_headers(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    page_headers(response.headers_mut());
    if state.settings.pages.secure_cookies {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, web::settings::HSTS);
    }
    response
}

fn page_headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // A form is accepted only from a page of this site, so the browser must state where the form comes from.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
}

/// Renders a problem for a person if the browser asked for a page. A reader who must sign in is sent to the form and
/// back.
pub(crate) fn as_page(request: &Request) -> Option<ShowPage> {
    if is_of_the_api(request.uri().path()) || !accepts_pages(request.headers()) {
        return None;
    }
    // The page that the reader requested can be requested again.
    let back = if request.method().is_safe() { request.uri().path_and_query().cloned() } else { None };
    Some(Box::new(move |response| show_problem(response, back.as_ref().map_or("/", PathAndQuery::as_str))))
}

fn show_problem(mut response: Response, back: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let (mut parts, _) = response.into_parts();
    for name in [CONTENT_TYPE, CONTENT_LENGTH, WWW_AUTHENTICATE] {
        parts.headers.remove(name);
    }
    if problem.status() == StatusCode::UNAUTHORIZED {
        parts.status = StatusCode::SEE_OTHER;
        let location = HeaderValue::try_from(sign::address(back));
        parts.headers.insert(LOCATION, location.unwrap_or(HeaderValue::from_static("/sign-in")));
        return Response::from_parts(parts, axum::body::Body::empty());
    }
    page_headers(&mut parts.headers);
    let page = layout::problem(&problem).into_response();
    let (page_parts, body) = page.into_parts();
    parts.headers.extend(page_parts.headers);
    Response::from_parts(parts, body)
}

fn is_of_the_api(path: &str) -> bool {
    ["/v1/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics"]
        .iter()
        .any(|begin| path.starts_with(begin))
}

fn accepts_pages(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// Answers a form with a redirect.
fn see(location: &str) -> Response {
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
}

/// Renders a page with this status.
fn page(status: StatusCode, frame: Frame<'_>, main: maud::Markup) -> Response {
    (status, frame.around(main)).into_response()
}

/// The signed-in account, which this page requires.
fn account(reader: &Reader) -> Result<&session::ReadingAccount, Problem> {
    reader.account.as_ref().ok_or_else(|| Problem::unauthorized("sign in first"))
}
