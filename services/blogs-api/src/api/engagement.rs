//! The endpoints of engagement. [`acceptance`](crate::acceptance) takes over the events.

mod actions;
mod batch;
mod caller;
mod single;
mod stats;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::actions::{like, share, unlike, view};
pub(crate) use self::caller::Caller;

use crate::limits;
use crate::state::AppState;

/// The endpoints of engagement. The `Caller` extractor applies the rate limits, so the routes need no layer for them.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    let reading = OpenApiRouter::new()
        .routes(routes!(stats::stats))
        .layer(from_fn_with_state(state.clone(), limits::requests::<AppState>));
    let batch = OpenApiRouter::new()
        .routes(routes!(batch::engage))
        .layer(DefaultBodyLimit::max(state.settings.bodies.batch_bytes_max));
    OpenApiRouter::new()
        .routes(routes!(single::view))
        .routes(routes!(single::like, single::unlike))
        .routes(routes!(single::share))
        .merge(batch)
        .merge(reading)
}
