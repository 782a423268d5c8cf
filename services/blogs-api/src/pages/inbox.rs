//! The inbox: new blogs of the authors whom the reader follows.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::html;

use super::layout::{self, Frame};
use super::session::Reader;
use super::{page, see};
use crate::api::notifications::{self, Inbox, InboxQuery, Reading};
use crate::auth::Signed;
use crate::extract::Query;
use crate::problem::Result;
use crate::state::AppState;

/// Shows the reader's notifications, newest first.
pub(super) async fn show(
    State(state): State<AppState>,
    signed: Signed,
    reader: Reader,
    Query(query): Query<InboxQuery>,
) -> Result<Response> {
    let Inbox { items, next_cursor, unread } =
        notifications::list_notifications(&state, signed.account_id, &query).await?;
    let main = html! {
        h1 { "Inbox" }
        @if items.is_empty() { p.quiet { "Nothing here yet. Follow an author to be notified of their new blogs." } }
        @if unread > 0 {
            form.inline method="post" action="/inbox" { button type="submit" { "Mark all as read" } }
        }
        ol.blogs {
            @for item in &items {
                li.unread[item.read_at.is_none()] {
                    h2 { a href={"/b/" (item.slug)} { (item.title) } }
                    p.meta {
                        @if item.read_at.is_none() { span.state { "new" } " · " }
                        a href={"/a/" (item.author.handle)} { (item.author.handle) } " · " (layout::day(item.published_at))
                    }
                }
            }
        }
        (layout::more("/inbox", next_cursor.as_deref()))
    };
    Ok(page(StatusCode::OK, Frame { title: "Inbox", reader: &reader, here: "/inbox" }, main))
}

/// Marks all notifications as read.
pub(super) async fn read_all(State(state): State<AppState>, signed: Signed) -> Result<Response> {
    let everything = Reading { blog_ids: None, all: Some(true) };
    notifications::read_notifications(&state, signed.account_id, everything).await?;
    Ok(see("/inbox"))
}
