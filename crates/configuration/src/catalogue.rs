//! Lists the settings, read from the files of defaults: each key with its variable, default, bounds and reason.
//!
//! Such a file consists of comments, empty lines, `[section]` lines and `key = value` lines. A comment is the reason of the
//! keys below it, up to the next comment, empty line or section.

use crate::{Bound, Defaults, SHARED_DEFAULTS, bounds, variable_of};

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, with its section.
    pub key: String,
    /// The environment variable that sets it.
    pub variable: String,
    /// The default, as TOML.
    pub default: &'static str,
    /// The allowed numbers, such as `1 to 500`. `None` if the value is not a number.
    pub bounds: Option<String>,
    /// The reason for the default, or the purpose of the key.
    pub reason: String,
    /// Whether the entry above has the same reason.
    pub shares_reason: bool,
}

/// A line of a file of defaults that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("a line of the defaults is neither a comment, a section nor a key: {0}")]
pub struct Malformed(&'static str);

impl Defaults {
    /// The settings of this file only.
    ///
    /// # Errors
    /// A line that is invalid.
    pub fn own_entries(self) -> Result<Vec<Entry>, Malformed> {
        entries(self.text, self.bounds)
    }

    /// All settings of the process: the shared settings with the process's own defaults, then its other settings.
    ///
    /// # Errors
    /// A line that is invalid.
    pub fn entries(self) -> Result<Vec<Entry>, Malformed> {
        let mut all = entries(SHARED_DEFAULTS, self.bounds)?;
        for own in self.own_entries()? {
            match all.iter_mut().find(|shared| shared.key == own.key) {
                Some(shared) => {
                    shared.default = own.default;
                    if !own.reason.is_empty() {
                        shared.reason = own.reason;
                    }
                }
                None => all.push(own),
            }
        }
        for entry in &mut all {
            entry.shares_reason = false;
        }
        Ok(all)
    }
}

fn entries(text: &'static str, bounds: &[&[Bound]]) -> Result<Vec<Entry>, Malformed> {
    let mut entries = Vec::new();
    let mut section = "";
    let mut reason = String::new();
    // Whether the previous line was a comment; a comment on this line then continues it.
    let mut is_fresh = false;
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            let comment = comment.trim();
            reason = if is_fresh { format!("{reason} {comment}") } else { comment.to_owned() };
            is_fresh = true;
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            (section, reason, is_fresh) = (name, String::new(), false);
        } else if let Some((name, default)) = line.split_once(" = ") {
            let key = format!("{section}.{name}");
            entries.push(Entry {
                variable: variable_of(&key),
                default,
                bounds: bounds::of_key(bounds, &key).as_ref().map(Bound::listed),
                reason: reason.clone(),
                shares_reason: !is_fresh && !reason.is_empty(),
                key,
            });
            is_fresh = false;
        } else if line.is_empty() {
            (reason, is_fresh) = (String::new(), false);
        } else {
            return Err(Malformed(line));
        }
    }
    Ok(entries)
}
