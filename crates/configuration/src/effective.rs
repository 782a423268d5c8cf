//! The effective settings of a process: each key with its value and origin, with secrets redacted.

use config::{Value, ValueKind};

use crate::error::Origin;
use crate::published;
use crate::table::joined;

/// Shown instead of a secret.
const REDACTED: &str = "[redacted]";

/// One setting of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The key, with its section.
    pub key: String,
    /// The value as TOML. For a secret it shows only whether one is set.
    pub value: String,
    /// Where the value came from.
    pub origin: Origin,
}

/// All settings, sorted by their keys.
pub(crate) fn list(values: &Value) -> Vec<Effective> {
    let mut list = Vec::new();
    collect(values, "", &mut list);
    list.sort_by(|one, other| one.key.cmp(&other.key));
    list
}

fn collect(value: &Value, path: &str, list: &mut Vec<Effective>) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (name, value) in table {
                collect(value, &joined(path, name), list);
            }
        }
        kind => list.push(Effective {
            key: path.to_owned(),
            value: shown(kind, published::is_secret(path)),
            origin: Origin::of(value),
        }),
    }
}

fn shown(kind: &ValueKind, is_secret: bool) -> String {
    match kind {
        ValueKind::String(text) if (is_secret && !text.is_empty()) || holds_login(text) => {
            format!("{REDACTED:?}")
        }
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(&item.kind, is_secret)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(table) => {
            let mut pairs: Vec<_> = table
                .iter()
                .map(|(name, value)| format!("{name} = {}", shown(&value.kind, published::is_secret(name))))
                .collect();
            pairs.sort_unstable();
            format!("{{ {} }}", pairs.join(", "))
        }
        number => number.to_string(),
    }
}

/// Whether a text whose key does not name a secret is an address with a login.
fn holds_login(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}
