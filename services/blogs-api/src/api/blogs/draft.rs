//! What an author may write: titles, bodies and tags, validated and normalized.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{FieldError, Problem, Result};
use crate::settings::BODY_BYTES_MAX;

const TITLE_LENGTH_MAX: usize = 200;
const TAGS_MAX: usize = 10;
const SOURCE_PATH_BYTES_MAX: usize = 1024;
pub(super) const SOURCE_PATH_EXPECTED: &str = "must have 1 to 1024 bytes, without the character U+0000";
/// Counts letters and digits, not the hyphens between them.
const TAG_LENGTH_MAX: usize = 40;

/// A new blog, as the client sends it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct NewBlog {
    /// 1 to 200 characters, without line breaks or characters that reorder or hide text.
    #[schema(min_length = 1, max_length = 200, example = "Notes on the Analytical Engine")]
    pub(crate) title: String,
    /// Markdown, at most 256 KiB.
    #[schema(example = "The engine *weaves* algebraic patterns.")]
    pub(crate) body: String,
    /// At most 10 tags; each is converted to lower-case ASCII with hyphens.
    #[serde(default)]
    #[schema(max_items = 10)]
    pub(crate) tags: Vec<String>,
    /// `true` publishes the blog at once. Otherwise it is a draft that only its author can see.
    #[serde(default)]
    pub(crate) publish: bool,
    /// Where the blog was published before it was imported, 1 to 1024 bytes, unique among blogs; requires a token with
    /// the scope `import`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 1024, example = "example.org/blog/notes.html")]
    pub(crate) source_path: Option<String>,
}

/// An edit, as the client sends it. Fields that are left out stay unchanged.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(crate) struct BlogChange {
    /// 1 to 200 characters, without line breaks. A new title gives a published blog a new slug; the old slug redirects
    /// to it.
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) title: Option<String>,
    /// Markdown, at most 256 KiB.
    pub(crate) body: Option<String>,
    /// The complete new list of tags, at most 10.
    #[schema(max_items = 10)]
    pub(crate) tags: Option<Vec<String>>,
}

impl NewBlog {
    /// Normalizes the request.
    ///
    /// # Errors
    /// 422, naming every bad field.
    pub(super) fn checked(mut self) -> Result<Self> {
        let mut errors = Vec::new();
        self.title = title(self.title, &mut errors);
        check_body(&self.body, &mut errors);
        self.tags = tags(&self.tags, &mut errors);
        if let Some(path) = &self.source_path
            && !is_source_path(path)
        {
            errors.push(FieldError::new("source_path", SOURCE_PATH_EXPECTED));
        }
        if errors.is_empty() { Ok(self) } else { Err(Problem::invalid_many(errors)) }
    }
}

impl BlogChange {
    /// Normalizes the edit.
    ///
    /// # Errors
    /// 422, naming every bad field, or when there is nothing to change.
    pub(super) fn checked(mut self) -> Result<Self> {
        if self.title.is_none() && self.body.is_none() && self.tags.is_none() {
            return Err(Problem::invalid("body", "there is nothing to change: send title, body or tags"));
        }
        let mut errors = Vec::new();
        self.title = self.title.map(|text| title(text, &mut errors));
        if let Some(body) = &self.body {
            check_body(body, &mut errors);
        }
        self.tags = self.tags.map(|list| tags(&list, &mut errors));
        if errors.is_empty() { Ok(self) } else { Err(Problem::invalid_many(errors)) }
    }
}

/// The stored form of a tag, or `None` if it is empty after normalization or too long.
pub(super) fn tag(text: &str) -> Option<String> {
    let name = slug::slugify(text);
    let length = name.bytes().filter(|&byte| byte != b'-').count();
    (1..=TAG_LENGTH_MAX).contains(&length).then_some(name)
}

/// Whether this is a valid source path.
pub(super) fn is_source_path(path: &str) -> bool {
    (1..=SOURCE_PATH_BYTES_MAX).contains(&path.len()) && !path.contains('\0')
}

fn title(text: String, errors: &mut Vec<FieldError>) -> String {
    let trimmed = text.trim();
    if !(1..=TITLE_LENGTH_MAX).contains(&trimmed.chars().count()) {
        errors.push(FieldError::new("title", format!("must have 1 to {TITLE_LENGTH_MAX} characters")));
    } else if trimmed.chars().any(char::is_control) {
        errors.push(FieldError::new("title", "must not have line breaks or other control characters"));
    } else if trimmed.chars().any(hides_or_reorders) {
        errors.push(FieldError::new("title", "must not have characters that reorder or hide text"));
    }
    if trimmed.len() == text.len() { text } else { trimmed.to_owned() }
}

/// Invisible characters that change how the text around them reads: bidirectional controls, which make a title read as
/// another one or reorder the text after it, and zero-width spaces, which make two titles look the same. U+2028 and
/// U+2029 break lines and paragraphs. U+200C and U+200D are allowed because Persian and Indic scripts and emoji use
/// them.
fn hides_or_reorders(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn check_body(text: &str, errors: &mut Vec<FieldError>) {
    if text.len() > BODY_BYTES_MAX {
        errors.push(FieldError::new("body", format!("must have at most {BODY_BYTES_MAX} bytes")));
    }
    // The one character that Postgres cannot store in text.
    if text.contains('\0') {
        errors.push(FieldError::new("body", "must not have the character U+0000"));
    }
}

/// Sorts the tags and removes duplicates.
fn tags(list: &[String], errors: &mut Vec<FieldError>) -> Vec<String> {
    let mut names = Vec::new();
    for (index, text) in list.iter().take(4 * TAGS_MAX).enumerate() {
        match tag(text) {
            Some(name) => names.push(name),
            None => errors.push(FieldError::new(
                format!("tags[{index}]"),
                format!("must have 1 to {TAG_LENGTH_MAX} letters or digits"),
            )),
        }
    }
    names.sort_unstable();
    names.dedup();
    if names.len() > TAGS_MAX || list.len() > 4 * TAGS_MAX {
        errors.push(FieldError::new("tags", format!("must have at most {TAGS_MAX} entries")));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(title: &str, body: &str, tags: &[&str]) -> NewBlog {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        NewBlog { title: title.to_owned(), body: body.to_owned(), tags, publish: false, source_path: None }
    }

    fn bad_fields(problem: &Problem) -> Vec<&str> {
        problem.errors().iter().map(|error| error.field.as_ref()).collect()
    }

    #[test]
    fn draft_is_normalized() {
        let checked = new("  Hello ", "", &["Rust", "rust", "C++ & Ünïcode", "a_b"]).checked().unwrap();
        assert_eq!(checked.title, "Hello");
        assert_eq!(checked.tags, ["a-b", "c-unicode", "rust"]);
    }

    #[test]
    fn error_names_every_invalid_field() {
        let problem = new(" ", "a\0b", &["ok", "!!!", &"x".repeat(41)]).checked().unwrap_err();
        assert_eq!(bad_fields(&problem), ["title", "body", "tags[1]", "tags[2]"]);
        for bad in ["a\nb", "a\0b", "a\u{202e}b", "a\u{200b}b", &"é".repeat(201)] {
            assert_eq!(bad_fields(&new(bad, "", &[]).checked().unwrap_err()), ["title"], "{bad:?}");
        }
        for path in [String::new(), "a\0b".to_owned(), "x".repeat(1025)] {
            let new = NewBlog { source_path: Some(path), ..new("t", "", &[]) };
            assert_eq!(bad_fields(&new.checked().unwrap_err()), ["source_path"]);
        }
        let long = "x".repeat(BODY_BYTES_MAX + 1);
        assert_eq!(bad_fields(&new("t", &long, &[]).checked().unwrap_err()), ["body"]);
    }

    #[test]
    fn values_at_the_limits_are_accepted() {
        let title = "é".repeat(200);
        let tags: Vec<String> = (0..10).map(|n| format!("{}{n}", "x".repeat(39))).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        assert_eq!(new(&title, &"x".repeat(BODY_BYTES_MAX), &tags).checked().unwrap().tags.len(), 10);
        let eleven: Vec<String> = (0..11).map(|n| format!("t{n}")).collect();
        let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
        assert_eq!(bad_fields(&new("t", "", &eleven).checked().unwrap_err()), ["tags"]);
    }

    #[test]
    fn empty_edit_is_rejected() {
        let nothing = BlogChange { title: None, body: None, tags: None };
        assert_eq!(nothing.clone().checked().unwrap_err().status(), 422);
        let only_tags = BlogChange { tags: Some(vec![]), ..nothing }.checked().unwrap();
        assert_eq!(only_tags.tags, Some(vec![]));
    }
}
