//! The console's routes: the page, the stream of its changes, and the forms.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use futures_util::Stream;
use maud::Markup;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use web::client_address::TrustedProxies;
use web::extract::Content;
use web::limits::{self, Limits};
use web::settings::{HSTS, RequestSettings};

use crate::load::{Load, Order};
use crate::picture::Picture;
use crate::settings::AccessSettings;
use crate::{access, page};

/// Everything is served from here; the page contains no inline script or style.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("../assets/console.css");
const SCRIPT: &str = include_str!("../assets/console.js");
const ICON: &str = include_str!("../assets/icon.svg");

/// The state that handlers share.
#[derive(Clone)]
pub(crate) struct Console {
    access: Arc<AccessSettings>,
    pictures: watch::Receiver<Arc<Picture>>,
    load: Load,
    callers: Callers,
    shutdown: CancellationToken,
}

/// Where requests come from, and the rate limit of sign-ins.
#[derive(Clone)]
pub(crate) struct Callers {
    pub(crate) limits: Limits,
    pub(crate) trusted_proxies: TrustedProxies,
}

impl FromRef<Console> for Limits {
    fn from_ref(console: &Console) -> Self {
        console.callers.limits.clone()
    }
}

impl FromRef<Console> for TrustedProxies {
    fn from_ref(console: &Console) -> Self {
        console.callers.trusted_proxies.clone()
    }
}

impl Console {
    pub(crate) fn new(
        access: AccessSettings,
        pictures: watch::Receiver<Arc<Picture>>,
        load: Load,
        callers: Callers,
        shutdown: CancellationToken,
    ) -> Self {
        Self { access: Arc::new(access), pictures, load, callers, shutdown }
    }

    /// The access settings.
    pub(crate) fn access(&self) -> &AccessSettings {
        &self.access
    }
}

/// The limits of all requests together and of each one.
#[derive(Debug, Clone)]
struct Bounds {
    places: Arc<Semaphore>,
    timeout: Duration,
}

/// The routes, without the operations endpoints.
pub(crate) fn routes(console: Console, requests: &RequestSettings) -> Router {
    let bounds =
        Bounds { places: Arc::new(Semaphore::new(requests.concurrent_max)), timeout: requests.timeout() };
    let signing = Router::new()
        .route(access::SIGN_IN, post(sign_in))
        .layer(from_fn_with_state(console.clone(), limits::sign_ins::<Console>));
    Router::new()
        .route("/", get(show))
        .route("/events", get(events))
        .route("/load", get(stand_still).post(start))
        .route("/load/stop", post(stop))
        .route(access::SIGN_IN, get(ask))
        .merge(signing)
        .route("/assets/console.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .route("/assets/console.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/assets/icon.svg", get(async || asset("image/svg+xml", ICON)))
        .fallback(async || (StatusCode::NOT_FOUND, "there is nothing at this path; the console is at /\n"))
        .layer(DefaultBodyLimit::max(requests.body_bytes_max))
        .layer(from_fn_with_state(Arc::clone(&console.access), access::check))
        .layer(from_fn_with_state(bounds, within))
        .layer(from_fn_with_state(console.clone(), headers))
        .with_state(console)
}

/// Middleware: answers 503 if too many requests are in progress or the response takes too long. A stream counts only
/// until its response begins.
async fn within(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let Ok(_place) = bounds.places.try_acquire() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many requests are in progress; try again\n")
            .into_response();
    };
    match timeout(bounds.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the request took too long\n").into_response(),
    }
}

async fn headers(State(console): State<Console>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // Without a token the console is reachable from this machine only, which has no TLS.
    if console.access().secure_cookies && console.access().token().is_some() {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    response
}

async fn show(State(console): State<Console>) -> Markup {
    let picture = Arc::clone(&console.pictures.borrow());
    page::whole(&picture, console.load.settings())
}

/// The load form on a page that does not reload itself, for browsers without script.
async fn stand_still(State(console): State<Console>) -> Markup {
    page::load_alone(console.load.settings())
}

/// Streams the parts of the page that have changed since the last event, whenever there is a new picture. The stream
/// ends when the service stops.
async fn events(State(console): State<Console>) -> Response {
    let stream = Sse::new(changes(console)).keep_alive(KeepAlive::default());
    let mut response = stream.into_response();
    // Tells a proxy to forward each event at once.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn changes(console: Console) -> impl Stream<Item = Result<Event, Infallible>> {
    let Console { mut pictures, shutdown, .. } = console;
    pictures.mark_changed();
    let told: HashMap<&'static str, String> = HashMap::new();
    futures_util::stream::unfold((pictures, told, shutdown), async |(mut pictures, mut told, shutdown)| {
        let changed = shutdown.run_until_cancelled(pictures.changed()).await?;
        changed.ok()?;
        let picture = Arc::clone(&pictures.borrow_and_update());
        let mut news: HashMap<&'static str, String> = HashMap::new();
        for (part, markup) in page::parts(&picture) {
            let text = markup.into_string();
            if told.get(part) != Some(&text) {
                told.insert(part, text.clone());
                news.insert(part, text);
            }
        }
        // A map of strings always serializes to JSON.
        let data = serde_json::to_string(&news).unwrap_or_default();
        Some((Ok(Event::default().event("parts").data(data)), (pictures, told, shutdown)))
    })
}

async fn start(State(console): State<Console>, headers: HeaderMap, Content(body): Content) -> Response {
    let fields: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let number = |name: &str| {
        let text = fields.get(name).map(String::as_str).unwrap_or_default();
        text.parse::<u32>().map_err(|_| format!("{name} must be a number"))
    };
    let ordered = number("seconds").and_then(|seconds| {
        let path = fields.get("path").cloned().unwrap_or_default();
        Ok(Order { path, seconds, senders: number("senders")? })
    });
    let started = ordered.and_then(|order| console.load.start(&order));
    answer(&console, &headers, started.err())
}

async fn stop(State(console): State<Console>, headers: HeaderMap) -> Response {
    console.load.stop();
    answer(&console, &headers, None)
}

/// Answers the script with a sentence or nothing. A form is redirected to the page, or gets the reason for a refusal.
fn answer(console: &Console, headers: &HeaderMap, refusal: Option<String>) -> Response {
    let is_script = headers.get("x-requested-with").is_some();
    match refusal {
        None if is_script => StatusCode::NO_CONTENT.into_response(),
        // Without a fragment: browsers do not reload a page whose URL has one.
        None => Redirect::to("/").into_response(),
        Some(refusal) if is_script => (StatusCode::UNPROCESSABLE_ENTITY, refusal).into_response(),
        Some(refusal) => {
            let page = page::refused(console.load.settings(), &refusal);
            (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
        }
    }
}

async fn ask() -> Markup {
    page::sign_in(None)
}

async fn sign_in(State(console): State<Console>, Content(body): Content) -> Response {
    let sent = url::form_urlencoded::parse(&body).find(|(name, _)| name == "token");
    let sent = sent.map(|(_, token)| token.trim().to_owned()).unwrap_or_default();
    match access::cookie_for(console.access(), &sent) {
        Some(cookie) => ([cookie], Redirect::to("/")).into_response(),
        None => (StatusCode::FORBIDDEN, page::sign_in(Some("That is not the token."))).into_response(),
    }
}

fn asset(media_type: &'static str, content: &'static str) -> Response {
    let headers = [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "no-cache")];
    (headers, content).into_response()
}
