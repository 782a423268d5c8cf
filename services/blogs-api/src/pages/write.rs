//! Writing and editing. A form carries a key, so that sending it twice makes one blog, and the version that was read, so
//! that an edit does not overwrite another.

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

/// What stands in the form.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Draft {
    title: String,
    /// With commas between them.
    tags: String,
    body: String,
    /// The version that was read, of a blog that there is.
    version: Option<i32>,
    /// What makes sending it twice once, of a new blog.
    key: Option<String>,
    /// Which button: `draft` or `publish`.
    then: Option<String>,
}

/// An empty form.
pub(super) async fn blank(reader: Reader) -> Result<Response> {
    account(&reader)?;
    let draft = Draft { key: Some(Uuid::now_v7().to_string()), ..Draft::default() };
    Ok(page(StatusCode::OK, frame("Write", "/write", &reader), form("Write", "/write", &draft, None)))
}

/// Makes a blog of it.
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

/// The form with a blog in it.
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

/// Changes the blog.
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

/// Shows the blog to readers.
pub(super) async fn publish(
    State(state): State<AppState>,
    signed: Signed,
    reader: Reader,
    Path(slug): Path<String>,
) -> Result<Response> {
    let id = own(&state, &reader, &slug).await?.summary.id;
    blogs::publish_blog(&state, &signed, id).await?;
    // It has another address now.
    let blog = own(&state, &reader, &slug).await?;
    Ok(show::back(&blog.summary.slug, "published"))
}

/// Takes the blog back.
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
        Err(Problem::forbidden("the blog belongs to somebody else"))
    }
}

/// The form once more, with what was written and what is wrong with it; nothing of a text is lost.
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
                label for="tags" { "Tags, with commas between them" }
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
    /// Forms send line breaks as the mail of old did.
    fn text(&self) -> String {
        self.body.replace("\r\n", "\n")
    }

    fn tags(&self) -> Vec<String> {
        self.tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
    }
}
