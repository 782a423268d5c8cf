//! The three questions, and their answers: pages of blogs, best first, each with why it is there, and with how old that is.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::middleware::from_fn_with_state;
use database::Pool;
use deadpool_postgres::Object;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::client_address::TrustedProxies;
use web::extract::{Path, Query};
use web::limits::{self, Limits};
use web::openapi::{AuthProblems, CommonProblems, ParameterProblems};
use web::page::{self, RankCursor};
use web::problem::{Problem, ProblemBody, Result};
use web::tokens::{Signed, Tokens};

use crate::freshness::{AsOf, Freshness};
use crate::rows::{self, Place};

/// What every handler can reach.
#[derive(Clone, FromRef)]
pub(crate) struct AppState {
    /// Where answers are read: the replica, if there is one.
    pub(crate) pool: Pool,
    pub(crate) freshness: Freshness,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) limits: Limits,
    pub(crate) trusted_proxies: TrustedProxies,
}

/// The endpoints.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(recommendations))
        .routes(routes!(similar))
        .routes(routes!(trending))
        .layer(from_fn_with_state(state.clone(), limits::requests::<AppState>))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Items in the page, 20 if it is not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TrendingQuery {
    /// The time after which engagement counts half; a day if it is not given.
    #[param(value_type = Option<Window>, inline)]
    window: Option<String>,
    /// Items in the page, 20 if it is not given.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it stands in the document; the parameter is read as text, for a clear refusal")]
enum Window {
    Day,
    Week,
}

/// A page of blogs, best first.
#[derive(Debug, Serialize, ToSchema)]
struct AnswerPage {
    items: Vec<Item>,
    /// Where the next page begins; null on the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
    /// Everything up to this moment is in it; null while nothing has been made yet.
    #[schema(required = true)]
    as_of: Option<Timestamp>,
    /// It is older than it should be: the replica lags, or nobody learns.
    stale: bool,
}

/// One blog, and why it is there.
#[derive(Debug, Serialize, ToSchema)]
struct Item {
    blog: BlogCard,
    /// What the order goes by; of one answer, not to be compared with others. In `trending` it is the popularity now.
    score: f64,
    reason: Reason,
}

/// Why a blog is in an answer.
#[derive(Debug, Serialize, ToSchema)]
struct Reason {
    /// `liked_together`: who likes `blog_id` (or the blog asked for) likes it, too. `followed`: new, of somebody whom the
    /// account follows. `tag`: popular, with a tag in common. `popular`: popular.
    #[schema(example = "liked_together")]
    kind: String,
    /// The liked blog that it is nearest to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    blog_id: Option<i64>,
}

/// What is shown of a blog; the Blogs API has the rest.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct BlogCard {
    id: i64,
    slug: String,
    title: String,
    author: Author,
    published_at: Timestamp,
}

/// Whose a blog is.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Author {
    id: i64,
    handle: String,
}

/// What the signed-in account may like: by what it likes, whom it follows, tags, and what is popular. Never its own blogs, nor
/// what it likes already.
#[utoipa::path(
    get, path = "/v1/recommendations", tag = "recommendations", operation_id = "get_recommendations",
    security(("bearer" = [])), params(PageQuery),
    responses(
        (status = 200, description = "A page", body = AnswerPage),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
async fn recommendations(
    State(state): State<AppState>,
    signed: Signed,
    Query(query): Query<PageQuery>,
) -> Result<Json<AnswerPage>> {
    let (limit, after) = read(query.limit.as_deref(), query.cursor.as_deref())?;
    let client = state.pool.get().await?;
    let places = rows::recommendations(&client, signed.account_id, after, limit + 1).await?;
    answer(&client, places, limit, state.freshness.of_learnt()).await
}

/// What is liked by whoever likes this blog; filled up with popular blogs that share a tag.
#[utoipa::path(
    get, path = "/v1/blogs/{id}/similar", tag = "recommendations", operation_id = "get_similar",
    security((), ("bearer" = [])), params(("id" = i64, Path, description = "The blog"), PageQuery),
    responses(
        (status = 200, description = "A page", body = AnswerPage),
        (status = 404, description = "There is no such blog, or readers cannot see it", body = ProblemBody,
         content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
async fn similar(
    State(state): State<AppState>,
    _signed: Option<Signed>,
    Path(id): Path<i64>,
    Query(query): Query<PageQuery>,
) -> Result<Json<AnswerPage>> {
    let (limit, after) = read(query.limit.as_deref(), query.cursor.as_deref())?;
    let client = state.pool.get().await?;
    if !rows::is_live(&client, id).await? {
        return Err(Problem::not_found("there is no such blog"));
    }
    let places = rows::similar(&client, id, after, limit + 1).await?;
    answer(&client, places, limit, state.freshness.of_learnt()).await
}

/// What is popular now, most popular first. A view is worth 1, a like 4 and a share 8, and each window that has passed since
/// halves it.
#[utoipa::path(
    get, path = "/v1/trending", tag = "recommendations", operation_id = "get_trending",
    security((), ("bearer" = [])), params(TrendingQuery),
    responses(
        (status = 200, description = "A page", body = AnswerPage),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
async fn trending(
    State(state): State<AppState>,
    _signed: Option<Signed>,
    Query(query): Query<TrendingQuery>,
) -> Result<Json<AnswerPage>> {
    let (limit, after) = read(query.limit.as_deref(), query.cursor.as_deref())?;
    let span = match query.window.as_deref() {
        None | Some("day") => "day",
        Some("week") => "week",
        Some(_) => return Err(Problem::bad_parameter("window", "must be day or week")),
    };
    let client = state.pool.get().await?;
    let places = rows::trending(&client, span, after, limit + 1).await?;
    answer(&client, places, limit, state.freshness.of_popular()).await
}

fn read(limit: Option<&str>, cursor: Option<&str>) -> Result<(i64, RankCursor)> {
    Ok((page::limit(limit)?, cursor.map_or(Ok(RankCursor::START), RankCursor::decode)?))
}

/// The page of these places, of which one more than `limit` was asked for. What has gone from sight in between is left out.
async fn answer(client: &Object, mut places: Vec<Place>, limit: i64, age: AsOf) -> Result<Json<AnswerPage>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = places.len() > limit;
    places.truncate(limit);
    let next_cursor = places.last().filter(|_| has_more);
    let next_cursor = next_cursor.map(|last| RankCursor { rank: last.rank, id: last.blog_id }.encode());
    let ids: Vec<i64> = places.iter().map(|place| place.blog_id).collect();
    let cards = rows::cards(client, &ids).await?;
    let mut cards: HashMap<i64, rows::Card> = cards.into_iter().map(|card| (card.id, card)).collect();
    let items = places
        .into_iter()
        .filter_map(|place| {
            let card = cards.remove(&place.blog_id)?;
            let author = Author { id: card.author_id, handle: card.author_handle };
            let published_at = card.published_at;
            let blog = BlogCard { id: card.id, slug: card.slug, title: card.title, author, published_at };
            let reason = Reason { kind: place.reason, blog_id: place.because_of };
            Some(Item { blog, score: place.score, reason })
        })
        .collect();
    Ok(Json(AnswerPage { items, next_cursor, as_of: age.as_of, stale: age.stale }))
}
