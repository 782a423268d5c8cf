//! One layer over the defaults: a [`config::Source`] that rejects keys and types that the defaults do not have.
//!
//! The `config` crate merges tables of any shape and converts values when it reads them: "yes" to 1, 2.5 to 3. So a layer
//! compares its table with the types of the defaults before it is merged. Then each value already has the type of its
//! default when it is read.

use std::fmt;
use std::sync::Arc;

use config::{ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};

use crate::error::{Origin, SettingsError};
use crate::table::{self, joined};

/// A table over the defaults, with the origin of its values.
#[derive(Clone)]
pub(crate) struct Strict {
    origin: Origin,
    table: Map<String, Value>,
    known: Arc<Map<String, Value>>,
}

impl Strict {
    /// A layer of values that already have their types.
    pub(crate) fn new(known: &Arc<Map<String, Value>>, table: Map<String, Value>, origin: Origin) -> Self {
        Self { origin, table, known: Arc::clone(known) }
    }

    /// A layer of one value given as text. It is parsed as the type that its key has in the defaults.
    ///
    /// # Errors
    /// The text cannot be parsed as that type.
    pub(crate) fn of_text(
        known: &Arc<Map<String, Value>>,
        key: &str,
        text: String,
        origin: Origin,
    ) -> Result<Self, SettingsError> {
        let value = match table::find(known, key) {
            Some(default) => typed(default, &text).ok_or_else(|| wrong_type(default, key, &origin))?,
            // An open section accepts it as text; elsewhere `collect` rejects it.
            None => ValueKind::String(text),
        };
        Ok(Self::new(known, table::nested(key, Value::new(None, value)), origin))
    }
}

// Not derived: the values may be secrets.
impl fmt::Debug for Strict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strict").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Source for Strict {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        fit_table(&self.known, &self.table, "", &self.origin)
            .map_err(|error| ConfigError::Foreign(Box::new(error)))
    }
}

/// Parses a file's text. The error message does not quote the text, which may contain a password.
///
/// # Errors
/// [`SettingsError::Malformed`].
pub(crate) fn parse(text: &str, origin: &Origin) -> Result<Map<String, Value>, SettingsError> {
    Format::parse(&FileFormat::Toml, None, text).map_err(|error| {
        let error = error.downcast_ref::<toml::de::Error>();
        let span = error.and_then(toml::de::Error::span);
        let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
        SettingsError::Malformed {
            origin: origin.clone(),
            line: before.matches('\n').count() + 1,
            message: error.map_or("this is not TOML", toml::de::Error::message).to_owned(),
        }
    })
}

/// The values of a table, each with the type of its default. An empty section of the defaults accepts any key.
fn fit_table(
    known: &Map<String, Value>,
    values: &Map<String, Value>,
    path: &str,
    origin: &Origin,
) -> Result<Map<String, Value>, SettingsError> {
    let is_open = known.is_empty() && !path.is_empty();
    let mut values: Vec<_> = values.iter().collect();
    // Sorted, so that each run reports the same one of two mistakes.
    values.sort_by_key(|(name, _)| *name);
    let fitted = values.into_iter().map(|(name, value)| {
        let key = joined(path, name);
        let kind = match known.get(name) {
            Some(default) => fit(default, value, &key, origin)?,
            None if is_open => value.kind.clone(),
            None => {
                let known = sentence(known, path);
                return Err(SettingsError::UnknownKey { key, origin: origin.clone(), known });
            }
        };
        Ok((name.clone(), Value::new(Some(origin.as_text()), kind)))
    });
    fitted.collect()
}

/// The value if it has the type of its default. A whole number is also accepted if the default is a fraction.
fn fit(default: &Value, value: &Value, key: &str, origin: &Origin) -> Result<ValueKind, SettingsError> {
    let wrong = || wrong_type(default, key, origin);
    match (&default.kind, &value.kind) {
        (ValueKind::Table(known), ValueKind::Table(values)) => {
            Ok(ValueKind::Table(fit_table(known, values, key, origin)?))
        }
        (ValueKind::Array(defaults), ValueKind::Array(values)) => {
            let item = item_of(defaults);
            let items = values.iter().map(|value| {
                let fitted = fit(&item, value, key, origin);
                // An error in an item is reported for the whole list, unless the item is a section.
                let is_section = table::of(&item).is_some() && table::of(value).is_some();
                let kind = if is_section { fitted } else { fitted.map_err(|_| wrong()) }?;
                Ok(Value::new(Some(origin.as_text()), kind))
            });
            Ok(ValueKind::Array(items.collect::<Result<_, SettingsError>>()?))
        }
        (ValueKind::String(_), ValueKind::String(_)) | (ValueKind::Boolean(_), ValueKind::Boolean(_)) => {
            Ok(value.kind.clone())
        }
        (ValueKind::I64(_), given) => whole(given).map(ValueKind::I64).ok_or_else(wrong),
        (ValueKind::Float(_), ValueKind::Float(fraction)) => Ok(ValueKind::Float(*fraction)),
        (ValueKind::Float(_), given) => {
            let fraction = whole(given).and_then(|whole| whole.to_string().parse().ok());
            fraction.map(ValueKind::Float).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// Converts a whole number to the only integer type of TOML.
fn whole(kind: &ValueKind) -> Option<i64> {
    match kind {
        ValueKind::I64(number) => Some(*number),
        ValueKind::U64(number) => i64::try_from(*number).ok(),
        ValueKind::I128(number) => i64::try_from(*number).ok(),
        ValueKind::U128(number) => i64::try_from(*number).ok(),
        _ => None,
    }
}

/// The type of a list's items: that of its first default, or text.
fn item_of(defaults: &[Value]) -> Value {
    defaults.first().cloned().unwrap_or_else(|| Value::new(None, String::new()))
}

/// Parses text as the type of its default. Commas separate the items of a list.
fn typed(default: &Value, text: &str) -> Option<ValueKind> {
    match &default.kind {
        ValueKind::String(_) => Some(ValueKind::String(text.to_owned())),
        ValueKind::I64(_) => text.trim().parse().ok().map(ValueKind::I64),
        ValueKind::Float(_) => text.trim().parse().ok().map(ValueKind::Float),
        ValueKind::Boolean(_) => text.trim().parse().ok().map(ValueKind::Boolean),
        ValueKind::Array(defaults) => {
            let item = item_of(defaults);
            let items = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let items = items.map(|part| typed(&item, part).map(|kind| Value::new(None, kind)));
            items.collect::<Option<_>>().map(ValueKind::Array)
        }
        _ => None,
    }
}

fn wrong_type(default: &Value, key: &str, origin: &Origin) -> SettingsError {
    SettingsError::WrongType { key: key.to_owned(), origin: origin.clone(), expected: expected(default) }
}

fn expected(default: &Value) -> &'static str {
    match &default.kind {
        ValueKind::String(_) => "text",
        ValueKind::Float(_) => "a number",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::Array(items) => match item_of(items).kind {
            ValueKind::Table(_) => "a list of sections (only a file can hold one)",
            ValueKind::String(_) => "a list of text (in a variable: separated by commas)",
            _ => "a list of numbers (in a variable: separated by commas)",
        },
        ValueKind::Table(_) => "a section (in a variable: SECTION__KEY)",
        _ => "a whole number",
    }
}

fn sentence(known: &Map<String, Value>, path: &str) -> String {
    let mut names: Vec<_> = known.keys().map(String::as_str).collect();
    names.sort_unstable();
    let names = names.join(", ");
    if path.is_empty() { format!("the sections are {names}") } else { format!("[{path}] has {names}") }
}
