//! The slug of a blog, made from its title: lower-case ASCII, with hyphens between words.

/// Maximum length of a slug, in characters.
pub(super) const LENGTH_MAX: usize = 120;

/// Slugs to try for a blog, best first. The second contains the blog's id, and the last also contains `salt`, in case
/// another blog's title has already produced the first two.
pub(super) fn candidates(title: &str, id: i64, salt: u32) -> [String; 3] {
    let words = slug::slugify(title);
    let words = if words.is_empty() { "blog" } else { words.as_str() };
    let with = |suffix: &str| format!("{}{suffix}", cut(words, LENGTH_MAX - suffix.len()));
    let first = if words == "blog" { with(&format!("-{id}")) } else { with("") };
    [first, with(&format!("-{id}")), with(&format!("-{id}-{salt:08x}"))]
}

/// Slugs to try for a draft. They reveal nothing about it: a slug from the title would tell every author who publishes
/// under the same title that it is taken.
pub(super) fn of_draft(id: i64, salt: u32) -> [String; 2] {
    [format!("draft-{id}"), format!("draft-{id}-{salt:08x}")]
}

/// Whether `text` has the form of a slug. If it does not, no blog has it, and the database is not queried.
pub(super) fn is_slug(text: &str) -> bool {
    (1..=LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Cuts to at most `length` characters, at a word boundary if there is more than one word.
fn cut(words: &str, length: usize) -> &str {
    let Some(kept) = words.get(..length) else { return words };
    if words.get(length..).is_none_or(|rest| rest.is_empty() || rest.starts_with('-')) {
        return kept.trim_end_matches('-');
    }
    kept.rsplit_once('-').map_or(kept, |(whole, _)| whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn titles_become_slugs() {
        for (title, slug) in [
            ("Hello, World!", "hello-world"),
            ("  Ünïcödé & ß  ", "unicode-ss"),
            ("日本語", "ri-ben-yu"),
            ("A--B__C", "a-b-c"),
            ("10 things", "10-things"),
        ] {
            assert_eq!(candidates(title, 7, 0)[0], slug);
        }
        for title in ["!!!", "—", "\u{200b}", "   "] {
            assert_eq!(candidates(title, 7, 0)[0], "blog-7", "{title:?}");
        }
    }

    #[test]
    fn later_slug_candidates_contain_the_id() {
        assert_eq!(candidates("Hello", 7, 0xab), ["hello", "hello-7", "hello-7-000000ab"]);
    }

    #[test]
    fn long_titles_are_cut_at_a_word() {
        let title = "word ".repeat(60);
        let [first, second, _] = candidates(&title, i64::MAX, 0);
        assert!(first.ends_with("-word") && first.len() <= LENGTH_MAX, "{first}");
        assert!(second.ends_with(&format!("-word-{}", i64::MAX)), "{second}");
        assert_eq!(candidates(&"x".repeat(200), 7, 0)[0].len(), LENGTH_MAX);
        assert_eq!(cut("one-two", 3), "one");
        assert_eq!(cut("one-two", 4), "one");
        assert_eq!(cut("one-two", 5), "one");
        assert_eq!(cut("one-two", 7), "one-two");
    }

    proptest! {
        #[test]
        fn every_title_yields_valid_slugs(title in "\\PC{0,200}", id in 1_i64.., salt: u32) {
            let candidates = candidates(&title, id, salt);
            for slug in &candidates {
                prop_assert!(is_slug(slug), "{slug}");
                prop_assert!(!slug.starts_with('-') && !slug.ends_with('-') && !slug.contains("--"), "{slug}");
            }
            prop_assert_ne!(&candidates[1], &candidates[2]);
        }
    }
}
