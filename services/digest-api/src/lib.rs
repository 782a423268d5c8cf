//! The Digest API: the blogs that followed authors published in the last seven days, each with its engagement. One
//! statement reads the tables of three owners, under a role that cannot write. It sums whole hours, as the statistics of the
//! Blogs API do.

use std::net::SocketAddr;

use anyhow::Result;
use axum::extract::State;
use axum::{Extension, Json};
use database::{Statement, statement};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use runtime::service::{Process, Statements, UpContext};
use runtime::settings::{Defaults, Loader};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::api::{Api, ApiSettings, BOUNDS};
use web::openapi::{AuthProblems, CommonProblems};
use web::problem::Problem;
use web::tokens::Signed;

static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
const DIGEST: Statement = statement!("digest.sql");
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What the followed authors published.
#[derive(Serialize, ToSchema)]
struct Digest {
    /// The start of the period: seven days ago, rounded down to a full hour.
    from: Timestamp,
    /// At most 100 blogs, newest first.
    items: Vec<Item>,
}

/// A blog and its engagement since `from`.
#[derive(Serialize, ToSchema)]
struct Item {
    id: i64,
    title: String,
    author: String,
    published_at: Timestamp,
    views: i64,
    likes: i64,
    shares: i64,
}

/// List what the authors that the account follows published in the last seven days.
#[utoipa::path(get, path = "/v1/digest", tag = "digest", security(("bearer" = [])),
    responses((status = 200, description = "The digest", body = Digest), AuthProblems, CommonProblems))]
async fn digest(
    State(pool): State<database::Pool>,
    Extension(listed): Extension<Counter>,
    signed: Signed,
) -> Result<Json<Digest>, Problem> {
    let hour = TimestampRound::new().smallest(Unit::Hour).mode(RoundMode::Trunc);
    let from = (Timestamp::now() - WEEK).round(hour).map_err(|error| Problem::internal(&error))?;
    let rows = DIGEST.query(&pool.get().await?, &[&signed.account_id, &from]).await?;
    let item = |row: &tokio_postgres::Row| Item {
        id: row.get("id"),
        title: row.get("title"),
        author: row.get("author"),
        published_at: row.get("published_at"),
        views: row.get("views"),
        likes: row.get("likes"),
        shares: row.get("shares"),
    };
    listed.inc_by(rows.len() as u64);
    Ok(Json(Digest { from, items: rows.iter().map(item).collect() }))
}

/// The service, ready to run.
pub struct Service(Api);

impl runtime::service::Service for Service {
    type Settings = ApiSettings;

    const NAME: &'static str = "digest-api";
    const ABOUT: &'static str = "A weekly digest for followers; HTTP on 8083, operations endpoints on 9083";
    const ROLE: &'static str = "digest_api";
    const USES_RABBITMQ: bool = false;
    const DEFAULTS: Defaults = Defaults::new(include_str!("../../../config/digest-api.toml"), BOUNDS);
    const STATEMENTS: &'static [Statements] = &[Statements::of(&SQL), Statements::of(&web::SQL)];
    const PORT: Option<u16> = Some(3);

    fn process(settings: &ApiSettings) -> Process<'_> {
        settings.process()
    }

    fn validate(settings: &ApiSettings) -> Result<()> {
        Ok(settings.validate()?)
    }

    async fn start(settings: ApiSettings) -> Result<Self> {
        let (mut registry, listed): (_, Counter) = (Registry::default(), Counter::default());
        registry.register("digest_blogs", "Blogs listed in digests", listed.clone());
        let routes = OpenApiRouter::new().routes(routes!(digest)).layer(Extension(listed));
        Ok(Self(
            Api::start(&settings, Self::NAME, ("Commonplace Digest API", Self::ABOUT), registry, routes)
                .await?,
        ))
    }

    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn operations_address(&self) -> SocketAddr {
        self.0.operations_address()
    }

    async fn run(self, shutdown: CancellationToken) -> Result<()> {
        Ok(self.0.run(shutdown).await?)
    }

    fn settings_in_up(loader: Loader, up: &UpContext<'_>) -> Loader {
        web::api::settings_in_up(loader, up)
    }

    fn links(url: &str) -> Vec<(&'static str, String)> {
        vec![("Digest API", format!("{url}/v1/digest  {url}/docs"))]
    }
}
