//! One table over another, remembering where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The files that are built into the binary.
    Defaults,
    /// A file that was named on the command line.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// The command itself.
    Command,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("the built-in defaults"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Command => f.write_str("this command"),
        }
    }
}

/// Why settings could not be loaded. Each message names the place and says what would be right.
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
    /// The text is no TOML.
    #[error("{origin}, line {line}: {message}")]
    Malformed {
        /// Whose text.
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
    /// Nobody knows this key.
    #[error("unknown key {key} in {origin}: remove it or correct it; {known}")]
    UnknownKey {
        /// The key, with its section.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// What there is instead, as a sentence.
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
    /// The value has the right type and is still not one that the key takes.
    #[error("{key} in {origin} is refused: {message}")]
    Refused {
        /// The key, with its section.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// What is wrong with it.
        message: String,
    },
    /// Other machines can reach the system, and its secrets are known to everybody.
    #[error(
        "these secrets have values that are published with the source, which is allowed only while this machine alone can \
         reach the system: {names}. But {reasons}. Set new values, for example in .env those that `commonplace secrets new` \
         prints (docker compose run --rm -T secrets new)"
    )]
    Published {
        /// Variables of `.env`, or the keys that hold the secrets.
        names: String,
        /// What says that other machines can reach the system.
        reasons: String,
    },
}

/// Reads a layer's text. The message of an error has no piece of the text in it: it may hold a password.
pub(super) fn parse(text: &str, origin: &Origin) -> Result<Table, SettingsError> {
    text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        SettingsError::Malformed {
            origin: origin.clone(),
            line: before.matches('\n').count() + 1,
            message: error.message().to_owned(),
        }
    })
}

/// Joins the parts of a key.
pub(super) fn dotted<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    parts.collect::<Vec<_>>().join(".")
}

/// The layers so far, as one table.
pub(super) struct Layered {
    values: Table,
    origins: BTreeMap<String, Origin>,
}

impl Layered {
    /// The ground: tables that may bring new keys.
    pub(super) fn from_defaults<const N: usize>(texts: [&str; N]) -> Result<Self, SettingsError> {
        let mut values = Table::new();
        for text in texts {
            let layer = parse(text, &Origin::Defaults)?;
            merge(&mut values, layer, "", true, &Origin::Defaults, &mut BTreeMap::new())?;
        }
        Ok(Self { values, origins: BTreeMap::new() })
    }

    /// Lays a table over the rest. It may only replace what is there.
    pub(super) fn lay(&mut self, layer: Table, origin: &Origin) -> Result<(), SettingsError> {
        merge(&mut self.values, layer, "", false, origin, &mut self.origins)
    }

    /// Lays one value that is still text over the rest, as the type that its key has.
    pub(super) fn lay_text(&mut self, key: &str, text: String, origin: &Origin) -> Result<(), SettingsError> {
        let value = match self.find(key) {
            Some(known) => typed(known, &text).ok_or_else(|| SettingsError::WrongType {
                key: key.to_owned(),
                origin: origin.clone(),
                expected: expected(known),
            })?,
            // An open section takes it as text; elsewhere `lay` refuses it.
            None => Value::String(text),
        };
        self.lay(super::nested(key, value), origin)
    }

    /// Whether this key, or an open section around it, stands here.
    pub(super) fn knows(&self, key: &str) -> bool {
        let in_open_section = || {
            let (section, _) = key.rsplit_once('.')?;
            self.find(section)?.as_table().filter(|table| table.is_empty())
        };
        self.find(key).is_some() || in_open_section().is_some()
    }

    /// The merged values.
    pub(super) fn values_mut(&mut self) -> &mut Table {
        &mut self.values
    }

    /// Reads the whole as the type that a service wants.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, SettingsError> {
        serde_path_to_error::deserialize(Value::Table(self.values)).map_err(|error| {
            let key = error.path().to_string();
            SettingsError::Refused {
                origin: self.origins.get(&key).cloned().unwrap_or(Origin::Defaults),
                key,
                message: error.inner().message().to_owned(),
            }
        })
    }

    fn find(&self, key: &str) -> Option<&Value> {
        let (first, rest) = match key.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (key, None),
        };
        let mut value = self.values.get(first)?;
        for part in rest.into_iter().flat_map(|rest| rest.split('.')) {
            value = value.as_table()?.get(part)?;
        }
        Some(value)
    }
}

/// Puts `layer` over `base`; `path` is where both are. New keys are taken when `open`, or into an empty section.
fn merge(
    base: &mut Table,
    layer: Table,
    path: &str,
    open: bool,
    origin: &Origin,
    origins: &mut BTreeMap<String, Origin>,
) -> Result<(), SettingsError> {
    let open = open || (base.is_empty() && !path.is_empty());
    for (name, value) in layer {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let Some(known) = base.get_mut(&name) else {
            if !open {
                return Err(SettingsError::UnknownKey {
                    known: sentence(base, path),
                    key,
                    origin: origin.clone(),
                });
            }
            base.insert(name, value);
            origins.insert(key, origin.clone());
            continue;
        };
        match (known, value) {
            (Value::Table(known), Value::Table(value)) => {
                merge(known, value, &key, open, origin, origins)?;
            }
            (known, value) => {
                let wrong = || SettingsError::WrongType {
                    key: key.clone(),
                    origin: origin.clone(),
                    expected: expected(known),
                };
                *known = fitting(known, value).ok_or_else(wrong)?;
                origins.insert(key, origin.clone());
            }
        }
    }
    Ok(())
}

/// The value, if it has the type of the one that it replaces. A whole number also fits where a fraction does.
fn fitting(known: &Value, value: Value) -> Option<Value> {
    match (known, value) {
        (Value::Float(_), Value::Integer(whole)) => whole.to_string().parse().ok().map(Value::Float),
        (known, value) if known.same_type(&value) => Some(value),
        _ => None,
    }
}

/// Text as the type of the value that it replaces. Lists are parted by commas and hold what they held before;
/// an empty one holds text.
fn typed(known: &Value, text: &str) -> Option<Value> {
    match known {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
        Value::Float(_) => text.trim().parse().ok().map(Value::Float),
        Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
        Value::Array(before) => {
            let text_item = Value::String(String::new());
            let item = before.first().unwrap_or(&text_item);
            let items = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            items.map(|part| typed(item, part)).collect::<Option<_>>().map(Value::Array)
        }
        Value::Table(_) | Value::Datetime(_) => None,
    }
}

fn expected(known: &Value) -> &'static str {
    match known {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(items) if items.first().is_some_and(Value::is_table) => {
            "a list of sections (only a file can hold one)"
        }
        Value::Array(_) => "a list (in a variable: parted by commas)",
        Value::Table(_) => "a section (in a variable: SECTION__KEY)",
        Value::Datetime(_) => "a date or time",
    }
}

fn sentence(base: &Table, path: &str) -> String {
    let known = dotted(base.keys().map(String::as_str)).replace('.', ", ");
    if path.is_empty() { format!("the sections are {known}") } else { format!("[{path}] has {known}") }
}
