//! Finds the blogs that an import has already created, by their source paths.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::draft::{SOURCE_PATH_EXPECTED, is_source_path};
use super::rows;
use crate::api::openapi::{AuthProblems, BodyProblems, CommonProblems};
use crate::auth::AnyPurpose;
use crate::extract::Json;
use crate::problem::{FieldError, Problem, ProblemBody, Result};
use crate::state::AppState;

const PATHS_MAX: usize = 1000;

/// The source paths to look up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct SourcePaths {
    /// At most 1000 paths of 1 to 1024 bytes each.
    #[schema(max_items = 1000, example = json!(["example.org/blog/notes.html"]))]
    paths: Vec<String>,
}

/// The blogs that exist for the given paths.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourceBlogs {
    /// One item for each path with a live blog, in the order of the paths.
    items: Vec<SourceBlog>,
}

/// A source path and its blog.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourceBlog {
    /// The source path.
    source_path: String,
    /// The blog's id.
    blog_id: i64,
}

/// Look up blogs by source path.
///
/// An import uses this to find the blogs that it has already created. Requires a token with the scope `import`.
#[utoipa::path(
    post, path = "/v1/source-paths", tag = "blogs", operation_id = "find_source_paths", request_body = SourcePaths,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The paths that have a live blog", body = SourceBlogs),
        (status = 403, description = "The token does not have the scope `import`", body = ProblemBody,
         content_type = "application/problem+json"),
        BodyProblems, AuthProblems, CommonProblems,
    )
)]
pub(super) async fn find(
    State(state): State<AppState>,
    AnyPurpose(signed): AnyPurpose,
    Json(SourcePaths { paths }): Json<SourcePaths>,
) -> Result<axum::Json<SourceBlogs>> {
    if !signed.may_import() {
        return Err(Problem::forbidden("this requires a token with the scope import"));
    }
    if paths.len() > PATHS_MAX {
        return Err(Problem::invalid(
            "paths",
            format!("must have at most {PATHS_MAX} entries; the request has {}", paths.len()),
        ));
    }
    let bad = paths.iter().enumerate().filter(|(_, path)| !is_source_path(path));
    let errors: Vec<_> =
        bad.map(|(index, _)| FieldError::new(format!("paths[{index}]"), SOURCE_PATH_EXPECTED)).collect();
    if !errors.is_empty() {
        return Err(Problem::invalid_many(errors));
    }
    let client = state.pool.get().await?;
    let found = rows::source_paths(&client, &paths).await?;
    let items = found.into_iter().map(|(source_path, blog_id)| SourceBlog { source_path, blog_id }).collect();
    Ok(axum::Json(SourceBlogs { items }))
}
