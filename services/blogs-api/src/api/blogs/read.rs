//! Reading: one blog, by id or slug, and lists of blogs.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, ETAG, LOCATION, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use deadpool_postgres::GenericClient;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::rows::{self, Filter};
use super::{Blog, BlogSummary, draft, etag, slug};
use crate::api::openapi::{AuthProblems, CommonProblems, ParameterProblems};
use crate::auth::Signed;
use crate::extract::{Path, Query};
use crate::page::{self, Cursor, RankCursor};
use crate::problem::{Problem, ProblemBody, Result};
use crate::state::AppState;

/// The parameters of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// The order; `newest` by default. `trending` orders by the popularity of the last day, as in the Recommendation API.
    #[param(value_type = Option<Sort>, inline)]
    pub(crate) sort: Option<String>,
    /// Only blogs with this tag.
    pub(crate) tag: Option<String>,
    /// Only blogs of this author: an account's id or handle.
    pub(crate) author: Option<String>,
    /// Items per page; 20 by default.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    pub(crate) limit: Option<String>,
    /// The `next_cursor` of the previous page.
    pub(crate) cursor: Option<String>,
}

/// The order of a list.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "documents the values; the parameter is parsed from text for a clear error")]
enum Sort {
    Newest,
    Trending,
}

/// A page of live blogs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlogPage {
    /// The blogs, without their bodies.
    pub(crate) items: Vec<BlogSummary>,
    /// The cursor of the next page; null on the last page.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
}

/// Show one blog.
///
/// Drafts are visible only to their author.
#[utoipa::path(
    get, path = "/v1/blogs/{id}", tag = "blogs", operation_id = "get_blog", security((), ("bearer" = [])),
    params(
        ("id" = i64, Path, description = "The blog"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the version that the client has"),
    ),
    responses(
        (status = 200, description = "The blog", body = Blog,
         headers(("ETag" = String, description = "The version of the content, without counters"))),
        (status = 304, description = "The client has the current version of the content; counters may have changed"),
        (status = 404, description = "The blog does not exist or is not visible to this reader", body = ProblemBody,
         content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
pub(super) async fn get(
    State(state): State<AppState>,
    signed: Option<Signed>,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Result<Response> {
    let client = state.pool.get().await?;
    let blog = rows::by_id(&client, id, signed.map(|signed| signed.account_id)).await?;
    conditional(blog.ok_or_else(not_found)?, &headers)
}

/// Show one blog by its slug.
///
/// A former slug redirects to the current one.
#[utoipa::path(
    get, path = "/v1/blogs/by-slug/{slug}", tag = "blogs", operation_id = "get_blog_by_slug",
    security((), ("bearer" = [])),
    params(
        ("slug" = String, Path, description = "The current or a former slug"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the version that the client has"),
    ),
    responses(
        (status = 200, description = "The blog", body = Blog,
         headers(("ETag" = String, description = "The version of the content, without counters"))),
        (status = 304, description = "The client has the current version of the content; counters may have changed"),
        (status = 308, description = "This is a former slug of the blog",
         headers(("Location" = String, description = "The blog at its current slug"))),
        (status = 404, description = "The blog does not exist or is not visible to this reader", body = ProblemBody,
         content_type = "application/problem+json"),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
pub(super) async fn get_by_slug(
    State(state): State<AppState>,
    signed: Option<Signed>,
    Path(asked): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let blog = by_slug(&state, &asked, signed.map(|signed| signed.account_id)).await?;
    if blog.summary.slug == asked {
        return conditional(blog, &headers);
    }
    let location = format!("/v1/blogs/by-slug/{}", blog.summary.slug);
    Ok((StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response())
}

/// The blog with this current or former slug.
///
/// # Errors
/// 404 when the reader can see no such blog.
pub(crate) async fn by_slug(state: &AppState, asked: &str, viewer: Option<i64>) -> Result<Blog> {
    if !slug::is_slug(asked) {
        return Err(not_found());
    }
    let client = state.pool.get().await?;
    rows::by_slug(&client, asked, viewer).await?.ok_or_else(not_found)
}

/// List live blogs, newest or most popular first.
#[utoipa::path(
    get, path = "/v1/blogs", tag = "blogs", operation_id = "list_blogs", security((), ("bearer" = [])),
    params(ListQuery),
    responses(
        (status = 200, description = "A page", body = BlogPage),
        ParameterProblems, AuthProblems, CommonProblems,
    )
)]
pub(super) async fn list(
    State(state): State<AppState>,
    _signed: Option<Signed>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<BlogPage>> {
    Ok(axum::Json(list_blogs(&state, query).await?))
}

/// Returns a page of live blogs.
///
/// # Errors
/// 400, naming the invalid parameter.
pub(crate) async fn list_blogs(state: &AppState, query: ListQuery) -> Result<BlogPage> {
    let ListQuery { sort, tag, author, limit, cursor } = query;
    let after = After::read(sort.as_deref(), cursor.as_deref())?;
    let limit = page::limit(limit.as_deref())?;
    let tag = tag.map(|text| read_tag(&text)).transpose()?;
    let author = author.map(Author::read).transpose()?;
    let client = state.pool.get().await?;
    let Some(filter) = filter(&client, author, tag).await? else {
        return Ok(BlogPage { items: Vec::new(), next_cursor: None });
    };
    let (ids, next_cursor): (Vec<i64>, _) = match after {
        After::Newest(after) => {
            let mut keys = rows::page(&client, &filter, after, limit + 1).await?;
            let next_cursor = cut(&mut keys, limit).map(Cursor::encode);
            (keys.iter().map(|key| key.id).collect(), next_cursor)
        }
        After::Trending(after) => {
            let mut keys = rows::trending_page(&client, &filter, after, limit + 1).await?;
            let next_cursor = cut(&mut keys, limit).map(RankCursor::encode);
            (keys.iter().map(|key| key.id).collect(), next_cursor)
        }
    };
    let mut items = rows::summaries(&client, &ids).await?;
    items.sort_by_key(|item| ids.iter().position(|id| *id == item.id));
    Ok(BlogPage { items, next_cursor })
}

/// Where a page begins, in the requested order.
enum After {
    Newest(Cursor),
    Trending(RankCursor),
}

impl After {
    fn read(sort: Option<&str>, cursor: Option<&str>) -> Result<Self> {
        match sort {
            None | Some("newest") => cursor.map_or(Ok(Cursor::START), Cursor::decode).map(Self::Newest),
            Some("trending") => cursor.map_or(Ok(RankCursor::START), RankCursor::decode).map(Self::Trending),
            Some(_) => Err(Problem::bad_parameter("sort", "must be newest or trending")),
        }
    }
}

/// Cuts a page to its length, and returns its last key if a further item exists.
fn cut<T: Copy>(keys: &mut Vec<T>, limit: i64) -> Option<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = keys.len() > limit;
    keys.truncate(limit);
    keys.last().filter(|_| has_more).copied()
}

/// 200 with the blog, or 304 when the client has this version.
fn conditional(blog: Blog, headers: &HeaderMap) -> Result<Response> {
    let version = blog.summary.version;
    // A draft is private to its author. Any cache may store a live blog, but must revalidate it before each use.
    let cache = if blog.summary.published_at.is_some() { "no-cache" } else { "private, no-store" };
    let fields = [
        (ETAG, etag::of(version)),
        (CACHE_CONTROL, HeaderValue::from_static(cache)),
        (VARY, HeaderValue::from_static("Authorization")),
    ];
    let is_known = etag::if_none_match(headers)?.is_some_and(|condition| condition.holds(version));
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, fields).into_response());
    }
    Ok((fields, axum::Json(blog)).into_response())
}

/// `None` when the account or the tag does not exist, so no blog can match.
async fn filter(
    client: &impl GenericClient,
    author: Option<Author>,
    tag: Option<String>,
) -> Result<Option<Filter>> {
    let mut filter = Filter::default();
    if let Some(author) = author {
        filter.author_id = match author {
            Author::Id(id) => Some(id),
            Author::Handle(handle) => rows::account_id(client, &handle).await?,
        };
        if filter.author_id.is_none() {
            return Ok(None);
        }
    }
    if let Some(tag) = tag {
        filter.tag_id = rows::tag_id(client, &tag).await?;
        if filter.tag_id.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(filter))
}

fn read_tag(text: &str) -> Result<String> {
    draft::tag(text).ok_or_else(|| Problem::bad_parameter("tag", "must have 1 to 40 letters or digits"))
}

/// The author to filter by.
enum Author {
    Id(i64),
    Handle(String),
}

impl Author {
    fn read(text: String) -> Result<Self> {
        if let Ok(id) = text.parse() {
            Ok(Self::Id(id))
        } else if crate::account::is_handle(&text) {
            Ok(Self::Handle(text))
        } else {
            Err(Problem::bad_parameter("author", "must be an account's id or handle"))
        }
    }
}

fn not_found() -> Problem {
    Problem::not_found("there is no such blog")
}
