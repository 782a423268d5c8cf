//! One blog, and the view that showing it is.

use axum::RequestExt;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Frame};
use super::lists::{self, Standing};
use super::session::Reader;
use super::{markdown, page, see};
use crate::api::blogs::{self, Blog};
use crate::api::engagement::{self, Caller};
use crate::extract::{Path, Query};
use crate::problem::Result;
use crate::state::AppState;

/// What a reader has just done, to be said above the blog.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Done {
    done: Option<String>,
}

/// A blog. A draft only for its author; a former address redirects to the present one.
pub(super) async fn blog(
    State(state): State<AppState>,
    reader: Reader,
    Path(slug): Path<String>,
    Query(done): Query<Done>,
    mut request: Request,
) -> Result<Response> {
    let blog = blogs::by_slug(&state, &slug, reader.id()).await?;
    if blog.summary.slug != slug {
        let address = format!("/b/{}", blog.summary.slug);
        return Ok((StatusCode::PERMANENT_REDIRECT, [("location", address)]).into_response());
    }
    let standing = lists::standing(&state, &reader, Some(blog.summary.id), blog.summary.author.id).await?;
    let headers = request.headers();
    let is_view =
        request.method() == Method::GET && done.done.is_none() && is_document(headers) && !is_ahead(headers);
    // Whoever has sent too many views sees the page all the same.
    if is_view
        && blog.summary.published_at.is_some()
        && let Ok(caller) = request.extract_parts_with_state(&state).await
    {
        count(&state, blog.summary.id, caller);
    }
    let main = article(&blog, &reader, &standing, done.done.as_deref());
    Ok(page(StatusCode::OK, Frame { title: &blog.summary.title, reader: &reader, here: "" }, main))
}

/// Passes the view on as the API does, beside the answer: a page does not wait for it, and is shown without.
fn count(state: &AppState, blog_id: i64, caller: Caller) {
    let accepting = state.clone();
    state.tasks.spawn(async move {
        if let Err(problem) = engagement::view(&accepting, &caller, blog_id, None).await {
            tracing::debug!(blog_id, reason = problem.detail(), "a view was not taken");
        }
    });
}

/// Is the page fetched to be shown? A browser says so. Without this, an `<img>` on another site would count views by each of
/// that site's readers. A client that does not say it is no such browser.
fn is_document(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_none_or(|destination| destination == "document")
}

/// A browser that only prepares for what its user may do next.
fn is_ahead(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose"]
        .iter()
        .any(|name| headers.get(*name).is_some_and(|value| value.as_bytes().starts_with(b"prefetch")))
}

fn article(blog: &Blog, reader: &Reader, standing: &Standing, done: Option<&str>) -> Markup {
    let summary = &blog.summary;
    let is_own = reader.id() == Some(summary.author.id);
    html! {
        @if let Some(sentence) = done.and_then(said) { div.notice role="status" { p { (sentence) } } }
        article data-blog=(summary.id) {
            header {
                h1 { (summary.title) }
                p.meta { (layout::byline(summary)) (layout::tags(summary)) }
            }
            div.prose { (markdown::render(&blog.body)) }
        }
        @if summary.published_at.is_some() {
            section.engage aria-label="What readers did" {
                p.meta { (layout::numbers(summary)) }
                div.actions {
                    (like_button(&summary.slug, standing))
                    (lists::follow_button(reader, summary.author.id, &summary.author.handle, standing))
                    (share_form(&summary.slug))
                }
            }
        }
        @if is_own { (own(blog)) }
    }
}

/// Its words stand for what the script swaps: see `assets/pages.js`.
fn like_button(slug: &str, standing: &Standing) -> Markup {
    let (verb, name) = if standing.likes { ("unlike", "Liked") } else { ("like", "Like") };
    html! {
        form.inline.like method="post" action={"/b/" (slug) "/" (verb)} {
            button type="submit" aria-pressed=(standing.likes) { (name) }
        }
    }
}

fn share_form(slug: &str) -> Markup {
    html! {
        details.share {
            summary { "Share" }
            form method="post" action={"/b/" (slug) "/share"} {
                fieldset {
                    legend { "How do you pass it on?" }
                    @for (channel, name) in [("link", "As a link"), ("email", "By e-mail"), ("message", "In a message"),
                        ("social", "On a network"), ("other", "Otherwise")] {
                        button type="submit" name="channel" value=(channel) { (name) }
                    }
                }
            }
        }
    }
}

fn own(blog: &Blog) -> Markup {
    let slug = &blog.summary.slug;
    let (verb, name) =
        if blog.summary.published_at.is_some() { ("unpublish", "Take back") } else { ("publish", "Publish") };
    html! {
        section.own aria-label="Your blog" {
            a.button href={"/b/" (slug) "/edit"} { "Edit" }
            form.inline method="post" action={"/b/" (slug) "/" (verb)} { button type="submit" { (name) } }
            details {
                summary { "Delete" }
                form method="post" action={"/b/" (slug) "/delete"} {
                    p { "Nobody will see it any more, and that cannot be taken back." }
                    button.bad type="submit" { "Delete for good" }
                }
            }
        }
    }
}

/// Only words of ours are shown.
fn said(done: &str) -> Option<&'static str> {
    Some(match done {
        "liked" => "Your like has been taken; the count follows in a moment.",
        "unliked" => "Your like has been taken back; the count follows in a moment.",
        "shared" => "Thank you for passing it on; the count follows in a moment.",
        "saved" => "Saved.",
        "published" => "Published: your followers are being told.",
        "unpublished" => "Taken back: only you see it.",
        _ => return None,
    })
}

/// Back to a blog, with what was done.
pub(super) fn back(slug: &str, done: &str) -> Response {
    see(&format!("/b/{slug}?done={done}"))
}
