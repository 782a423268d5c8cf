//! Loads settings in layers: the embedded defaults, then a file, then the environment, then values that the command sets.
//! Later layers override earlier ones key by key. The `config` crate merges them.
//!
//! The defaults define all keys, each with its type and reason. A key that they do not contain is rejected by name, with its
//! file or variable. A variable is text and is parsed as the type of its key (`layer.rs`). A section that is empty in the
//! defaults accepts any key. Numbers have [bounds](Bound), which are checked on the merged values. All other checks are up to
//! the type being loaded. An error names the key and the origin of its value, but never the value, which may be a secret.

mod bounds;
mod catalogue;
mod effective;
mod error;
mod layer;
pub mod published;
mod read;
mod table;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, File, FileFormat, Map, Value, ValueKind};
use serde::de::DeserializeOwned;

pub use bounds::{Bound, at_least, bound, fraction};
pub use catalogue::{Entry, Malformed};
pub use effective::Effective;
pub use error::{Origin, SettingsError};
use layer::Strict;
use published::Notice;

/// The defaults that all processes share: `config/default.toml`.
pub const SHARED_DEFAULTS: &str = include_str!("../../../config/default.toml");
/// Variables with this prefix are settings; two underscores separate the section from the key.
const PREFIX: &str = "COMMONPLACE__";
/// Variables that other programs also use, and the keys that they set. Empty variables are ignored.
const WELL_KNOWN: [(&str, &str); 2] = [("DATABASE_URL", "database.url"), ("AMQP_URL", "broker.url")];

/// The defaults of one process, and the bounds of its numbers.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    text: &'static str,
    bounds: &'static [&'static [Bound]],
}

impl Defaults {
    /// A file of `config/` that is compiled into the binary, and the bounds of the sections that its process reads, including
    /// sections of the [shared defaults](SHARED_DEFAULTS).
    #[must_use]
    pub const fn new(text: &'static str, bounds: &'static [&'static [Bound]]) -> Self {
        Self { text, bounds }
    }

    /// All its declared bounds.
    pub fn bounds(self) -> impl Iterator<Item = &'static Bound> {
        self.bounds.iter().copied().flatten()
    }
}

/// Defaults without bounds.
impl From<&'static str> for Defaults {
    fn from(text: &'static str) -> Self {
        Self::new(text, &[])
    }
}

/// Loads settings from the layers; by default from the embedded defaults and this process's environment.
pub struct Loader {
    defaults: Defaults,
    neighbours: Vec<Defaults>,
    file: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    fixed: Vec<(String, Value)>,
}

impl Loader {
    /// Starts with the shared defaults, these defaults of the process, and its environment.
    #[must_use]
    pub fn new(defaults: impl Into<Defaults>) -> Self {
        Self {
            defaults: defaults.into(),
            neighbours: Vec::new(),
            file: None,
            environment: std::env::vars_os().collect(),
            fixed: Vec::new(),
        }
    }

    /// The file of `--config`.
    #[must_use]
    pub fn file(mut self, file: Option<&Path>) -> Self {
        self.file = file.map(Path::to_owned);
        self
    }

    /// Replaces the environment of this process.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.environment = variables.into_iter().collect();
        self
    }

    /// Defaults of other services in the same environment. A variable that one of them knows is ignored instead of rejected.
    #[must_use]
    pub fn neighbours(mut self, defaults: &[Defaults]) -> Self {
        self.neighbours.extend(defaults);
        self
    }

    /// A value that the command sets. It overrides all other layers.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.fixed.push((key.into(), value.into()));
        self
    }

    /// Merges the layers and reads the result.
    ///
    /// # Errors
    /// A layer cannot be read, contains an unknown key, or contains an invalid value. The message names the key, its origin,
    /// and what is allowed. Also if a secret is a published one and other machines can reach the system ([`published`]).
    pub fn load<T: DeserializeOwned>(self) -> Result<T, SettingsError> {
        self.load_noticing().map(|(settings, _)| settings)
    }

    /// Like [`Loader::load`], and also returns whether the settings contain published secrets.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_noticing<T: DeserializeOwned>(self) -> Result<(T, Option<Notice>), SettingsError> {
        let (mut config, notice) = self.checked()?;
        if let ValueKind::Table(values) = &mut config.cache.kind {
            // Only the rule about published secrets reads this section; no type contains it.
            values.remove(published::SECTION);
        }
        Ok((read::read(config)?, notice))
    }

    /// The effective settings of a process, key by key, with secrets redacted.
    ///
    /// # Errors
    /// As [`load`](Self::load), except for checks by a service's type.
    pub fn effective(self) -> Result<Vec<Effective>, SettingsError> {
        let (config, _) = self.checked()?;
        Ok(effective::list(&config.cache))
    }

    /// The merged values, after checking bounds and published secrets.
    fn checked(self) -> Result<(Config, Option<Notice>), SettingsError> {
        let bounds = self.defaults.bounds;
        let config = self.merged()?;
        let values = keys(&config);
        let notice = published::check(&values)?;
        bounds::check(bounds, &values)?;
        Ok((config, notice))
    }

    fn merged(self) -> Result<Config, SettingsError> {
        let defaults = built_in(self.defaults)?;
        let known = Arc::new(keys(&defaults));
        let mut builder = Config::builder().add_source(defaults);
        if let Some(file) = self.file {
            let origin = Origin::file(&file);
            let text = std::fs::read_to_string(&file)
                .map_err(|source| SettingsError::Unreadable { file, source })?;
            builder = builder.add_source(Strict::new(&known, layer::parse(&text, &origin)?, origin));
        }
        let mut passed_over = Vec::new();
        for neighbour in self.neighbours {
            passed_over.push(keys(&built_in(neighbour)?));
        }
        for (variable, key, text) in variables(&self.environment)? {
            if !knows(&known, &key) && passed_over.iter().any(|neighbour| knows(neighbour, &key)) {
                continue;
            }
            builder = builder.add_source(Strict::of_text(&known, &key, text, Origin::variable(&variable))?);
        }
        for (key, value) in self.fixed {
            let table = table::nested(&key, value);
            builder = builder.add_source(Strict::new(&known, table, Origin::command()));
        }
        builder.build().map_err(|error| read::explain(error, &Value::default()))
    }
}

/// The shared defaults and those of one process.
fn built_in(defaults: Defaults) -> Result<Config, SettingsError> {
    let of_text = |text: &str| File::from_str(text, FileFormat::Toml);
    let builder = Config::builder().add_source(of_text(SHARED_DEFAULTS)).add_source(of_text(defaults.text));
    builder.build().map_err(|error| read::explain(error, &Value::default()))
}

fn keys(config: &Config) -> Map<String, Value> {
    table::of(&config.cache).cloned().unwrap_or_default()
}

/// Whether the defaults have this key, or an open section around it.
fn knows(defaults: &Map<String, Value>, key: &str) -> bool {
    let in_open_section = || {
        let (section, _) = key.rsplit_once('.')?;
        table::of(table::find(defaults, section)?).filter(|table| table.is_empty())
    };
    table::find(defaults, key).is_some() || in_open_section().is_some()
}

/// The variables that are settings, as (variable, dotted key, text). The well-known ones come first, so that explicit ones
/// override them.
fn variables(environment: &[(OsString, OsString)]) -> Result<Vec<(String, String, String)>, SettingsError> {
    let mut explicit = Vec::new();
    let mut found = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let well_known = WELL_KNOWN.iter().find(|(variable, _)| *variable == name);
        let prefixed = name.strip_prefix(PREFIX);
        if well_known.is_none() && prefixed.is_none() {
            continue;
        }
        let Some(text) = value.to_str() else {
            return Err(SettingsError::NotText { variable: name.to_owned() });
        };
        if let Some((_, key)) = well_known.filter(|_| !text.is_empty()) {
            found.push((name.to_owned(), (*key).to_owned(), text.to_owned()));
        }
        if let Some(rest) = prefixed {
            let key = rest.to_ascii_lowercase().replace("__", ".");
            explicit.push((name.to_owned(), key, text.to_owned()));
        }
    }
    explicit.sort();
    found.extend(explicit);
    Ok(found)
}

/// The variable that sets a key.
fn variable_of(key: &str) -> String {
    match WELL_KNOWN.iter().find(|(_, known)| *known == key) {
        Some((variable, _)) => (*variable).to_owned(),
        None => format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase()),
    }
}

#[cfg(test)]
mod tests;
