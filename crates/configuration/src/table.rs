//! Tables of values by dotted keys.

use std::collections::BTreeMap;

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

/// All values that are not tables, by their dotted keys.
pub(crate) fn leaves(table: &Map<String, Value>) -> BTreeMap<String, &Value> {
    let mut leaves = BTreeMap::new();
    collect(table, "", &mut leaves);
    leaves
}

fn collect<'a>(table: &'a Map<String, Value>, path: &str, leaves: &mut BTreeMap<String, &'a Value>) {
    for (name, value) in table {
        let key = joined(path, name);
        match of(value) {
            Some(below) => collect(below, &key, leaves),
            None => {
                leaves.insert(key, value);
            }
        }
    }
}
