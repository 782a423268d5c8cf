//! Tables of values by dotted keys.

use config::{Map, Value, ValueKind};

/// The value at `a.b.c`.
pub(crate) fn find<'a>(table: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, rest)) => find(of(table.get(section)?)?, rest),
        None => table.get(key),
    }
}

/// The value as a table.
pub(crate) fn of(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// `a.b` and a value, as the table `{a: {b: value}}`.
pub(crate) fn nested(key: &str, value: Value) -> Map<String, Value> {
    let (outer, inner) = match key.split_once('.') {
        Some((outer, rest)) => (outer, Value::from(nested(rest, value))),
        None => (key, value),
    };
    Map::from_iter([(outer.to_owned(), inner)])
}

/// `path.name`; at the root, where the path is empty, `name`.
pub(crate) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
