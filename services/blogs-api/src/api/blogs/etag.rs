//! The version of a blog's content as an entity tag.
//!
//! A response also shows counters, which change without the version. The tag is therefore weak: equal tags mean that
//! the author's content is equal, not that every byte is. Read strictly, `If-Match` never matches a weak tag. Here it
//! compares the version in either form that the client sends, because the version is what an edit must not overwrite.

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::{Problem, Result};

/// Maximum number of tags read from one header.
const TAGS_MAX: usize = 32;

/// The versions that a client names in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// `*`: any version.
    Any,
    /// One of these versions. Tags that this API did not issue match nothing and are skipped.
    Versions(Vec<i32>),
}

impl Condition {
    /// Whether the condition holds for this version.
    pub(super) fn holds(&self, version: i32) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }

    /// The versions to compare with, or `None` for any.
    pub(super) fn versions(condition: Option<Self>) -> Option<Vec<i32>> {
        match condition {
            None | Some(Self::Any) => None,
            Some(Self::Versions(versions)) => Some(versions),
        }
    }
}

/// The tag of a version.
pub(super) fn of(version: i32) -> HeaderValue {
    // A number in quotes is always a valid header value.
    HeaderValue::from_str(&format!("W/\"v{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("W/\"\""))
}

/// `If-Match`, if it was sent.
///
/// # Errors
/// 400 when it is not a list of tags.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<Condition>> {
    read(headers, &IF_MATCH)
}

/// `If-None-Match`, if it was sent.
///
/// # Errors
/// 400 when it is not a list of tags.
pub(super) fn if_none_match(headers: &HeaderMap) -> Result<Option<Condition>> {
    read(headers, &IF_NONE_MATCH)
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Condition>> {
    let mut versions = Vec::new();
    let mut tags = 0;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| malformed(name))?;
        if text.trim() == "*" {
            return Ok(Some(Condition::Any));
        }
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            tags += 1;
            if tags > TAGS_MAX {
                return Err(Problem::bad_parameter(
                    name.as_str().to_owned(),
                    format!("must have at most {TAGS_MAX} tags"),
                ));
            }
            let opaque = tag.strip_prefix("W/").unwrap_or(tag);
            let opaque = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let opaque = opaque.ok_or_else(|| malformed(name))?;
            versions.extend(opaque.strip_prefix('v').and_then(|digits| digits.parse::<i32>().ok()));
        }
    }
    if tags > 0 {
        Ok(Some(Condition::Versions(versions)))
    } else if headers.contains_key(name) {
        Err(malformed(name))
    } else {
        Ok(None)
    }
}

fn malformed(name: &HeaderName) -> Problem {
    Problem::bad_parameter(name.as_str().to_owned(), "must be * or a list of entity tags, as sent in ETag")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(values: &[&str]) -> Result<Option<Condition>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        if_match(&headers)
    }

    #[test]
    fn etag_is_accepted_in_weak_and_strong_form() {
        let versions = |list: &[i32]| Some(Condition::Versions(list.to_vec()));
        assert_eq!(sent(&[of(3).to_str().unwrap()]).unwrap(), versions(&[3]));
        assert_eq!(sent(&["\"v3\""]).unwrap(), versions(&[3]));
        assert_eq!(sent(&["\"v3\", W/\"v4\"", "\"v5\""]).unwrap(), versions(&[3, 4, 5]));
        assert_eq!(sent(&["*"]).unwrap(), Some(Condition::Any));
        assert_eq!(sent(&[]).unwrap(), None);
    }

    #[test]
    fn foreign_etag_matches_no_version() {
        for foreign in ["\"abc\"", "\"v99999999999999999999\"", "W/\"\""] {
            assert_eq!(sent(&[foreign]).unwrap(), Some(Condition::Versions(vec![])), "{foreign}");
        }
    }

    #[test]
    fn invalid_etag_error_names_the_header() {
        for bad in ["v3", "\"v3", "W/v3", "", "\u{e9}", "\"", &"\"v1\",".repeat(33)] {
            assert_eq!(sent(&[bad]).unwrap_err().errors()[0].field, "if-match", "{bad}");
        }
    }
}
