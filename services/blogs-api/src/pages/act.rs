//! The reader's buttons: like, share, follow. Each calls the same function as the corresponding API request. For likes
//! and shares the `Caller` extractor comes first, so that the rate limits reject excess requests before anything is
//! looked up.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::form::Form;
use super::session::Reader;
use super::{account, lists, see, show};
use crate::api::blogs;
use crate::api::engagement::{self, Caller};
use crate::api::follows;
use crate::auth::Signed;
use crate::extract::Path;
use crate::problem::Result;
use crate::state::AppState;

/// Likes a blog.
pub(super) async fn like(
    State(state): State<AppState>,
    caller: Caller,
    reader: Reader,
    Path(slug): Path<String>,
) -> Result<Response> {
    let id = blog_id(&state, &reader, &slug).await?;
    account(&reader)?;
    engagement::like(&state, &caller, id).await?;
    Ok(show::back(&slug, "liked"))
}

/// Removes a like.
pub(super) async fn unlike(
    State(state): State<AppState>,
    caller: Caller,
    reader: Reader,
    Path(slug): Path<String>,
) -> Result<Response> {
    let id = blog_id(&state, &reader, &slug).await?;
    account(&reader)?;
    engagement::unlike(&state, &caller, id).await?;
    Ok(show::back(&slug, "unliked"))
}

/// The channel of a share.
#[derive(Debug, Deserialize)]
pub(super) struct ShareForm {
    channel: String,
}

/// Records a share of a blog.
pub(super) async fn share(
    State(state): State<AppState>,
    caller: Caller,
    reader: Reader,
    Path(slug): Path<String>,
    Form(ShareForm { channel }): Form<ShareForm>,
) -> Result<Response> {
    let id = blog_id(&state, &reader, &slug).await?;
    engagement::share(&state, &caller, id, &channel).await?;
    Ok(show::back(&slug, "shared"))
}

/// Whether to follow or unfollow an author.
#[derive(Debug, Deserialize)]
pub(super) struct FollowForm {
    follow: String,
}

/// Follows or unfollows an author.
pub(super) async fn follow(
    State(state): State<AppState>,
    signed: Signed,
    Path(handle): Path<String>,
    Form(FollowForm { follow }): Form<FollowForm>,
) -> Result<Response> {
    let id = lists::account_id(&state, &handle).await?;
    if follow == "yes" {
        follows::follow_account(&state, &signed, id).await?;
    } else {
        follows::unfollow_account(&state, &signed, id).await?;
    }
    Ok(see(&format!("/a/{handle}")))
}

async fn blog_id(state: &AppState, reader: &Reader, slug: &str) -> Result<i64> {
    Ok(blogs::by_slug(state, slug, reader.id()).await?.summary.id)
}
