//! Blogs: what authors write and readers read.
//!
//! Each change is one transaction: the row, its address and tags, and the event that tells others of it, in
//! this order of locks: blog, tag, `blog_tag`, `blog_slug`, outbox, `idempotency_key`. A blog is never removed;
//! `deleted_at` says that it is gone, and the view `blogs.live_blog` is the one rule of what readers see.

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

/// A blog, with what readers did with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Blog {
    /// What lists show too.
    #[serde(flatten)]
    pub summary: BlogSummary,
    /// Markdown.
    pub body: String,
}

/// A blog without its body, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct BlogSummary {
    /// Its id.
    pub id: i64,
    /// Its address for people. Former ones redirect here. That of a draft says only its id; a title makes one when it is
    /// published.
    #[schema(example = "notes-on-the-analytical-engine")]
    pub slug: String,
    /// Its title.
    pub title: String,
    /// Its tags, in the order of their names.
    pub tags: Vec<String>,
    /// Whose it is.
    pub author: Account,
    /// Raised by every change of what its author decides; the `ETag` holds it.
    pub version: i32,
    /// When it was first saved.
    pub created_at: Timestamp,
    /// When its title, body or tags last changed.
    pub updated_at: Timestamp,
    /// When it was published; null for a draft.
    #[schema(required = true)]
    pub published_at: Option<Timestamp>,
    /// Views that were counted.
    pub total_views: i64,
    /// Accounts that like it.
    pub total_likes: i64,
    /// Times it was shared.
    pub total_shares: i64,
}
