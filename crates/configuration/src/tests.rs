//! Later layers override earlier ones, types come from the defaults, and every error names the key and origin.

use std::io::Write;
use std::net::SocketAddr;

use serde::Deserialize;

use super::*;

const BOUNDS: &[Bound] = &[
    bound("shop.staff_max", 1..=100).because("the corner is small"),
    at_least("database.pool_max", 1),
    fraction("shop.ratio", 0.0..=1.0),
    bound("elsewhere.ignored", 1..=2),
];
/// Bounds of a service that restrict a key of a shared section further.
const NARROWER: &[Bound] = &[bound("database.pool_max", 2..=50)];

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

// This type ignores the other shared sections.
#[derive(Debug, Deserialize)]
struct Settings {
    log: Log,
    database: Database,
    broker: Broker,
    http: Http,
    shop: Shop,
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Log {
    filter: String,
}

#[derive(Debug, Deserialize)]
struct Http {
    address: SocketAddr,
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
    Loader::new(Defaults::new(DEFAULTS, &[BOUNDS, NARROWER])).environment(variables.collect::<Vec<_>>())
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
    assert_eq!(settings.shop.keys[0].id, "a");
    assert!(settings.labels.is_empty());
    assert!(settings.database.pool_max > 0);
}

#[test]
fn the_later_layer_wins_key_by_key() {
    let file = TemporaryFile::new(
        "wins",
        "[shop]\nname = \"file\"\nstaff_max = 4\nratio = 1\n[log]\nfilter = \"warn\"",
    );
    let settings: Settings =
        loader(&[("COMMONPLACE__SHOP__NAME", "variable"), ("UNRELATED__SHOP__NAME", "x")])
            .file(Some(&file.0))
            .set("log.filter", "error")
            .load()
            .unwrap();
    assert_eq!(settings.shop.name, "variable");
    assert_eq!(settings.shop.staff_max, 4);
    assert!((settings.shop.ratio - 1.0).abs() < f64::EPSILON, "a whole number fits a fraction");
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
    assert!(
        settings.shop.doors.is_empty(),
        "an empty variable is an empty list, not a list with one empty item"
    );
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
    assert!(settings.database.url.starts_with("postgres://"), "an empty variable is ignored");
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
fn values_are_not_converted_to_the_type_of_their_key() {
    for (text, expected) in [
        ("staff_max = \"yes\"", "a whole number"),
        ("staff_max = \"12\"", "a whole number"),
        ("staff_max = 2.5", "a whole number"),
        ("staff_max = true", "a whole number"),
        ("open = 1", "true or false"),
        ("open = \"on\"", "true or false"),
        ("ratio = \"0.5\"", "a number"),
        ("name = 7", "text"),
        ("ports = [\"80\"]", "a list of numbers (in a variable: separated by commas)"),
        ("doors = [80]", "a list of text (in a variable: separated by commas)"),
        ("doors = \"front\"", "a list of text (in a variable: separated by commas)"),
        ("keys = [1]", "a list of sections (only a file can hold one)"),
    ] {
        let (name, _) = text.split_once(" =").unwrap();
        let file = TemporaryFile::new(&format!("kinds-{}", text.len()), &format!("[shop]\n{text}"));
        let message = refusal(loader(&[]).file(Some(&file.0)));
        assert_eq!(message, format!("shop.{name} in {} must be {expected}", file.0.display()), "{text}");
    }
    let file = TemporaryFile::new("item", "[[shop.keys]]\nid = \"b\"\ncolour = \"red\"");
    let message = refusal(loader(&[]).file(Some(&file.0)));
    assert!(message.starts_with("unknown key shop.keys.colour in"), "{message}");
}

#[test]
fn numbers_out_of_bounds_are_refused_with_key_and_origin_and_without_the_value() {
    let message = refusal(loader(&[("COMMONPLACE__SHOP__STAFF_MAX", "300")]));
    assert_eq!(
        message,
        "shop.staff_max in the environment variable COMMONPLACE__SHOP__STAFF_MAX must be from 1 to 100: the corner is small"
    );
    let message = refusal(loader(&[]).set("shop.staff_max", -7));
    assert_eq!(message, "shop.staff_max in this command must be from 1 to 100: the corner is small");
    let file = TemporaryFile::new("bounds", "[shop]\nratio = 4711");
    let message = refusal(loader(&[]).file(Some(&file.0)));
    assert_eq!(message, format!("shop.ratio in {} must be from 0 to 1", file.0.display()));
    // The bounds of the section and those of the service both apply.
    let message = refusal(loader(&[]).set("database.pool_max", 1));
    assert_eq!(message, "database.pool_max in this command must be from 2 to 50");
    assert_eq!(loader(&[]).set("database.pool_max", 50).load::<Settings>().unwrap().database.pool_max, 50);
}

#[test]
fn error_of_the_loaded_type_names_key_and_origin() {
    let message = refusal(loader(&[]).set("http.address", "hunter2"));
    assert!(message.starts_with("http.address in this command is refused: "), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    let file = TemporaryFile::new("port", "[shop]\nports = [80, 70000]");
    let message = refusal(loader(&[]).file(Some(&file.0)));
    assert!(message.starts_with("shop.ports[1] in ") && message.contains("port.toml must be "), "{message}");
    assert!(!message.contains("70000"), "{message}");
    let file = TemporaryFile::new("missing", "[[shop.keys]]");
    let message = refusal(loader(&[]).file(Some(&file.0)));
    assert!(message.starts_with("shop.keys[0]") && message.ends_with("it is missing"), "{message}");
}

#[test]
fn effective_settings_show_origins_and_no_secrets() {
    let found = loader(&[
        ("DATABASE_URL", "postgres://blogs_api:hunter2@db/commonplace"),
        ("COMMONPLACE__SHOP__NAME", "amqp://guest:hunter2@rabbitmq"),
        ("COMMONPLACE__TOKENS__VERIFYING_KEYS", "a:hunter2"),
        ("COMMONPLACE__SHOP__PORTS", "80,443"),
    ])
    .set("shop.open", false)
    .effective()
    .unwrap();
    let line = |key: &str| {
        let found = found.iter().find(|found| found.key == key).unwrap();
        format!("{} from {}", found.value, found.origin)
    };
    assert_eq!(line("database.url"), "\"[redacted]\" from the environment variable DATABASE_URL");
    assert_eq!(line("shop.name"), "\"[redacted]\" from the environment variable COMMONPLACE__SHOP__NAME");
    assert_eq!(line("shop.ports"), "[80, 443] from the environment variable COMMONPLACE__SHOP__PORTS");
    assert_eq!(line("shop.open"), "false from this command");
    assert_eq!(line("shop.staff_max"), "3 from the built-in defaults");
    assert_eq!(line("log.format"), "\"text\" from the built-in defaults");
    assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
}

#[test]
fn the_list_has_every_key_with_variable_default_bounds_and_reason() {
    const COMMENTED: &str = "# The shop.\n\n[shop]\n# How many work\n# at a time.\nstaff_max = 3\nname = \"corner\"\n\n[database]\npool_max = 4\n";
    let defaults = Defaults::new(COMMENTED, &[BOUNDS, NARROWER]);
    let own = defaults.own_entries().unwrap();
    let [staff_max, name, pool_max] = own.as_slice() else { panic!("{own:?}") };
    assert_eq!(staff_max.variable, "COMMONPLACE__SHOP__STAFF_MAX");
    assert_eq!((staff_max.default, staff_max.bounds.as_deref()), ("3", Some("1 to 100")));
    assert_eq!((staff_max.reason.as_str(), staff_max.shares_reason), ("How many work at a time.", false));
    assert_eq!((name.default, name.bounds.as_deref()), ("\"corner\"", None));
    assert_eq!((name.reason.as_str(), name.shares_reason), ("How many work at a time.", true));
    assert_eq!((pool_max.bounds.as_deref(), pool_max.reason.as_str()), (Some("2 to 50"), ""));

    // The whole process: the shared keys with its own defaults.
    let all = defaults.entries().unwrap();
    let of = |key: &str| all.iter().find(|entry| entry.key == key).unwrap();
    assert_eq!(of("database.pool_max").default, "4");
    assert!(of("database.pool_max").reason.starts_with("Connections"), "the shared reason");
    assert_eq!(of("database.url").variable, "DATABASE_URL");
    assert_eq!(of("shop.name").default, "\"corner\"");
    assert_eq!(all.iter().filter(|entry| entry.key == "database.pool_max").count(), 1);

    let wrong = Defaults::from("[shop]\ndoors\n").own_entries();
    assert_eq!(wrong.unwrap_err().to_string().lines().count(), 1);
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
fn a_variable_that_only_a_neighbour_knows_is_ignored() {
    const NEIGHBOUR: &str = "[mill]\nstones = 2\n[log]\n";
    let variables = [("COMMONPLACE__MILL__STONES", "3")];
    assert!(refusal(loader(&variables)).contains("mill"));
    loader(&variables).neighbours(&[NEIGHBOUR.into()]).load::<Settings>().unwrap();
    let message = refusal(loader(&[("COMMONPLACE__MILL__STONE", "3")]).neighbours(&[NEIGHBOUR.into()]));
    assert!(message.contains("mill"), "{message}");
}
