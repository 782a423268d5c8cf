//! The operator's commands as a person runs them, against a running `up`, which they find by its folder.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in the functions around it"
)]

mod fixture;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use fixture::{Up, commonplace, directory};

const NAME: &str = "operator";

/// Runs a command against the running `up`: its exit code, stdout and stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = commonplace(arguments);
    let output = command.arg("--directory").arg(directory(NAME)).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// What a command prints that is expected to succeed.
#[track_caller]
fn done(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
    stdout
}

/// What a command says that is expected to fail.
#[track_caller]
fn failed(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!(code, 1, "{arguments:?}: {stdout}{stderr}");
    stderr
}

/// The API, as one account or as nobody.
struct Caller<'up> {
    up: &'up Up,
    token: Option<String>,
}

impl Caller<'_> {
    fn agent() -> ureq::Agent {
        ureq::Agent::config_builder().http_status_as_error(false).build().into()
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut request = Self::agent().get(format!("{}{path}", self.up.api));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().unwrap();
        (response.status().as_u16(), response.body_mut().read_json().unwrap_or(Value::Null))
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut request = Self::agent().post(format!("{}{path}", self.up.api));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.header("x-write-path", "direct").send_json(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_json().unwrap_or(Value::Null))
    }
}

/// Signs up and writes a blog: the account's id, and the blog's.
fn author(up: &Up, handle: &str) -> (i64, i64) {
    let password = "correct horse battery";
    let nobody = Caller { up, token: None };
    let account = json!({"handle": handle, "email": format!("{handle}@example.org"), "password": password});
    let (status, account) = nobody.post("/v1/accounts", &account);
    assert_eq!(status, 201, "{account}");
    let (_, session) = nobody.post("/v1/sessions", &json!({"handle": handle, "password": password}));
    let token = session["token"].as_str().unwrap().to_owned();
    let signed = Caller { up, token: Some(token) };
    let (status, blog) = signed.post("/v1/blogs", &json!({"title": handle, "body": "", "publish": true}));
    assert_eq!(status, 201, "{blog}");
    (account["id"].as_i64().unwrap(), blog["id"].as_i64().unwrap())
}

#[test]
fn operators_look_decide_and_erase() {
    let up = Up::start(NAME, &["--fresh"], &[]);
    let readers = Caller { up: &up, token: None };
    let (id, blog) = author(&up, "zebedee");
    let path = format!("/v1/blogs/{blog}");
    let (status, _) = readers.post(&format!("{path}/views"), &json!({"visitor": "one"}));
    assert_eq!(status, 200);

    // The secrets of a running `up` are its owner's alone.
    let mark = directory(NAME).join("running.json");
    assert_eq!(mark.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // What there is to see.
    let ledger: Value = serde_json::from_str(&done(&["ledger", "--json"])).unwrap();
    assert_eq!(ledger["holds"], true, "{ledger}");
    assert!(done(&["ledger"]).contains("counted"));
    assert!(!done(&["reconcile"]).is_empty());
    let parked: Value = serde_json::from_str(&done(&["parked", "list", "--json"])).unwrap();
    assert_eq!(parked, json!([]));

    // Everybody has been told of the demo's blogs, and that stays so.
    let fan_outs: Value = serde_json::from_str(&done(&["fan-out", "list", "--all", "--json"])).unwrap();
    let told: Vec<&Value> =
        fan_outs.as_array().unwrap().iter().filter(|fan_out| fan_out["total"] != 0).collect();
    assert!(told.len() > 5 && told.iter().all(|fan_out| fan_out["state"] == "done"), "{fan_outs}");
    assert!(done(&["fan-out", "list", "--all", "--limit", "1"]).contains("more; --limit shows them"));
    let one = told[0]["blog_id"].to_string();
    assert!(failed(&["fan-out", "pause", &one]).contains("is done, so there is nothing to change"));
    assert!(failed(&["fan-out", "cancel", "999999"]).contains("there is no fan-out of a blog 999999"));

    // A token that may import, and none for nobody.
    let token = done(&["token", "--handle", "zebedee", "--scope", "import"]);
    let importer = Caller { up: &up, token: Some(token.trim().to_owned()) };
    let (status, found) = importer.post("/v1/source-paths", &json!({"paths": ["nowhere"]}));
    assert_eq!((status, found), (200, json!({"items": []})));
    assert!(failed(&["token", "--handle", "nobody"]).contains("there is no account \"nobody\""));

    // A blog goes and comes back.
    assert!(done(&["blog", "takedown", &blog.to_string()]).contains("is taken down"));
    assert_eq!(readers.get(&path).0, 404);
    assert!(done(&["blog", "takedown", &blog.to_string()]).contains("it was so already"));
    assert!(done(&["blog", "restore", &blog.to_string()]).contains("is back"));
    assert_eq!(readers.get(&path).1["total_views"], 1);
    assert!(failed(&["blog", "restore", "999999"]).contains("there is no blog 999999"));

    // An account goes and comes back.
    assert!(done(&["account", "suspend", "zebedee"]).contains("is suspended"));
    assert_eq!(readers.get(&path).0, 404);
    assert!(failed(&["token", "--handle", "zebedee"]).contains("is suspended since"));
    assert!(done(&["account", "restore", &id.to_string()]).contains("is no longer suspended"));
    assert_eq!(readers.get(&path).0, 200);

    // Everything of it, then nothing of it.
    let export: Value = serde_json::from_str(&done(&["account", "export", "zebedee"])).unwrap();
    assert_eq!(export["account"]["email"], "zebedee@example.org");
    assert_eq!((&export["blogs"][0]["id"], &export["likes"]), (&json!(blog), &json!([])));
    let file = directory(NAME).join("zebedee.json");
    let _none_yet = std::fs::remove_file(&file);
    done(&["account", "export", "zebedee", "--output", file.to_str().unwrap()]);
    assert_eq!(Path::new(&file).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(failed(&["account", "erase", "zebedee"]).contains("say --yes"));
    assert!(done(&["account", "erase", "zebedee", "--yes"]).contains("is erased"));
    assert_eq!(readers.get(&path).0, 404);
    assert!(failed(&["account", "export", &id.to_string()]).contains("there is no account"));
    assert!(done(&["ledger"]).contains("counted"));
    up.end(Signal::SIGINT);
    assert!(!mark.exists(), "the mark goes with the `up`");
}

#[test]
fn completions_are_for_each_shell() {
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef commonplace"), ("fish", "complete -c commonplace")]
    {
        let output = commonplace(&["completions", shell]).output().unwrap();
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(word), "{shell}");
    }
}
