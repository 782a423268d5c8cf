//! Layers win in their order, types come from the defaults, and every refusal names key and place.

use std::io::Write;

use super::*;

const DEFAULTS: &str = r#"
[http]
address = "127.0.0.1:8080"
host_names = []
[shop]
open = true
name = "corner"
ratio = 0.5
staff_max = 3
doors = ["front"]
ports = [1]
[[shop.keys]]
id = "a"
[labels]
"#;

// Not every shared section is wanted here, so this one lets the others pass.
#[derive(Debug, Deserialize)]
struct Settings {
    log: LogSettings,
    database: Database,
    broker: Broker,
    http: HttpSettings,
    shop: Shop,
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Database {
    url: String,
    pool_max: u32,
}

#[derive(Debug, Deserialize)]
struct Broker {
    url: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shop {
    open: bool,
    name: String,
    ratio: f64,
    staff_max: u8,
    doors: Vec<String>,
    ports: Vec<u16>,
    keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
struct Key {
    id: String,
}

fn loader(variables: &[(&str, &str)]) -> Loader {
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Loader::new(DEFAULTS).environment(variables.collect::<Vec<_>>())
}

fn refusal(loader: Loader) -> String {
    loader.load::<Settings>().unwrap_err().to_string()
}

struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("commonplace-{}-{name}.toml", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_defaults_alone_are_enough() {
    let settings: Settings = loader(&[]).load().unwrap();
    assert_eq!(settings.http.address.port(), 8080);
    assert!(settings.log.filter.starts_with("info"));
    assert_eq!(settings.log.format, LogFormat::Text);
    assert_eq!(settings.shop.keys[0].id, "a");
    assert!(settings.labels.is_empty());
    assert!(settings.database.pool_max > 0);
}

#[test]
fn the_later_layer_wins_key_by_key() {
    let file = TemporaryFile::new(
        "wins",
        "[shop]\nname = \"file\"\nstaff_max = 4\nratio = 2\n[log]\nfilter = \"warn\"",
    );
    let settings: Settings =
        loader(&[("COMMONPLACE__SHOP__NAME", "variable"), ("UNRELATED__SHOP__NAME", "x")])
            .file(Some(&file.0))
            .set("log.filter", "error")
            .load()
            .unwrap();
    assert_eq!(settings.shop.name, "variable");
    assert_eq!(settings.shop.staff_max, 4);
    assert!((settings.shop.ratio - 2.0).abs() < f64::EPSILON, "a whole number fits a fraction");
    assert!(settings.shop.open, "untouched keys keep their default");
    assert_eq!(settings.log.filter, "error");
}

#[test]
fn variables_take_the_type_of_their_key() {
    let settings: Settings = loader(&[
        ("COMMONPLACE__SHOP__NAME", "007"),
        ("COMMONPLACE__SHOP__OPEN", "false"),
        ("COMMONPLACE__SHOP__STAFF_MAX", "12"),
        ("COMMONPLACE__SHOP__RATIO", "0.25"),
        ("COMMONPLACE__SHOP__DOORS", "front, back,"),
        ("COMMONPLACE__SHOP__PORTS", "80,443"),
        ("COMMONPLACE__LABELS__TEAM", "blue"),
    ])
    .load()
    .unwrap();
    assert_eq!(settings.shop.name, "007", "text that looks like a number stays text");
    assert!(!settings.shop.open);
    assert_eq!(settings.shop.staff_max, 12);
    assert_eq!(settings.shop.doors, ["front", "back"]);
    assert_eq!(settings.shop.ports, [80, 443]);
    assert_eq!(settings.labels["team"], "blue");

    let settings: Settings = loader(&[("COMMONPLACE__SHOP__DOORS", "")]).load().unwrap();
    assert!(settings.shop.doors.is_empty(), "an empty variable is an empty list: nothing passes for an item");
}

#[test]
fn well_known_variables_are_settings_and_explicit_ones_win() {
    let settings: Settings = loader(&[
        ("COMMONPLACE__DATABASE__URL", "postgres://explicit"),
        ("DATABASE_URL", "postgres://known"),
        ("AMQP_URL", "amqp://known"),
    ])
    .load()
    .unwrap();
    assert_eq!(settings.database.url, "postgres://explicit");
    assert_eq!(settings.broker.url, "amqp://known");

    let settings: Settings = loader(&[("DATABASE_URL", "")]).load().unwrap();
    assert!(settings.database.url.starts_with("postgres://"), "an empty one does not count");
}

#[test]
fn unknown_keys_are_refused_by_name_and_place() {
    let message = refusal(loader(&[("COMMONPLACE__SHOP__STAF_MAX", "1")]));
    assert!(message.contains("shop.staf_max"), "{message}");
    assert!(message.contains("COMMONPLACE__SHOP__STAF_MAX"), "{message}");
    assert!(message.contains("[shop] has doors, keys, name, open, ports, ratio, staff_max"), "{message}");

    let file = TemporaryFile::new("unknown", "[shopp]\nname = \"x\"");
    let message = refusal(loader(&[]).file(Some(&file.0)));
    assert!(message.contains("unknown key shopp in") && message.contains("unknown.toml"), "{message}");
    assert!(message.contains("the sections are ") && message.contains(", shop"), "{message}");
}

#[test]
fn wrong_types_are_refused_without_repeating_the_value() {
    let message = refusal(loader(&[("COMMONPLACE__SHOP__STAFF_MAX", "hunter2")]));
    assert_eq!(
        message,
        "shop.staff_max in the environment variable COMMONPLACE__SHOP__STAFF_MAX must be a whole number"
    );
    let file = TemporaryFile::new("types", "[database]\nurl = 4711");
    let message = refusal(loader(&[]).file(Some(&file.0)));
    assert!(message.contains("database.url in") && message.ends_with("must be text"), "{message}");
    assert!(!message.contains("4711"), "{message}");
    let message = refusal(loader(&[("COMMONPLACE__SHOP", "x")]));
    assert!(message.contains("must be a section"), "{message}");
    let message = refusal(loader(&[("COMMONPLACE__SHOP__KEYS", "x")]));
    assert!(message.contains("only a file can hold one"), "{message}");
}

#[test]
fn what_the_type_refuses_is_reported_with_key_and_place() {
    let message = refusal(loader(&[("COMMONPLACE__SHOP__STAFF_MAX", "300")]));
    assert!(message.starts_with("shop.staff_max in the environment variable"), "{message}");
    assert!(message.contains("300"), "{message}");
    let message = refusal(loader(&[("COMMONPLACE__LOG__FORMAT", "xml")]));
    assert!(message.contains("log.format") && message.contains("`text` or `json`"), "{message}");
    let message = refusal(loader(&[]).set("http.address", "nowhere"));
    assert!(message.starts_with("http.address in this command is refused"), "{message}");
}

#[test]
fn broken_files_are_named_with_the_line_and_not_quoted() {
    let file = TemporaryFile::new("broken", "[database]\n\nurl = \"postgres://hunter2");
    let message = refusal(loader(&[]).file(Some(&file.0)));
    assert!(message.contains("broken.toml, line 3"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    let message = refusal(loader(&[]).file(Some(Path::new("/nowhere/settings.toml"))));
    assert_eq!(message, "the settings file /nowhere/settings.toml cannot be read");
}

#[test]
fn a_variable_of_a_neighbour_is_passed_over() {
    const NEIGHBOUR: &str = "[mill]\nstones = 2\n[log]\n";
    let variables = [("COMMONPLACE__MILL__STONES", "3")];
    assert!(refusal(loader(&variables)).contains("mill"));
    loader(&variables).neighbours(&[NEIGHBOUR]).load::<Settings>().unwrap();
    let message = refusal(loader(&[("COMMONPLACE__MILL__STONE", "3")]).neighbours(&[NEIGHBOUR]));
    assert!(message.contains("mill"), "{message}");
}
