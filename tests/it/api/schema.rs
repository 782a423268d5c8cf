//! Validates answers against the schemas of the OpenAPI document, for the part of JSON Schema that it uses.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// The differences between a value and its schema, each with its place. Unknown properties are differences, because the
/// document must describe everything.
pub(super) fn differences(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(document, schema, value, "$", &mut found);
    found
}

/// Follows a reference.
pub(super) fn resolve<'document>(document: &'document Value, schema: &'document Value) -> &'document Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let target = document.pointer(reference.trim_start_matches('#'));
            resolve(document, target.unwrap_or_else(|| panic!("{reference} is not in the document")))
        }
        None => schema,
    }
}

/// Every property that an object of this schema may have.
pub(super) fn properties(document: &Value, schema: &Value) -> BTreeSet<String> {
    let schema = resolve(document, schema);
    let own = schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys().cloned());
    let inherited = schema["allOf"].as_array().into_iter().flatten();
    own.chain(inherited.flat_map(|part| properties(document, part))).collect()
}

fn compare(document: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    if let Some(object) = value.as_object() {
        let known = properties(document, schema);
        let unknown = object.keys().filter(|name| !known.contains(*name));
        found.extend(unknown.map(|name| format!("{place}.{name} is not in the document")));
    }
    compare_part(document, schema, value, place, found);
}

fn compare_part(document: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let schema = resolve(document, schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        compare_part(document, part, value, place, found);
    }
    let kinds = &schema["type"];
    let is_kind = |kind: &Value| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{place}: the document has the type {other:?}, which these tests do not know yet"),
    };
    let fits = match kinds {
        Value::Null => true,
        Value::Array(kinds) => kinds.iter().any(is_kind),
        kind => is_kind(kind),
    };
    if !fits {
        found.push(format!("{place} is {value} and not {kinds}"));
    }
    if let (Some(format), Some(text)) = (schema["format"].as_str(), value.as_str()) {
        let reads = match format {
            "date-time" => text.ends_with('Z') && text.parse::<Timestamp>().is_ok(),
            "uuid" => Uuid::try_parse(text).is_ok(),
            other => {
                panic!("{place}: the document has the format {other:?}, which these tests do not know yet")
            }
        };
        if !reads {
            found.push(format!("{place} is {text:?} and no {format}"));
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            found.push(format!("{place} has no {name}"));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(inner) = value.get(name) {
            compare(document, property, inner, &format!("{place}.{name}"), found);
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        compare(document, &schema["items"], item, &format!("{place}[{index}]"), found);
    }
}

#[test]
fn each_difference_is_found() {
    let document = serde_json::json!({"components": {"schemas": {
        "Base": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}},
        "Whole": {"allOf": [
            {"$ref": "#/components/schemas/Base"},
            {"type": "object", "properties": {
                "at": {"type": ["string", "null"], "format": "date-time"},
                "names": {"type": "array", "items": {"type": "string"}}
            }}
        ]}
    }}});
    let schema = serde_json::json!({"$ref": "#/components/schemas/Whole"});
    for (value, expected) in [
        (serde_json::json!({"id": 1, "at": null, "names": ["a"]}), 0),
        (serde_json::json!({"id": 1, "at": "2026-01-01T00:00:00Z"}), 0),
        (serde_json::json!({"at": "2026-01-01T00:00:00+02:00"}), 2),
        (serde_json::json!({"id": "1", "names": ["a", 1], "more": 1}), 3),
        (serde_json::json!([]), 2 + 1),
    ] {
        let found = differences(&document, &schema, &value);
        assert_eq!(found.len(), expected, "{value}: {found:?}");
    }
}
