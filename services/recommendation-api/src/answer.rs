//! The three queries and their answers: pages of blogs, best first, each with the reason it is listed, and the age of
//! the data.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, State};
use database::Pool;
use deadpool_postgres::Object;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::api::ApiState;
use web::extract::{Path, Query};
use web::openapi::{AuthProblems, CommonProblems, ParameterProblems};
use web::page::{self, RankCursor};
use web::problem::{Problem, ProblemBody, Result};
use web::tokens::{Signed, Tokens};

use crate::freshness::{AsOf, Freshness};
use crate::rows::{self, Place};

/// The state that every handler shares.
#[derive(Clone, FromRef)]
pub(crate) struct AppState {
    /// The pool for reads: the replica's, if one is configured.
    pool: Pool,
    freshness: Freshness,
    tokens: Arc<Tokens>,
}

impl AppState {
    pub(crate) fn new(api: &ApiState, freshness: Freshness) -> Self {
        Self { pool: api.pool.clone(), freshness, tokens: Arc::clone(&api.tokens) }
    }
}

/// The endpoints.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(recommendations)).routes(routes!(similar)).routes(routes!(trending))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Items per page; 20 by default.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TrendingQuery {
    /// The half-life of engagement: `day` or `week`; `day` by default.
    #[param(value_type = Option<Window>, inline)]
    window: Option<String>,
    /// Items per page; 20 by default.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// The `next_cursor` of the previous page.
    cursor: Option<String>,
}

#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "documents the values; the parameter is parsed from text for a clear error")]
enum Window {
    Day,
    Week,
}

/// A page of blogs, best first.
#[derive(Debug, Serialize, ToSchema)]
struct AnswerPage {
    items: Vec<Item>,
    /// The cursor of the next page; null on the last page.
    #[schema(required = true)]
    next_cursor: Option<String>,
    /// The answer includes all changes up to this time; null before the first computation.
    #[schema(required = true)]
    as_of: Option<Timestamp>,
    /// `true` if the data is older than it should be: the replica lags, or learning has stopped.
    stale: bool,
}

/// A recommended blog and the reason.
#[derive(Debug, Serialize, ToSchema)]
struct Item {
    blog: BlogCard,
    /// The value that orders this page. Scores of different answers are not comparable. In `trending` it is the current
    /// popularity.
    score: f64,
    reason: Reason,
}

/// The reason why a blog is recommended.
#[derive(Debug, Serialize, ToSchema)]
struct Reason {
    /// `liked_together`: accounts that like `blog_id` (or the blog in the request) like it too. `followed`: recently
    /// published by an account that the reader follows. `tag`: popular, and shares a tag. `popular`: popular.
    #[schema(example = "liked_together")]
    kind: String,
    /// The liked blog that it is most similar to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    blog_id: Option<i64>,
}

/// The card of a blog; the Blogs API has the full blog.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct BlogCard {
    id: i64,
    slug: String,
    title: String,
    author: Author,
    published_at: Timestamp,
}

/// The author of a blog.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Author {
    id: i64,
    handle: String,
}

/// Recommend blogs to the signed-in account.
///
/// The recommendations are based on the blogs that the account likes, the accounts that it follows, tags, and
/// popularity. They never include the account's own blogs or blogs that it already likes.
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

/// List blogs similar to a blog.
///
/// These are blogs that the same accounts like. If there are too few of them, popular blogs that share a tag follow.
#[utoipa::path(
    get, path = "/v1/blogs/{id}/similar", tag = "recommendations", operation_id = "get_similar",
    security((), ("bearer" = [])), params(("id" = i64, Path, description = "The blog"), PageQuery),
    responses(
        (status = 200, description = "A page", body = AnswerPage),
        (status = 404, description = "The blog does not exist or is not visible to readers", body = ProblemBody,
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

/// List the most popular blogs.
///
/// A view is worth 1, a like 4 and a share 8. The worth of each halves with every half-life that has passed (a day or a
/// week).
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

/// Builds the page from these entries; the statement was asked for one more than `limit`. Blogs that have become invisible
/// since are left out.
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
