//! Settings, in layers: the embedded defaults, then a file, then the environment, then what the command itself
//! sets; the later wins, key by key.
//!
//! The defaults are the list of what there is: every key stands there with its reason and its type. So a key
//! that they do not know is refused by name, together with the file or the variable that has it, and a variable,
//! which is only text, is read as the type that its key has there. A section that is empty in the defaults takes
//! any key. What a value means (a range, a set of words) is the business of the type that is loaded; its refusal
//! is reported with the key and with where the value came from. Refusals never repeat a value that the types
//! here have not already understood, since it may be a secret.

mod layer;
pub mod published;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use layer::{Layered, dotted};
pub use layer::{Origin, SettingsError};
use published::Notice;

/// What every process shares: `config/default.toml`.
const SHARED_DEFAULTS: &str = include_str!("../../../config/default.toml");
/// Variables of this prefix are settings; two underscores part the section from the key.
const PREFIX: &str = "COMMONPLACE__";
/// Variables that others also know, and the keys that they are. Empty ones do not count.
const WELL_KNOWN: [(&str, &str); 2] = [("DATABASE_URL", "database.url"), ("AMQP_URL", "broker.url")];

/// Section `[http]` of a process that answers its operators alone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Names that are answered besides those of this machine, without ports, in lower case.
    pub host_names: Vec<String>,
}

/// Section `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// A level, or levels by module: `info,broker=debug`.
    pub filter: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Loads a service's settings: its embedded defaults, the file if there is one, and this process's environment.
///
/// # Errors
/// When a layer cannot be read, has a key that nobody knows, or a value that its key does not take. The message
/// names the key, where it stands, and what would be right. Also when a secret is a published one and other machines can reach
/// the system ([`published`]).
pub fn load<T: DeserializeOwned>(
    service_defaults: &'static str,
    file: Option<&Path>,
) -> Result<T, SettingsError> {
    Loader::new(service_defaults).file(file).load()
}

/// [`load`] with more to say: settings that a command fixes, services that share an environment.
#[derive(Debug)]
pub struct Loader {
    service_defaults: &'static str,
    neighbours: Vec<&'static str>,
    file: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    fixed: Vec<(&'static str, Value)>,
}

impl Loader {
    /// Starts with the shared defaults, these of the service, and the environment of this process.
    #[must_use]
    pub fn new(service_defaults: &'static str) -> Self {
        Self {
            service_defaults,
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

    /// Defaults of other services that run under the same environment: a variable that one of them knows is
    /// passed over here, where it would otherwise be refused.
    #[must_use]
    pub fn neighbours(mut self, defaults: &[&'static str]) -> Self {
        self.neighbours.extend(defaults);
        self
    }

    /// A value that the command itself fixes; it wins over every other layer.
    #[must_use]
    pub fn set(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.fixed.push((key, value.into()));
        self
    }

    /// Lays the layers over each other and reads the result.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load<T: DeserializeOwned>(self) -> Result<T, SettingsError> {
        self.load_noticing().map(|(settings, _)| settings)
    }

    /// [`Loader::load`], and whether published secrets are among the settings.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load_noticing<T: DeserializeOwned>(self) -> Result<(T, Option<Notice>), SettingsError> {
        let mut layered = Layered::from_defaults([SHARED_DEFAULTS, self.service_defaults])?;
        if let Some(file) = &self.file {
            let text = std::fs::read_to_string(file)
                .map_err(|source| SettingsError::Unreadable { file: file.clone(), source })?;
            let origin = Origin::File(file.clone());
            layered.lay(layer::parse(&text, &origin)?, &origin)?;
        }
        let mut passed_over = Vec::new();
        for defaults in &self.neighbours {
            passed_over.push(Layered::from_defaults([SHARED_DEFAULTS, defaults])?);
        }
        for (variable, key, text) in variables(&self.environment)? {
            if !layered.knows(&key) && passed_over.iter().any(|neighbour| neighbour.knows(&key)) {
                continue;
            }
            layered.lay_text(&key, text, &Origin::Variable(variable))?;
        }
        for (key, value) in self.fixed {
            layered.lay(nested(key, value), &Origin::Command)?;
        }
        let notice = published::check(layered.values_mut())?;
        Ok((layered.read()?, notice))
    }
}

/// The variables that are settings, as (variable, dotted key, text): the well-known ones first, so that the
/// explicit ones win.
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
            let key = dotted(rest.to_ascii_lowercase().split("__"));
            explicit.push((name.to_owned(), key, text.to_owned()));
        }
    }
    explicit.sort();
    found.extend(explicit);
    Ok(found)
}

/// `a.b` and a value, as the table `{a: {b: value}}`.
fn nested(key: &str, value: Value) -> Table {
    let (outer, inner) = match key.split_once('.') {
        Some((outer, rest)) => (outer, Value::Table(nested(rest, value))),
        None => (key, value),
    };
    Table::from_iter([(outer.to_owned(), inner)])
}

#[cfg(test)]
mod tests;
