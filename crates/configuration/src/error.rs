//! The origin of a value, and the errors of loading settings.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use config::Value;

/// The origin of a value, as shown in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The files compiled into the binary.
    pub(crate) fn defaults() -> Self {
        Self("the built-in defaults".to_owned())
    }

    /// A file named on the command line.
    pub(crate) fn file(file: &Path) -> Self {
        Self(file.display().to_string())
    }

    /// An environment variable.
    pub(crate) fn variable(name: &str) -> Self {
        Self(format!("the environment variable {name}"))
    }

    /// The command itself.
    pub(crate) fn command() -> Self {
        Self("this command".to_owned())
    }

    /// The origin that a layer stored in its value. Defaults have none.
    pub(crate) fn of(value: &Value) -> Self {
        value.origin().map_or_else(Self::defaults, |origin| Self(origin.to_owned()))
    }

    /// The text that the `config` crate stores with a value.
    pub(crate) fn as_text(&self) -> &String {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why settings could not be loaded. Each message names the key and its origin, and says what is allowed. No message quotes
/// the rejected value, which may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("the settings file {} cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The text is not TOML.
    #[error("{origin}, line {line}: {message}")]
    Malformed {
        /// The origin of the text.
        origin: Origin,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A variable is not UTF-8.
    #[error("the environment variable {variable} is not valid UTF-8")]
    NotText {
        /// The variable.
        variable: String,
    },
    /// The defaults do not have this key.
    #[error("unknown key {key} in {origin}: remove it or correct it; {known}")]
    UnknownKey {
        /// The key, with its section.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The keys that exist there, as a sentence.
        known: String,
    },
    /// The value has the wrong type.
    #[error("{key} in {origin} must be {expected}")]
    WrongType {
        /// The key, with its section.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The type that the key takes.
        expected: &'static str,
    },
    /// The value is a number outside its bounds.
    #[error("{key} in {origin} must be {expected}")]
    OutOfBounds {
        /// The key, with its section.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The bounds, and their reason if they state one.
        expected: String,
    },
    /// The value has the right type, but the type being loaded rejects it.
    #[error("{key} in {origin} is refused: {message}")]
    Refused {
        /// The key, with its section.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// What is wrong with it.
        message: String,
    },
    /// The built-in defaults do not match the type being loaded: a bug.
    #[error("the built-in defaults are wrong: {0}")]
    Defaults(String),
    /// Other machines can reach the system, and its secrets are published.
    #[error(
        "these secrets have values that are published with the source, which is allowed only while no other machine can \
         reach the system: {names}. But {reasons}. Set new values, for example in .env those that `commonplace secrets new` \
         prints (docker compose run --rm -T secrets new)"
    )]
    Published {
        /// Variables of `.env`, or the keys that hold the secrets.
        names: String,
        /// The settings that make the system reachable from other machines.
        reasons: String,
    },
}
