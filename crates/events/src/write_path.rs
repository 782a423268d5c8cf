//! The path that a request's events take to the counters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// A path from the request to the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum WritePath {
    /// Through RabbitMQ; a worker counts the events.
    Message,
    /// One transaction per request.
    Direct,
    /// One transaction for all waiting requests.
    DirectBatched,
}

/// The name is not a write path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown write path; use one of message, direct, direct-batched")]
pub struct UnknownWritePath;

impl WritePath {
    /// Every path.
    pub const ALL: [Self; 3] = [Self::Message, Self::Direct, Self::DirectBatched];

    /// The name of every path.
    pub const NAMES: [&'static str; 3] =
        [Self::Message.name(), Self::Direct.name(), Self::DirectBatched.name()];

    /// Its name in settings, in the header `X-Write-Path`, in metrics and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
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

impl Serialize for WritePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromStr for WritePath {
    type Err = UnknownWritePath;

    fn from_str(name: &str) -> Result<Self, UnknownWritePath> {
        Self::ALL.into_iter().find(|path| path.name() == name).ok_or(UnknownWritePath)
    }
}

impl TryFrom<String> for WritePath {
    type Error = UnknownWritePath;

    fn try_from(name: String) -> Result<Self, UnknownWritePath> {
        name.parse()
    }
}
