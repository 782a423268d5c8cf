//! Blogs: what authors write and readers read.
//!
//! Each change is one transaction: the row, its address and tags, and the event that announces it. Locks are taken in
//! this order: blog, tag, `blog_tag`, `blog_slug`, outbox, `idempotency_key`. A blog's row is never deleted;
//! `deleted_at` marks it as deleted. The view `blogs.live_blog` is the single definition of what readers can see.

mod draft;
mod etag;
mod read;
mod rows;
mod slug;
mod source_paths;
mod write;

pub(crate) use draft::{BlogChange, NewBlog};
pub(crate) use read::{BlogPage, ListQuery, by_slug, list_blogs};
pub(crate) use write::{Made, change_blog, create_blog, delete_blog, publish_blog, unpublish_blog};

use axum::extract::DefaultBodyLimit;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::account::Account;
use crate::limits;
use crate::state::AppState;

/// The endpoints of blogs.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    let written = OpenApiRouter::new()
        .routes(routes!(write::create, read::list))
        .routes(routes!(read::get, write::change, write::delete))
        .layer(DefaultBodyLimit::max(state.settings.bodies.blog_bytes_max));
    written
        .routes(routes!(read::get_by_slug))
        .routes(routes!(write::publish))
        .routes(routes!(write::unpublish))
        .routes(routes!(source_paths::find))
        .layer(axum::middleware::from_fn_with_state(state.clone(), limits::requests::<AppState>))
}

/// A blog with its body and its engagement counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Blog {
    /// The fields that lists show too.
    #[serde(flatten)]
    pub summary: BlogSummary,
    /// The text, in Markdown.
    pub body: String,
}

/// A blog without its body, as in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct BlogSummary {
    /// The blog's id.
    pub id: i64,
    /// The blog's address in URLs for readers. Former addresses redirect to it. A draft's slug contains only its id;
    /// publishing makes one from the title.
    #[schema(example = "notes-on-the-analytical-engine")]
    pub slug: String,
    /// The title.
    pub title: String,
    /// The tags, in alphabetical order.
    pub tags: Vec<String>,
    /// The author.
    pub author: Account,
    /// Raised by every change that the author makes; the `ETag` contains it.
    pub version: i32,
    /// When the blog was first saved.
    pub created_at: Timestamp,
    /// When the title, the body or the tags last changed.
    pub updated_at: Timestamp,
    /// When the blog was published; null for a draft.
    #[schema(required = true)]
    pub published_at: Option<Timestamp>,
    /// Views counted so far.
    pub total_views: i64,
    /// Accounts that like the blog.
    pub total_likes: i64,
    /// Shares counted so far.
    pub total_shares: i64,
}
