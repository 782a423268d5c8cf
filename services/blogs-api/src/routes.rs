//! All routes of the service, in the frame that services share, and the CORS rules.

#[cfg(test)]
pub(crate) mod tests;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method};
use prometheus_client::registry::Registry;
use runtime::health::Health;
use tower_http::cors::CorsLayer;
use web::frame::{Frame, HttpMetrics, REQUEST_ID};
use web::server::Routers;

use crate::api::{self, idempotency};
use crate::pages;
use crate::state::AppState;

/// Builds the router.
///
/// # Errors
/// A sentence that says which setting to change.
pub(crate) fn router(
    state: &AppState,
    health: Health,
    registry: Registry,
    metrics: HttpMetrics,
) -> anyhow::Result<Routers> {
    let (product, document) = api::routes(state).split_for_parts();
    let cors = cors(state.settings.cors.origins()?);
    let frame = Frame {
        health,
        registry,
        metrics,
        cors,
        limits: state.limits.clone(),
        trusted_proxies: state.trusted_proxies.clone(),
        pages: Some(pages::as_page),
        has_operations_listener: state.settings.http.operations_address.is_some(),
        docs: state.settings.docs,
    };
    let product = product.merge(pages::routes(state)).with_state(state.clone());
    Ok(frame.around(product, document, &state.settings.requests))
}

fn cors(origins: Vec<HeaderValue>) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let own = |name| HeaderName::from_static(name);
    let sent =
        [AUTHORIZATION, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, own("idempotency-key"), own("x-write-path")];
    let shown = [ETAG, LOCATION, RETRY_AFTER, idempotency::REPLAYED, REQUEST_ID];
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods(methods)
            .allow_headers(sent)
            .expose_headers(shown),
    )
}
