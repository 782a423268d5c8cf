//! `commonplace import access-log` as a person runs it, on the log of a real blog. Postgres computes the expected
//! counts independently, from the raw lines.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in the functions around it"
)]

mod fixture;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use database::Session;
use flate2::Compression;
use flate2::write::GzEncoder;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

use fixture::{Up, commonplace, directory};

const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/semicomplete-access.log.gz");
const LINES: u64 = 10_000;
const EVERYTHING: [&str; 9] = [
    "--keep-robots",
    "--prefix",
    "/blog/",
    "--prefix",
    "/articles/",
    "--prefix",
    "/presentations/",
    "--prefix",
    "/projects/",
];
/// How long the workers may take for what they were sent.
const COUNTED_WITHIN: Duration = Duration::from_secs(120);
/// Pause between two queries of the counts, because the workers need the same cores.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Views by source path.
type Views = BTreeMap<String, i64>;

/// A running `up` with an account that may import.
struct World {
    up: Up,
    name: &'static str,
    token: String,
    operator: Session,
}

impl World {
    async fn new(name: &'static str, view_window_s: &str) -> Self {
        let up = Up::start(name, &["--fresh"], &[("COMMONPLACE__ENGAGEMENT__VIEW_WINDOW_S", view_window_s)]);
        let account = json!({"handle": "importer", "email": "importer@example.org", "password": "four words are enough"});
        ureq::post(format!("{}/v1/accounts", up.api)).send_json(&account).unwrap();
        let mut command = commonplace(&["token", "--handle", "importer", "--scope", "import", "--directory"]);
        let output = command.arg(directory(name)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        Self { up, name, token, operator: operator_of(name).await }
    }

    fn import(&self, arguments: &[&str]) -> Command {
        let mut command = commonplace(&["import", "access-log", "--directory"]);
        command.arg(directory(self.name)).args(arguments).env("COMMONPLACE_TOKEN", &self.token);
        command
    }

    /// The same system and its data, with another view window.
    async fn restarted(self, view_window_s: &str) -> Self {
        let Self { up, name, token, operator } = self;
        drop(operator);
        up.end(Signal::SIGINT);
        let up = Up::start(name, &[], &[("COMMONPLACE__ENGAGEMENT__VIEW_WINDOW_S", view_window_s)]);
        Self { up, name, token, operator: operator_of(name).await }
    }

    /// What an import of the log reports.
    fn imported(&self, arguments: &[&str]) -> Value {
        self.imported_from(arguments, &[LOG])
    }

    /// What an import of these files reports.
    fn imported_from(&self, arguments: &[&str], files: &[&str]) -> Value {
        let output = self.import(arguments).arg("--json").args(files).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The views that Postgres finds in the log.
    async fn expected(&self, site: &str, view_window_s: i64) -> Views {
        self.found(site, view_window_s, false).await
    }

    async fn found(&self, site: &str, view_window_s: i64, without_robots: bool) -> Views {
        let log = log();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len() as u64, LINES);
        let sql = include_str!("sql/views_in_log.sql");
        let parameters: [&(dyn ToSql + Sync); 4] = [&lines, &view_window_s, &site, &without_robots];
        let rows = self.operator.client.query(sql, &parameters).await.unwrap();
        rows.iter().map(|row| (row.get("source_path"), row.get("views"))).collect()
    }

    /// The views that the system has counted.
    async fn views(&self, site: &str) -> Views {
        let rows = self.operator.client.query(include_str!("sql/views_of_site.sql"), &[&site]).await.unwrap();
        rows.iter().map(|row| (row.get("source_path"), row.get("views"))).collect()
    }

    /// The most viewed blog of a site: its views, and its statistics of May 2015 from the API.
    async fn most_viewed(&self, site: &str) -> (i64, Value) {
        let rows = self.operator.client.query(include_str!("sql/views_of_site.sql"), &[&site]).await.unwrap();
        let most = rows.iter().max_by_key(|row| row.get::<_, i64>("views")).unwrap();
        let (id, views): (i64, i64) = (most.get("id"), most.get("views"));
        let range = "from=2015-05-01T00:00:00Z&to=2015-06-01T00:00:00Z&interval=day";
        let mut answer = ureq::get(format!("{}/v1/blogs/{id}/stats?{range}", self.up.api)).call().unwrap();
        (views, answer.body_mut().read_json().unwrap())
    }
}

/// The running `up`'s database, as the operator.
async fn operator_of(name: &str) -> Session {
    let running = fs::read(directory(name).join("running.json")).unwrap();
    let running: Value = serde_json::from_slice(&running).unwrap();
    Session::open(&running["database_url"].as_str().unwrap().parse().unwrap()).await.unwrap()
}

fn log() -> String {
    let mut log = String::new();
    flate2::read::GzDecoder::new(File::open(LOG).unwrap()).read_to_string(&mut log).unwrap();
    log
}

/// The log in two parts, with hours between them.
fn halves() -> (String, String) {
    let log = log();
    let hour = |line: &str| line.split_once('[').unwrap().1[..14].to_owned();
    let lines: Vec<&str> = log.split_inclusive('\n').collect();
    let middle = (lines.len() / 2..lines.len()).find(|&at| hour(lines[at]) != hour(lines[at - 1])).unwrap();
    (lines[..middle].concat(), lines[middle..].concat())
}

fn sum(views: &Views) -> u64 {
    views.values().sum::<i64>().try_into().unwrap()
}

/// The numbers of the printed table, by what they count.
fn table(stdout: &[u8]) -> BTreeMap<String, u64> {
    let text = String::from_utf8(stdout.to_vec()).unwrap();
    let number = |line: &str| {
        let (what, number) = line.trim().rsplit_once(' ')?;
        Some((what.trim().to_owned(), number.parse().ok()?))
    };
    text.lines().filter_map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn views_in_a_log_are_counted_once() {
    let world = World::new("import", "1800").await;
    let everything = [&EVERYTHING[..], &["--create", "--site", "all"]].concat();
    let expected = world.expected("all", 1800).await;
    let requests = sum(&world.expected("all", 0).await);
    assert!(expected.len() > 500 && sum(&expected) < requests, "{} {requests}", expected.len());

    let dry =
        world.import(&everything).args(["--dry-run", "--json", LOG]).env_remove("COMMONPLACE_TOKEN").output();
    let dry: Value = serde_json::from_slice(&dry.unwrap().stdout).unwrap();
    assert_eq!((dry["lines"].as_u64(), dry["unsent"].as_u64()), (Some(LINES), Some(requests)), "{dry}");

    let first = world.import(&everything).arg(LOG).output().unwrap();
    assert!(first.status.success(), "{first:?}");
    assert_eq!(world.views("all").await, expected);
    let mut rows = table(&first.stdout);
    assert_eq!(rows.remove("lines read"), Some(LINES), "{first:?}");
    assert_eq!(rows.values().sum::<u64>(), LINES, "{first:?}");
    assert_eq!(
        (rows["counted"], rows["repeat, counted before"]),
        (sum(&expected), requests - sum(&expected))
    );

    // Once more, from standard input: nothing counts twice.
    let mut again = world.import(&everything);
    let again = again.args(["--json", "-"]).stdin(File::open(LOG).unwrap()).output().unwrap();
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(
        (&again["counted"], &again["repeat"], &again["blogs_made"]),
        (&json!(0), &json!(requests), &json!(0))
    );
    assert_eq!(world.views("all").await, expected);

    // The same on the message path, on which another process counts.
    let by_message = [&EVERYTHING[..], &["--create", "--site", "sent", "--write-path", "message"]].concat();
    let report = world.imported(&by_message);
    assert_eq!(
        (&report["accepted"], &report["counted"], &report["repeat"]),
        (&json!(requests), &json!(0), &json!(0))
    );
    let expected_by_message = world.expected("sent", 1800).await;
    let deadline = Instant::now() + COUNTED_WITHIN;
    while sum(&world.views("sent").await) < sum(&expected_by_message) && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    assert_eq!(world.views("sent").await, expected_by_message);

    let without_robots = world.imported(&[&EVERYTHING[1..], &["--create", "--site", "readers"]].concat());
    assert!(without_robots["left_out"]["robot"].as_u64().unwrap() > 100, "{without_robots}");
    let readers = world.found("readers", 1800, true).await;
    assert!(sum(&readers) < sum(&expected));
    assert_eq!(world.views("readers").await, readers);

    // Without a window every request counts, but those that were already imported do not count again.
    let world = world.restarted("0").await;
    let again = world.imported(&everything);
    assert_eq!((&again["counted"], &again["repeat"]), (&json!(0), &json!(requests)));
    assert_eq!(world.views("all").await, expected);
    world.up.end(Signal::SIGINT);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_import_resumes_where_it_stopped() {
    let world = World::new("import-killed", "0").await;
    let expected = world.expected("all", 0).await;
    let everything = [&EVERYTHING[..], &["--create", "--site", "all"]].concat();

    let mut slow = world.import(&everything);
    let slow =
        slow.args(["--batch", "5", "--connections", "1", LOG]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut slow = slow.spawn().unwrap();
    while sum(&world.views("all").await) < 100 {
        assert_eq!(slow.try_wait().unwrap(), None, "it is killed before it ends");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    slow.kill().unwrap();
    assert_eq!(slow.wait().unwrap().code(), None);
    let half_way = sum(&world.views("all").await);
    assert!(half_way < sum(&expected), "{half_way}");

    let rest = world.imported(&everything);
    let [counted, repeat] = ["counted", "repeat"].map(|name| rest[name].as_u64().unwrap());
    assert!(repeat >= half_way && counted + repeat == sum(&expected), "{rest}");
    assert_eq!(world.views("all").await, expected, "every request is a view here, equal lines too");
    let (views, stats) = world.most_viewed("all").await;
    assert_eq!(
        (&stats["in_range"]["views"], &stats["totals"]["total_views"]),
        (&json!(views), &json!(views))
    );
    let days = stats["series"].as_array().unwrap().iter().filter(|day| day["views"] != 0);
    let days: Vec<&str> = days.map(|day| day["at"].as_str().unwrap()).collect();
    assert_eq!(days, [17, 18, 19, 20].map(|day| format!("2015-05-{day}T00:00:00Z")));

    in_parts(&world, sum(&expected)).await;

    // Lines of paths without a blog are left out with this reason, and a caller without a valid token is told how to
    // get one.
    let unknown = world.imported(&[&EVERYTHING[..], &["--site", "unknown"]].concat());
    let no_blog = "no blog has this path (--create makes one)";
    assert_eq!((&unknown["counted"], &unknown["left_out"][no_blog]), (&json!(0), &json!(sum(&expected))));
    let refused = world.import(&[LOG]).env("COMMONPLACE_TOKEN", "none").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("401") && said.contains("commonplace token --handle HANDLE --scope import"),
        "{said}"
    );
    assert!(said.contains("broken off after") && said.contains("so far: nothing"), "{said}");

    // Views count by windows from now on, but those that were already imported do not count again.
    let world = world.restarted("1800").await;
    let again = world.imported(&everything);
    assert_eq!((&again["counted"], &again["repeat"]), (&json!(0), &json!(sum(&expected))));
    assert_eq!(world.views("all").await, expected);
    world.up.end(Signal::SIGINT);
}

/// Imports the log in several files, plain and gzipped, and in one stream with the older part last.
async fn in_parts(world: &World, requests: u64) {
    let (first, second) = halves();
    let file = |name: &str, bytes: &[u8]| {
        let file = directory(world.name).join(name);
        fs::write(&file, bytes).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(second.as_bytes()).unwrap();
    let parts = [file("first.log", first.as_bytes()), file("second.gz", &gzip.finish().unwrap())];
    let parts = [parts[0].as_str(), parts[1].as_str(), LOG];
    let report = world.imported_from(&[&EVERYTHING[..], &["--create", "--site", "parts"]].concat(), &parts);
    assert_eq!(
        [&report["lines"], &report["counted"], &report["repeat"]],
        [&json!(2 * LINES), &json!(requests), &json!(requests)]
    );
    assert_eq!(world.views("parts").await, world.expected("parts", 0).await);

    let reversed = file("reversed.log", [second, first].concat().as_bytes());
    let mut stream =
        world.import(&[&EVERYTHING[..], &["--create", "--site", "reversed", "--json", "-"]].concat());
    let report = stream.stdin(File::open(reversed).unwrap()).output().unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!([&report["counted"], &report["repeat"]], [&json!(requests), &json!(0)]);
    assert_eq!(world.views("reversed").await, world.expected("reversed", 0).await);
}
