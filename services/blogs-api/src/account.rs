//! An account, as others see it.

use serde::Serialize;
use utoipa::ToSchema;

const HANDLE_LENGTH_MIN: usize = 2;
const HANDLE_LENGTH_MAX: usize = 30;

/// An account, as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Account {
    /// Its id.
    pub id: i64,
    /// The account's name in URLs; it never changes.
    #[schema(example = "ada")]
    pub handle: String,
}

/// Whether this is a valid handle. Digits alone are not: where a handle or an id is accepted, they would be read as an
/// id.
#[must_use]
pub(crate) fn is_handle(text: &str) -> bool {
    let letters_and_digits = text.bytes().filter(|&byte| byte != b'-').count();
    (HANDLE_LENGTH_MIN..=HANDLE_LENGTH_MAX).contains(&letters_and_digits)
        && text.split('-').all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handle_rule_matches_the_tables() {
        // The table's rule: ^[a-z0-9](-?[a-z0-9]){1,29}$
        let long = "a".repeat(30);
        let hyphens = vec!["a"; 30].join("-");
        for good in ["ada", "a1", "1a", "a-b", "ada-lovelace-1815", &long, &hyphens] {
            assert!(is_handle(good), "{good}");
        }
        let too_long = "a".repeat(31);
        for bad in
            ["", "a", "-a", "a-", "a--b", "Ada", "ada lovelace", "é1", "a_b", "a\0b", "1815", &too_long]
        {
            assert!(!is_handle(bad), "{bad:?}");
        }
    }
}
