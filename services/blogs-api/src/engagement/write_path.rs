//! Which way the events of a request go to the counters.

use std::fmt;
use std::str::FromStr;

use axum::http::HeaderMap;
use serde::Deserialize;

use super::refusal::Refusal;
use super::settings::Settings;
use crate::problem::{Problem, Result};

/// The header by which a request chooses its path, where that is allowed.
pub(super) const HEADER: &str = "x-write-path";

/// A way from the request to the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum WritePath {
    /// Through the broker; a worker counts it.
    Message,
    /// One transaction a request.
    Direct,
    /// One transaction for the requests that wait.
    DirectBatched,
}

/// The name is none of the write paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown write path; one of message, direct, direct-batched is expected")]
pub struct UnknownWritePath;

impl WritePath {
    /// Every path.
    pub const ALL: [Self; 3] = [Self::Message, Self::Direct, Self::DirectBatched];

    /// Its name in settings, in the header and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Direct => "direct",
            Self::DirectBatched => "direct-batched",
        }
    }
}

impl fmt::Display for WritePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WritePath {
    type Err = UnknownWritePath;

    fn from_str(name: &str) -> std::result::Result<Self, UnknownWritePath> {
        Self::ALL.into_iter().find(|path| path.name() == name).ok_or(UnknownWritePath)
    }
}

impl TryFrom<String> for WritePath {
    type Error = UnknownWritePath;

    fn try_from(name: String) -> std::result::Result<Self, UnknownWritePath> {
        name.parse()
    }
}

/// The path of a request: its own choice where that is allowed, else the settings'.
pub(super) fn choose(settings: &Settings, headers: &HeaderMap) -> Result<WritePath> {
    let wanted = headers.get(HEADER).filter(|_| settings.allow_write_path_header);
    let Some(wanted) = wanted else { return Ok(settings.write_path) };
    let path = wanted
        .to_str()
        .map_err(|_| UnknownWritePath)
        .and_then(str::parse)
        .map_err(|error| Problem::bad_request(format!("X-Write-Path: {error}")))?;
    if path != WritePath::Message && !settings.direct_path {
        return Err(Refusal::NotEnabled.into());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engagement::settings::tests::settings;

    fn chosen(header: Option<&str>, allowed: bool, direct_path: bool) -> std::result::Result<WritePath, u16> {
        let settings = Settings { allow_write_path_header: allowed, direct_path, ..settings() };
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(HEADER, value.parse().unwrap());
        }
        choose(&settings, &headers).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn the_header_counts_only_where_it_is_allowed() {
        assert_eq!(chosen(None, true, true), Ok(WritePath::Message));
        assert_eq!(chosen(Some("direct"), true, true), Ok(WritePath::Direct));
        assert_eq!(chosen(Some("direct-batched"), true, true), Ok(WritePath::DirectBatched));
        assert_eq!(chosen(Some("message"), true, false), Ok(WritePath::Message));
        assert_eq!(chosen(Some("direct"), false, true), Ok(WritePath::Message));
    }

    #[test]
    fn a_path_that_is_not_there_is_a_bad_request() {
        assert_eq!(chosen(Some("pigeon"), true, true), Err(400));
        assert_eq!(chosen(Some(""), true, true), Err(400));
        assert_eq!(chosen(Some("direct"), true, false), Err(400));
        assert_eq!(chosen(Some("direct-batched"), true, false), Err(400));
    }
}
