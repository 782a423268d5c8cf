//! Lists of blogs and of accounts.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use database::{Statement, statement};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Frame};
use super::session::Reader;
use super::{account, page};
use crate::account::is_handle;
use crate::api::blogs::{self, BlogPage, ListQuery};
use crate::api::follows::{self, AccountPage, PageQuery};
use crate::extract::{Path, Query};
use crate::page::IdCursor;
use crate::problem::{Problem, Result};
use crate::state::AppState;

const ACCOUNT_BY_HANDLE: Statement = statement!("account_by_handle.sql");
const BLOG_PAGE_OWN: Statement = statement!("blog_page_own.sql");
const FOLLOW_COUNTS: Statement = statement!("follow_counts.sql");
const READER_STANDING: Statement = statement!("reader_standing.sql");

/// Items per page of the reader's own blogs.
const OWN_MAX: usize = 50;
/// The available orders: the API's name and the label.
const ORDERS: &[(&str, &str)] = &[("newest", "Newest"), ("trending", "Trending")];

/// Live blogs in the chosen order, optionally with a tag or by an author.
pub(super) async fn home(
    State(state): State<AppState>,
    reader: Reader,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    let (tag, sort) = (query.tag.clone(), query.sort.clone());
    let of_author = query.author.clone();
    let BlogPage { items, next_cursor } = blogs::list_blogs(&state, query).await?;
    let order = ORDERS.iter().find(|(order, _)| Some(*order) == sort.as_deref()).or(ORDERS.first());
    let heading = match (&tag, &of_author) {
        (Some(tag), _) => format!("Blogs about {tag}"),
        (None, Some(author)) => format!("Blogs by {author}"),
        (None, None) => format!("{} blogs", order.map_or("All", |(_, name)| name)),
    };
    let mut address = url::form_urlencoded::Serializer::new(String::from("/?"));
    for (name, value) in [("tag", &tag), ("author", &of_author), ("sort", &sort)] {
        if let Some(value) = value {
            address.append_pair(name, value);
        }
    }
    let main = html! {
        h1 { (heading) }
        @if ORDERS.len() > 1 && tag.is_none() && of_author.is_none() {
            nav.orders aria-label="Order" {
                @for one in ORDERS { a href={"/?sort=" (one.0)} aria-current=[(Some(one) == order).then_some("true")] { (one.1) } }
            }
        }
        @if items.is_empty() { p.quiet { "Nothing yet." } }
        (layout::list(&items))
        (layout::more(address.finish().trim_end_matches('?'), next_cursor.as_deref()))
    };
    Ok(page(StatusCode::OK, Frame { title: &heading, reader: &reader, here: "/" }, main))
}

/// An author's page, with their blogs.
pub(super) async fn author(
    State(state): State<AppState>,
    reader: Reader,
    Path(handle): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Response> {
    let id = account_id(&state, &handle).await?;
    let list = ListQuery {
        author: Some(id.to_string()),
        limit: query.limit,
        cursor: query.cursor,
        ..ListQuery::default()
    };
    let standing = standing(&state, &reader, None, id).await?;
    let counts = {
        let client = state.pool.get().await?;
        FOLLOW_COUNTS.query_opt(&client, &[&id]).await?.ok_or_else(no_such_account)?
    };
    let BlogPage { items, next_cursor } = blogs::list_blogs(&state, list).await?;
    let address = format!("/a/{handle}");
    let main = html! {
        h1 { (handle) }
        p.meta {
            a href={(address) "/followers"} { (layout::counted(counts.get("followers"), "follower")) } " · "
            a href={(address) "/following"} { "follows " (layout::counted(counts.get("following"), "author")) }
        }
        (follow_button(&reader, id, &handle, &standing))
        @if items.is_empty() { p.quiet { "No blogs yet." } }
        (layout::list(&items))
        (layout::more(&address, next_cursor.as_deref()))
    };
    Ok(page(StatusCode::OK, Frame { title: &handle, reader: &reader, here: "" }, main))
}

/// An author's followers.
pub(super) async fn followers(
    State(state): State<AppState>,
    reader: Reader,
    Path(handle): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Response> {
    let id = account_id(&state, &handle).await?;
    let list = follows::list_followers(&state, id, &query).await?;
    Ok(accounts(&reader, &format!("Followers of {handle}"), &format!("/a/{handle}/followers"), &list))
}

/// The accounts that an account follows.
pub(super) async fn following(
    State(state): State<AppState>,
    reader: Reader,
    Path(handle): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Response> {
    let id = account_id(&state, &handle).await?;
    let list = follows::list_following(&state, id, &query).await?;
    Ok(accounts(
        &reader,
        &format!("Accounts that {handle} follows"),
        &format!("/a/{handle}/following"),
        &list,
    ))
}

/// The start of a page of the reader's own blogs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnQuery {
    cursor: Option<String>,
}

/// The reader's own blogs, including drafts.
pub(super) async fn mine(
    State(state): State<AppState>,
    reader: Reader,
    Query(query): Query<OwnQuery>,
) -> Result<Response> {
    let author = account(&reader)?.id;
    let IdCursor(before) = query.cursor.as_deref().map_or(Ok(IdCursor(i64::MAX)), IdCursor::decode)?;
    let client = state.pool.get().await?;
    let limit = i64::try_from(OWN_MAX + 1).unwrap_or(i64::MAX);
    let rows = BLOG_PAGE_OWN.query(&client, &[&author, &before, &limit]).await?;
    let last = rows.iter().take(OWN_MAX).next_back().filter(|_| rows.len() > OWN_MAX);
    let cursor = last.map(|row| IdCursor(row.get("id")).encode());
    let main = html! {
        h1 { "My blogs" }
        @if rows.is_empty() { p.quiet { "Nothing yet. " a href="/write" { "Write something" } "." } }
        ol.blogs {
            @for row in rows.iter().take(OWN_MAX) {
                li {
                    h2 { a href={"/b/" (row.get::<_, &str>("slug"))} { (row.get::<_, &str>("title")) } }
                    p.meta {
                        @if row.get("is_taken_down") { span.state { "taken down" } " · " }
                        @match row.get::<_, Option<jiff::Timestamp>>("published_at") {
                            Some(time) => { "published " (layout::day(time)) }
                            None => { span.state { "draft" } " · changed " (layout::day(row.get("updated_at"))) }
                        }
                        " · " a href={"/b/" (row.get::<_, &str>("slug")) "/edit"} { "Edit" }
                    }
                }
            }
        }
        (layout::more("/mine", cursor.as_deref()))
        p.quiet { a href="/account" { "Your account" } }
    };
    Ok(page(StatusCode::OK, Frame { title: "My blogs", reader: &reader, here: "/mine" }, main))
}

/// A reader's relation to a blog and its author.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) likes: bool,
    pub(super) follows: bool,
}

/// Looks up the relation; nothing is known about a reader who is not signed in.
pub(super) async fn standing(
    state: &AppState,
    reader: &Reader,
    blog_id: Option<i64>,
    author_id: i64,
) -> Result<Standing> {
    let Some(id) = reader.id() else { return Ok(Standing::default()) };
    let client = state.pool.get().await?;
    let row = READER_STANDING.query_one(&client, &[&id, &blog_id, &author_id]).await?;
    Ok(Standing { likes: row.get("likes"), follows: row.get("follows") })
}

/// The button to follow or unfollow an author; none on the reader's own page.
pub(super) fn follow_button(reader: &Reader, author_id: i64, handle: &str, standing: &Standing) -> Markup {
    let (value, name) = if standing.follows { ("no", "Unfollow") } else { ("yes", "Follow") };
    html! {
        @if reader.id() != Some(author_id) {
            form.inline method="post" action={"/a/" (handle) "/follow"} {
                button type="submit" name="follow" value=(value) { (name) span.visually-hidden { " " (handle) } }
            }
        }
    }
}

/// The id of an active account.
pub(super) async fn account_id(state: &AppState, handle: &str) -> Result<i64> {
    if !is_handle(handle) {
        return Err(no_such_account());
    }
    let client = state.pool.get().await?;
    let row = ACCOUNT_BY_HANDLE.query_opt(&client, &[&handle]).await?;
    row.map(|row| row.get("id")).ok_or_else(no_such_account)
}

fn accounts(reader: &Reader, heading: &str, address: &str, list: &AccountPage) -> Response {
    let main = html! {
        h1 { (heading) }
        p.meta { (layout::counted(list.total, "account")) }
        ul.accounts { @for account in &list.items { li { a href={"/a/" (account.handle)} { (account.handle) } } } }
        (layout::more(address, list.next_cursor.as_deref()))
    };
    page(StatusCode::OK, Frame { title: heading, reader, here: "" }, main)
}

fn no_such_account() -> Problem {
    Problem::not_found("there is no such account")
}
