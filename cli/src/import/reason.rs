//! The reported reasons for which a log line is not counted as a view.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

/// The reason why a line is left out.
pub(super) type Reason = &'static str;

pub(super) const TOO_LONG: Reason = "line longer than 64 KiB";
pub(super) const NOT_COMBINED: Reason = "not a line of the combined format";
pub(super) const NO_AGENT: Reason = "no agent in the line (common format)";
pub(super) const BAD_TIME: Reason = "time that cannot be read";
pub(super) const NO_REQUEST: Reason = "no request was sent";
pub(super) const BAD_REQUEST: Reason = "request without method or path";
pub(super) const OTHER_METHOD: Reason = "other method";
pub(super) const OTHER_STATUS: Reason = "other status";
pub(super) const OTHER_PREFIX: Reason = "path outside the prefixes";
pub(super) const OTHER_EXTENSION: Reason = "path with an extension that is no page's";
pub(super) const BAD_PATH: Reason = "path longer than 1024 bytes, or with a byte 0";
pub(super) const ROBOT: Reason = "robot";
pub(super) const NO_BLOG: Reason = "no blog has this path (--create makes one)";
pub(super) const NOT_LIVE: Reason = "the blog of this path is not live";

/// The number of lines that were left out, by reason.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct LeftOut(BTreeMap<Cow<'static, str>, u64>);

impl LeftOut {
    /// Adds one line.
    pub(super) fn add(&mut self, reason: impl Into<Cow<'static, str>>) {
        *self.0.entry(reason.into()).or_default() += 1;
    }

    /// Adds the lines of another count.
    pub(super) fn merge(&mut self, other: Self) {
        for (reason, lines) in other.0 {
            *self.0.entry(reason).or_default() += lines;
        }
    }

    /// The sum over all reasons.
    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The counts by reason, the most frequent first.
    pub(super) fn rows(&self) -> Vec<(&str, u64)> {
        let mut rows: Vec<_> = self.0.iter().map(|(reason, &lines)| (reason.as_ref(), lines)).collect();
        rows.sort_by_key(|&(_, lines)| std::cmp::Reverse(lines));
        rows
    }
}
