//! The smallest possible direct write: an endpoint that answers after one `update` has added 1 to a counter.
//!
//! It keeps none of the invariants: a retry counts twice, so does a reload by the same visitor, a deleted blog still
//! counts, there is no series, and no counter can be verified. It is not meant for production; it is the lower bound of the
//! cost of a direct write. It runs as a separate process, with the Blogs API's role and number of database connections.

use std::io;
use std::net::SocketAddr;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use database::{Pool, Statement, statement};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const BARE_WRITE: Statement = statement!("bare_write.sql");

pub(super) const NAME: &str = "bare-endpoint";

#[derive(Debug, Deserialize)]
struct View {
    #[serde(rename = "visitor")]
    _visitor: String,
}

#[derive(Debug, Serialize)]
struct Counted {
    total_views: i64,
}

/// Serves until `shutdown`, then answers the pending requests, and returns.
///
/// # Errors
/// If it cannot listen on the address.
pub async fn serve(address: SocketAddr, pool: Pool, shutdown: CancellationToken) -> io::Result<()> {
    let router = Router::new()
        .route("/readyz", get(async || StatusCode::OK))
        .route("/v1/blogs/{id}/views", post(count))
        .with_state(pool);
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn count(
    State(pool): State<Pool>,
    Path(blog_id): Path<i64>,
    Json(_view): Json<View>,
) -> Result<Json<Counted>, StatusCode> {
    let client = pool.get().await.map_err(failed)?;
    let row = BARE_WRITE.query_opt(&client, &[&blog_id]).await.map_err(failed)?;
    row.map(|row| Json(Counted { total_views: row.get("total_views") })).ok_or(StatusCode::NOT_FOUND)
}

fn failed(_error: database::Error) -> StatusCode {
    StatusCode::SERVICE_UNAVAILABLE
}
