//! The forms to write and edit a blog. A new blog's form carries an idempotency key, so that submitting it twice
//! creates one blog. An edit form carries the version that was read, so that it does not overwrite a concurrent edit.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::form::Form;
use super::layout::{self, Frame};
use super::session::Reader;
use super::{account, page, see, show};
use crate::api::blogs::{self, Blog, BlogChange, Made, NewBlog};
use crate::auth::Signed;
use crate::extract::Path;
use crate::problem::{Problem, Result};
use crate::state::AppState;

/// The fields of the form.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Draft {
    title: String,
    /// Separated by commas.
    tags: String,
    body: String,
    /// The version that was read, for an existing blog.
    version: Option<i32>,
    /// The idempotency key, for a new blog.
    key: Option<String>,
    /// The button that was pressed: `draft` or `publish`.
    then: Option<String>,
}

/// Shows an empty form.
pub(super) async fn blank(reader: Reader) -> Result<Response> {
    account(&reader)?;
    let draft = Draft { key: Some(Uuid::now_v7().to_string()), ..Draft::default() };
    Ok(page(StatusCode::OK, frame("Write", "/write", &reader), form("Write", "/write", &draft, None)))
}

/// Creates a blog.
pub(super) async fn create(
    State(state): State<AppState>,
    signed: Signed,
    reader: Reader,
    Form(draft): Form<Draft>,
) -> Result<Response> {
    let publish = draft.then.as_deref() == Some("publish");
    let new = NewBlog {
        title: draft.title.clone(),
        body: draft.text(),
        tags: draft.tags(),
        publish,
        source_path: None,
    };
    let mut headers = HeaderMap::new();
    if let Some(key) = draft.key.as_deref().and_then(|key| HeaderValue::try_from(key).ok()) {
        headers.insert("idempotency-key", key);
    }
    let slug = match blogs::create_blog(&state, &signed, &headers, new).await {
        Ok(Made::Now(blog)) => blog.summary.slug,
        Ok(Made::Before(replay)) => {
            replay.answer.get("slug").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        }
        Err(problem) => return again(&reader, "Write", "/write", &draft, problem),
    };
    Ok(show::back(&slug, if publish { "published" } else { "saved" }))
}

/// Shows the form with an existing blog.
pub(super) async fn edit(
    State(state): State<AppState>,
    reader: Reader,
    Path(slug): Path<String>,
) -> Result<Response> {
    let blog = own(&state, &reader, &slug).await?;
    let address = format!("/b/{slug}/edit");
    let draft = Draft {
        title: blog.summary.title,
        tags: blog.summary.tags.join(", "),
        body: blog.body,
        version: Some(blog.summary.version),
        ..Draft::default()
    };
    Ok(page(StatusCode::OK, frame("Edit", "", &reader), form("Edit", &address, &draft, None)))
}

/// Saves the changes.
pub(super) async fn change(
    State(state): State<AppState>,
    signed: Signed,
    reader: Reader,
    Path(slug): Path<String>,
    Form(draft): Form<Draft>,
) -> Result<Response> {
    let blog = own(&state, &reader, &slug).await?;
    let change =
        BlogChange { title: Some(draft.title.clone()), body: Some(draft.text()), tags: Some(draft.tags()) };
    let versions = draft.version.map(|version| vec![version]);
    match blogs::change_blog(&state, &signed, blog.summary.id, versions, change).await {
        Ok(blog) => Ok(show::back(&blog.summary.slug, "saved")),
        Err(problem) => again(&reader, "Edit", &format!("/b/{slug}/edit"), &draft, problem),
    }
}

/// Publishes the blog.
pub(super) async fn publish(
    State(state): State<AppState>,
    signed: Signed,
    reader: Reader,
    Path(slug): Path<String>,
) -> Result<Response> {
    let id = own(&state, &reader, &slug).await?.summary.id;
    blogs::publish_blog(&state, &signed, id).await?;
    // Publishing has given it another address.
    let blog = own(&state, &reader, &slug).await?;
    Ok(show::back(&blog.summary.slug, "published"))
}

/// Unpublishes the blog.
pub(super) async fn unpublish(
    State(state): State<AppState>,
    signed: Signed,
    reader: Reader,
    Path(slug): Path<String>,
) -> Result<Response> {
    let id = own(&state, &reader, &slug).await?.summary.id;
    blogs::unpublish_blog(&state, &signed, id).await?;
    Ok(show::back(&slug, "unpublished"))
}

/// Deletes the blog.
pub(super) async fn delete(
    State(state): State<AppState>,
    signed: Signed,
    reader: Reader,
    Path(slug): Path<String>,
) -> Result<Response> {
    let id = own(&state, &reader, &slug).await?.summary.id;
    blogs::delete_blog(&state, &signed, id, None).await?;
    Ok(see("/mine"))
}

async fn own(state: &AppState, reader: &Reader, slug: &str) -> Result<Blog> {
    let author = account(reader)?.id;
    let blog = blogs::by_slug(state, slug, Some(author)).await?;
    if blog.summary.author.id == author {
        Ok(blog)
    } else {
        Err(Problem::forbidden("the blog belongs to another account"))
    }
}

/// Shows the form again, with the author's input and the errors; no text is lost.
fn again(reader: &Reader, title: &str, address: &str, draft: &Draft, problem: Problem) -> Result<Response> {
    if problem.status().is_server_error() || problem.status() == StatusCode::UNAUTHORIZED {
        return Err(problem);
    }
    let main = form(title, address, draft, Some(&problem));
    Ok(page(problem.status(), frame(title, "", reader), main))
}

fn frame<'a>(title: &'a str, here: &'a str, reader: &'a Reader) -> Frame<'a> {
    Frame { title, reader, here }
}

fn form(heading: &str, address: &str, draft: &Draft, problem: Option<&Problem>) -> Markup {
    html! {
        h1 { (heading) }
        (layout::errors(problem))
        form.write method="post" action=(address) {
            p.field {
                label for="title" { "Title" }
                input #title name="title" value=(draft.title) required maxlength="200";
            }
            p.field {
                label for="body" { "Text, in Markdown" }
                textarea #body name="body" rows="18" { "\n" (draft.body) }
            }
            p.field {
                label for="tags" { "Tags, separated by commas" }
                input #tags name="tags" value=(draft.tags);
            }
            @if let Some(version) = draft.version { input type="hidden" name="version" value=(version); }
            @if let Some(key) = &draft.key { input type="hidden" name="key" value=(key); }
            div.actions {
                @if draft.version.is_some() {
                    button.main type="submit" { "Save" }
                } @else {
                    button.main type="submit" name="then" value="publish" { "Publish" }
                    button type="submit" name="then" value="draft" { "Save as a draft" }
                }
            }
        }
    }
}

impl Draft {
    /// Converts the CRLF line breaks that forms send.
    fn text(&self) -> String {
        self.body.replace("\r\n", "\n")
    }

    fn tags(&self) -> Vec<String> {
        self.tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
    }
}
