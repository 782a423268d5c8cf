//! The page of one blog. Showing it counts as a view.

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

/// The action that the reader has just completed, for the notice above the blog.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Done {
    done: Option<String>,
}

/// Shows a blog. Only the author sees a draft; a former slug redirects to the current one.
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
    // A reader over the rate limit still sees the page; only the view is not counted.
    if is_view
        && blog.summary.published_at.is_some()
        && let Ok(caller) = request.extract_parts_with_state(&state).await
    {
        count(&state, blog.summary.id, caller);
    }
    let main = article(&blog, &reader, &standing, done.done.as_deref());
    Ok(page(StatusCode::OK, Frame { title: &blog.summary.title, reader: &reader, here: "" }, main))
}

/// Records the view as the API does, in the background: the page does not wait for it and is shown even if it fails.
fn count(state: &AppState, blog_id: i64, caller: Caller) {
    let accepting = state.clone();
    state.tasks.spawn(async move {
        if let Err(problem) = engagement::view(&accepting, &caller, blog_id, None).await {
            tracing::debug!(blog_id, reason = problem.detail(), "view not accepted");
        }
    });
}

/// Whether the browser loads the page to show it, by its `Sec-Fetch` headers. Without this check, an `<img>` on another
/// site would count a view for each of that site's readers. A client without these headers is not such a browser.
fn is_document(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_none_or(|destination| destination == "document")
}

/// Whether the browser only prefetches the page.
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
            section.engage aria-label="Engagement" {
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

/// `assets/pages.js` replaces the button's words when it is pressed.
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
                    legend { "How are you sharing it?" }
                    @for (channel, name) in [("link", "By link"), ("email", "By e-mail"), ("message", "By message"),
                        ("social", "On a social network"), ("other", "Another way")] {
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
        if blog.summary.published_at.is_some() { ("unpublish", "Unpublish") } else { ("publish", "Publish") };
    html! {
        section.own aria-label="Your blog" {
            a.button href={"/b/" (slug) "/edit"} { "Edit" }
            form.inline method="post" action={"/b/" (slug) "/" (verb)} { button type="submit" { (name) } }
            details {
                summary { "Delete" }
                form method="post" action={"/b/" (slug) "/delete"} {
                    p { "The blog will no longer be visible to anyone. This cannot be undone." }
                    button.bad type="submit" { "Delete permanently" }
                }
            }
        }
    }
}

/// Shows only fixed notices, never text from the URL.
fn said(done: &str) -> Option<&'static str> {
    Some(match done {
        "liked" => "Your like has been received; the count follows in a moment.",
        "unliked" => "Your like has been removed; the count follows in a moment.",
        "shared" => "Thank you for sharing; the count follows in a moment.",
        "saved" => "Saved.",
        "published" => "Published. Your followers are being notified.",
        "unpublished" => "Unpublished. Only you can see it now.",
        _ => return None,
    })
}

/// Redirects back to a blog, with a notice of the action.
pub(super) fn back(slug: &str, done: &str) -> Response {
    see(&format!("/b/{slug}?done={done}"))
}
