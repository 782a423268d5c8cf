//! Reads the compose files as docker compose does, as far as they use it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub(crate) const BASE: &str = include_str!("../../../docker-compose.yml");
pub(crate) const CLUSTER: &str = include_str!("../../../docker-compose.cluster.yml");
pub(crate) const DOCKERFILE: &str = include_str!("../../../deploy/Dockerfile");
/// The source file that names the images that `up` runs where the servers are not installed.
pub(crate) const PROVIDE: &str = include_str!("../../../crates/stack/src/provide.rs");
pub(crate) const EXAMPLE: &str = include_str!("../../../.env.example");

/// Reads one file, or several of which later ones override earlier ones. Unlike in docker compose, a later list always
/// replaces an earlier one; only a list of names is merged into a map.
pub(crate) fn read(files: &[&str]) -> Value {
    let mut read = Value::Object(Map::new());
    for file in files {
        lay(&mut read, serde_saphyr::from_str(file).unwrap());
    }
    read
}

fn lay(base: &mut Value, over: Value) {
    if let (Value::Array(names), Value::Object(_)) = (&*base, &over) {
        let names = names.iter().map(|name| (name.as_str().unwrap().to_owned(), Value::Null));
        *base = Value::Object(names.collect());
    }
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

pub(crate) fn services(compose: &Value) -> impl Iterator<Item = (&str, &Value)> {
    compose["services"].as_object().unwrap().iter().map(|(name, service)| (name.as_str(), service))
}

/// Replaces `${NAME}` and `${NAME:-default}`; a default may hold variables itself.
pub(crate) fn interpolated(text: &str, variables: &BTreeMap<String, String>) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let mut depth = 1_usize;
    let end = rest.char_indices().find(|(index, character)| {
        match character {
            '{' if rest[..*index].ends_with('$') => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    let (inside, after) = rest.split_at(end.unwrap().0);
    let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
    let value = variables.get(name).filter(|value| !value.is_empty()).cloned();
    let value = value.unwrap_or_else(|| interpolated(default, variables));
    format!("{before}{value}{}", interpolated(&after[1..], variables))
}

/// The environment that docker compose gives to a service.
pub(crate) fn environment(service: &Value, variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let entries = service["environment"].as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), interpolated(&text(value), variables))).collect()
}

/// `NAME` and `default` of every `${NAME:-default}` whose default holds no other variable.
pub(crate) fn defaults(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("${").skip(1).filter_map(|part| part.split_once('}')).map(|(inside, _)| inside);
    parts.filter_map(|inside| inside.split_once(":-")).collect()
}
