//! The least that a direct write can be: an endpoint that answers when one `update` has added 1 to a counter.
//!
//! It has none of the invariants: a retry counts twice, so does a visitor who reloads, a deleted blog goes on counting,
//! there is no series, and nothing can be compared with anything. Nobody should build it; it is here as the lower bound
//! of what a direct write costs. It runs in a process of its own, with as many connections to the database as the Blogs
//! API has, under the same role.

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

/// Serves until `shutdown`, then answers what has come, and returns.
///
/// # Errors
/// The address is not to be had.
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
