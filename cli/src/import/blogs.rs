//! The blogs of the paths in a log: looked up in groups, made if requested, and cached.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt, TryStreamExt, stream};
use percent_encoding::percent_decode_str;

use super::api::Api;
use super::reason::{self, Reason};

/// Cached paths. At most about 60 MB, if every path has the greatest length.
const PATHS_MAX: usize = 50_000;
/// Longest title that the API accepts.
const TITLE_LENGTH_MAX: usize = 200;

/// The known paths.
#[derive(Debug)]
pub(super) struct Blogs {
    known: HashMap<String, Option<i64>>,
    create: bool,
    connections: usize,
    /// The number of blogs that were made.
    pub(super) made: u64,
}

impl Blogs {
    pub(super) fn new(create: bool, connections: usize) -> Self {
        Self { known: HashMap::new(), create, connections, made: 0 }
    }

    /// Looks up the paths that are not known yet, at most 1000.
    ///
    /// # Errors
    /// The error of the API.
    pub(super) async fn learn(&mut self, api: &Api, paths: BTreeSet<&str>) -> anyhow::Result<()> {
        if self.known.len() + paths.len() > PATHS_MAX {
            self.known.clear();
        }
        let unknown = |path: &&str| !self.known.contains_key(*path);
        let unknown: Vec<String> = paths.into_iter().filter(unknown).map(str::to_owned).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut found = api.blogs(&unknown).await?;
        if self.create {
            let missing: Vec<&String> = unknown.iter().filter(|path| !found.contains_key(*path)).collect();
            let made: Vec<Option<i64>> = stream::iter(&missing)
                .map(|path| async move { api.make_blog(path, &title(path), &body(path)).await })
                .buffered(self.connections)
                .try_collect()
                .await?;
            let mut there_after_all = Vec::new();
            for (path, id) in missing.into_iter().cloned().zip(made) {
                match id {
                    Some(id) => {
                        self.made += 1;
                        found.insert(path, id);
                    }
                    None => there_after_all.push(path),
                }
            }
            if !there_after_all.is_empty() {
                found.extend(api.blogs(&there_after_all).await?);
            }
        }
        self.known.extend(unknown.into_iter().map(|path| {
            let id = found.get(&path).copied();
            (path, id)
        }));
        Ok(())
    }

    /// The blog of a known path.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(super) fn of(&self, path: &str) -> Result<i64, Reason> {
        let missing = if self.create { reason::NOT_LIVE } else { reason::NO_BLOG };
        self.known.get(path).copied().flatten().ok_or(missing)
    }
}

/// The words of the last segment, or the path if the segment has none.
fn title(path: &str) -> String {
    let segment = path.rsplit('/').find(|segment| !segment.is_empty()).unwrap_or(path);
    let decoded = percent_decode_str(segment).decode_utf8_lossy();
    let name = decoded.rsplit_once('.').map_or(&*decoded, |(name, _extension)| name);
    let title = words(name, &['-', '_', '+']);
    if title.is_empty() { words(path, &[]) } else { title }
}

fn words(text: &str, gaps: &[char]) -> String {
    let is_gap = |char: char| char.is_control() || char.is_whitespace() || gaps.contains(&char);
    let words: Vec<&str> = text.split(is_gap).filter(|word| !word.is_empty()).collect();
    let title: String = words.join(" ").chars().take(TITLE_LENGTH_MAX).collect();
    title.trim_end().to_owned()
}

fn body(path: &str) -> String {
    format!("Imported from {path}.")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn title_is_the_words_of_the_last_segment() {
        for (path, expected) in [
            ("/blog/geekery/ssl-latency.html", "ssl latency"),
            ("example.org/blog/on_Notes-", "on Notes"),
            ("/blog/tags/caf%C3%A9+au%0Alait/", "café au lait"),
            ("/blog/v1.2", "v1"),
            ("/blog/", "blog"),
            ("/blog/--.html", "/blog/--.html"),
            ("/", "/"),
        ] {
            assert_eq!(title(path), expected, "{path}");
        }
        assert_eq!(title(&format!("/{}", "é".repeat(500))), "é".repeat(200));
    }

    proptest! {
        /// As the API checks it.
        #[test]
        fn every_path_has_a_title(path in "/[^\0]{0,300}") {
            let title = title(&path);
            prop_assert!((1..=TITLE_LENGTH_MAX).contains(&title.chars().count()), "{title:?}");
            prop_assert!(title.trim() == title && !title.chars().any(char::is_control), "{title:?}");
        }
    }
}
