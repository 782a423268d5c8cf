//! The operator's commands as a person runs them, against a running `up`, which they find by its folder.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in the functions around it"
)]

mod fixture;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use database::Pool;
use engagement::{Engagement, Incoming, OnBadEvent, Outcome};
use events::{Action, Channel, EngagementEvent, EnvelopeId, codec};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use fixture::{Up, commonplace, directory};

/// The password of every account.
const PASSWORD: &str = "correct horse battery";

/// The commands against the running `up` of this name.
struct Operator(&'static str);

impl Operator {
    /// Runs a command: its exit code, stdout and stderr.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = commonplace(arguments);
        let output = command.arg("--directory").arg(directory(self.0)).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// The output of a command, which must succeed.
    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
        stdout
    }

    /// The error of a command, which must fail.
    #[track_caller]
    fn failed(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!(code, 1, "{arguments:?}: {stdout}{stderr}");
        stderr
    }

    /// The JSON that a command prints, and its exit code.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let (code, stdout, stderr) = self.run(&[arguments, &["--json"]].concat());
        let json = serde_json::from_str(&stdout);
        (code, json.unwrap_or_else(|_| panic!("{arguments:?} prints no JSON: {stdout}{stderr}")))
    }
}

/// The API, with or without an account.
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

    fn delete(&self, path: &str, body: &Value) -> u16 {
        let request = Self::agent().delete(format!("{}{path}", self.up.api));
        let token = self.token.as_deref().unwrap_or_default();
        let request = request.header("authorization", format!("Bearer {token}"));
        request.force_send_body().send_json(body).unwrap().status().as_u16()
    }
}

/// Signs up and writes a blog: the account's id, and the blog's.
fn author(up: &Up, handle: &str) -> (i64, i64) {
    let anonymous = Caller { up, token: None };
    let account = json!({"handle": handle, "email": format!("{handle}@example.org"), "password": PASSWORD});
    let (status, account) = anonymous.post("/v1/accounts", &account);
    assert_eq!(status, 201, "{account}");
    let signed = Caller { up, token: Some(sign_in(&anonymous, handle)) };
    let (status, blog) = signed.post("/v1/blogs", &json!({"title": handle, "body": "", "publish": true}));
    assert_eq!(status, 201, "{blog}");
    (account["id"].as_i64().unwrap(), blog["id"].as_i64().unwrap())
}

/// A token of this account.
fn sign_in(caller: &Caller<'_>, handle: &str) -> String {
    let credentials = json!({"handle": handle, "password": PASSWORD});
    let (status, session) = caller.post("/v1/sessions", &credentials);
    assert_eq!(status, 201, "{session}");
    session["token"].as_str().unwrap().to_owned()
}

/// The demo's fan-outs are done, and no command changes that.
fn look_at_fan_outs(operator: &Operator) {
    let (_, fan_outs) = operator.json(&["fan-out", "list", "--all"]);
    let told: Vec<&Value> =
        fan_outs.as_array().unwrap().iter().filter(|fan_out| fan_out["total"] != 0).collect();
    assert!(told.len() > 5 && told.iter().all(|fan_out| fan_out["state"] == "done"), "{fan_outs}");
    let first = operator.done(&["fan-out", "list", "--all", "--limit", "1"]);
    assert!(first.contains("more: raise --limit to see them"), "{first}");
    let one = told[0]["blog_id"].to_string();
    assert!(operator.failed(&["fan-out", "pause", &one]).contains("is done, so there is nothing to change"));
    let nowhere = operator.failed(&["fan-out", "cancel", "999999"]);
    assert!(nowhere.contains("there is no fan-out of blog 999999"), "{nowhere}");
}

#[test]
fn operators_commands_list_change_and_erase() {
    let up = Up::start("operator", &["--fresh"], &[]);
    let operator = Operator("operator");
    let readers = Caller { up: &up, token: None };
    let (id, blog) = author(&up, "zebedee");
    let path = format!("/v1/blogs/{blog}");
    let (status, _) = readers.post(&format!("{path}/views"), &json!({"visitor": "one"}));
    assert_eq!(status, 200);

    // Only its owner can read the secrets of a running `up`.
    let mark = directory("operator").join("running.json");
    assert_eq!(mark.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let (code, ledger) = operator.json(&["ledger"]);
    assert_eq!((code, &ledger["holds"]), (0, &json!(true)), "{ledger}");
    assert!(operator.done(&["ledger"]).contains("the equation holds"));

    look_at_fan_outs(&operator);

    // There is a token for imports, but none for an unknown account.
    let token = operator.done(&["token", "--handle", "zebedee", "--scope", "import"]);
    let importer = Caller { up: &up, token: Some(token.trim().to_owned()) };
    let (status, found) = importer.post("/v1/source-paths", &json!({"paths": ["nowhere"]}));
    assert_eq!((status, found), (200, json!({"items": []})));
    let (_, token) = operator.json(&["token", "--handle", "zebedee", "--scope", "import"]);
    assert_eq!((&token["account_id"], token["scopes"].as_array().unwrap().len()), (&json!(id), 1), "{token}");
    assert!(token["token"].is_string() && token["expires_at"].is_string(), "{token}");
    assert!(
        operator
            .failed(&["token", "--handle", "stranger", "--scope", "import"])
            .contains("there is no account \"stranger\"")
    );

    decide(&operator, &readers, id, blog);
    let author = Caller { up: &up, token: Some(sign_in(&readers, "zebedee")) };
    delete_and_restore(&operator, &author, &readers, id, &path);
    export_and_erase(&operator, &up, id);
    assert_eq!(readers.get(&path).0, 404);
    assert!(operator.done(&["ledger"]).contains("counted"));
    up.end(Signal::SIGINT);
    assert!(!mark.exists(), "the mark goes with the `up`");
}

/// Takes down and restores a blog, and suspends and restores an account.
fn decide(operator: &Operator, readers: &Caller<'_>, id: i64, blog: i64) {
    let (path, blog_id) = (format!("/v1/blogs/{blog}"), blog.to_string());
    assert!(operator.done(&["blog", "takedown", &blog_id]).contains("is taken down"));
    assert_eq!(readers.get(&path).0, 404);
    assert!(operator.done(&["blog", "takedown", &blog_id]).contains("(no change)"));
    assert!(operator.done(&["blog", "restore", &blog_id]).contains("is back"));
    assert_eq!(readers.get(&path).1["total_views"], 1);
    assert!(operator.failed(&["blog", "restore", "999999"]).contains("there is no blog 999999"));
    for (command, is_taken_down) in [("takedown", true), ("restore", false)] {
        let changed =
            json!({"id": blog, "title": "zebedee", "is_taken_down": is_taken_down, "has_changed": true});
        assert_eq!(operator.json(&["blog", command, &blog_id]), (0, changed));
    }

    assert!(operator.done(&["account", "suspend", "zebedee"]).contains("is suspended"));
    assert_eq!(readers.get(&path).0, 404);
    assert!(
        operator
            .failed(&["token", "--handle", "zebedee", "--scope", "import"])
            .contains("has been suspended since")
    );
    assert!(operator.done(&["account", "restore", &id.to_string()]).contains("is no longer suspended"));
    assert_eq!(readers.get(&path).0, 200);
    for (command, is_suspended, has_changed) in
        [("restore", false, false), ("suspend", true, true), ("restore", false, true)]
    {
        let changed =
            json!({"id": id, "handle": "zebedee", "is_suspended": is_suspended, "has_changed": has_changed});
        assert_eq!(operator.json(&["account", command, "@zebedee"]), (0, changed));
    }
    assert!(operator.failed(&["account", "suspend", "999999"]).contains("there is no account 999999"));
}

fn erase<'text>(account: &'text str, record: &'text str) -> [&'text str; 6] {
    ["account", "erase", account, "--yes", "--record", record]
}

/// The author deletes the account, and an operator undoes that.
fn delete_and_restore(operator: &Operator, author: &Caller<'_>, readers: &Caller<'_>, id: i64, path: &str) {
    let deletion = json!({"password": PASSWORD});
    assert_eq!(author.delete("/v1/accounts/me", &deletion), 204);
    assert_eq!(readers.get(path).0, 404);
    // Signing in would undo the deletion, but must not undo an operator's decision.
    assert!(operator.done(&["account", "suspend", "zebedee"]).contains("is suspended"));
    let credentials = json!({"handle": "zebedee", "password": PASSWORD});
    assert_eq!(readers.post("/v1/sessions", &credentials).0, 401);
    assert!(
        operator.failed(&["token", "--handle", "zebedee", "--scope", "import"]).contains("was deleted at")
    );
    let restored = operator.done(&["account", "restore", "zebedee"]);
    assert_eq!(restored, format!("zebedee (id {id}) is no longer deleted, and is still suspended\n"));
    assert_eq!(readers.get(path).0, 404);
    assert!(operator.done(&["account", "restore", "zebedee"]).contains("is no longer suspended"));
    assert_eq!(readers.get(path).0, 200);
}

/// The account asks for an export.
fn ask_for_export(up: &Up, handle: &str) {
    let token = sign_in(&Caller { up, token: None }, handle);
    let request = Caller::agent().put(format!("{}/v1/accounts/me/export-request", up.api));
    let request = request.header("authorization", format!("Bearer {token}"));
    let mut response = request.send_json(json!({"password": PASSWORD})).unwrap();
    let body = response.body_mut().read_to_string().unwrap();
    assert_eq!(response.status().as_u16(), 200, "{body}");
}

/// Exports everything about the account, then erases it.
fn export_and_erase(operator: &Operator, up: &Up, id: i64) {
    let has_not_asked = operator.failed(&["account", "export", "zebedee"]);
    assert!(has_not_asked.contains("zebedee has no open request for an export"), "{has_not_asked}");
    assert!(operator.done(&["account", "exports"]).contains("there is no open request for an export"));
    ask_for_export(up, "zebedee");
    assert!(operator.done(&["account", "exports"]).contains("no account has been exported yet"));
    let export: Value = serde_json::from_str(&operator.done(&["account", "export", "zebedee"])).unwrap();
    assert_eq!(export["account"]["email"], "zebedee@example.org");
    assert_eq!(export["blogs"][0]["title"], "zebedee");
    for (part, items) in
        [("blogs", 1), ("answers", 0), ("following", 0), ("likes", 0), ("parked", 0), ("notifications", 0)]
    {
        assert_eq!(export[part].as_array().unwrap().len(), items, "{part}: {export}");
    }
    let file = directory(operator.0).join("zebedee.json");
    let _none_yet = std::fs::remove_file(&file);
    let to_file = ["account", "export", "zebedee", "--output", file.to_str().unwrap()];
    assert!(operator.failed(&to_file).contains("has no open request"), "the first export used it");
    assert!(!file.exists());
    ask_for_export(up, "zebedee");
    operator.done(&to_file);
    assert_eq!(Path::new(&file).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap(), export);
    assert!(operator.failed(&to_file).contains("making "), "it is there already");
    let (_, exports) = operator.json(&["account", "exports"]);
    assert_eq!(exports["requests"], json!([]));
    let records = exports["records"].as_array().unwrap();
    assert_eq!(records.len(), 2, "{exports}");
    for record in records {
        assert_eq!((&record["handle"], &record["exported_by"]), (&json!("zebedee"), &json!("operator")));
    }

    let record = directory(operator.0).join("erased-accounts");
    let _none_yet = std::fs::remove_file(&record);
    let record = record.to_str().unwrap();
    let (code, _, usage) = operator.run(&["account", "erase", "zebedee", "--yes"]);
    assert!(code == 2 && usage.contains("--record <FILE>"), "nothing is erased without a record: {usage}");
    let without_yes = ["account", "erase", "zebedee", "--record", record];
    assert!(operator.failed(&without_yes).contains("confirm it with --yes"));
    assert!(!Path::new(record).exists(), "an erasure that was not confirmed is not recorded");
    let nowhere = operator.failed(&erase("zebedee", "/nowhere/erased-accounts"));
    assert!(nowhere.contains(&format!("recording account {id} in /nowhere/erased-accounts")), "{nowhere}");
    ask_for_export(up, "zebedee");
    assert!(
        operator.done(&["account", "export", "zebedee"]).contains("zebedee@example.org"),
        "it is untouched"
    );
    assert!(operator.done(&erase("zebedee", record)).contains("is erased"));
    let recorded = std::fs::read_to_string(record).unwrap();
    assert!(recorded.starts_with(&format!("{id} 2")) && recorded.lines().count() == 1, "{recorded}");
    assert!(operator.failed(&["account", "export", &id.to_string()]).contains("there is no account"));
    // Again by id; the handle is unknown now.
    let again = operator.done(&erase(&id.to_string(), record));
    assert!(
        again.contains(&format!("there is no account {id}; data that still named it is erased")),
        "{again}"
    );
    assert_eq!(operator.json(&erase(&id.to_string(), record)), (0, json!({"id": id, "was_there": false})));
    assert_eq!(std::fs::read_to_string(record).unwrap(), recorded, "it is recorded once");
    assert!(operator.failed(&erase("zebedee", record)).contains("there is no account"));
    // If the database is down, the command does not claim to have erased anything.
    let id = id.to_string();
    let mut away = commonplace(&erase(&id, record));
    let away = away.env("DATABASE_URL", "postgres://operator@127.0.0.1:1/none").output().unwrap();
    assert_eq!((away.status.code(), away.stdout.as_slice()), (Some(1), &b""[..]), "{away:?}");
}

/// The running `up`'s database as its worker sees it.
fn worker(name: &str) -> Pool {
    let read = |file: &str| -> Value {
        serde_json::from_slice(&std::fs::read(directory(name).join(file)).unwrap()).unwrap()
    };
    let (running, credentials) = (read("running.json"), read("credentials.json"));
    let (_, server) = running["database_url"].as_str().unwrap().split_once('@').unwrap();
    let password = credentials["analytics_worker_password"].as_str().unwrap();
    let settings = database::Settings {
        url: format!("postgres://analytics_worker:{password}@{server}").into(),
        pool_max: 2,
        instances_max: 1,
        connect_timeout_ms: 30_000,
        wait_timeout_ms: 30_000,
    };
    Pool::new(&settings, "test").unwrap()
}

/// Parks three events: two unreadable ones, and a late one. Returns the ids of both envelopes.
async fn set_aside(pool: &Pool, blog: i64) -> (Uuid, Uuid) {
    let engagement = Engagement::new(pool.clone(), &engagement::Settings { view_window_s: 1800 }).unwrap();
    let share = || EngagementEvent {
        id: Uuid::now_v7(),
        blog_id: blog,
        time: Timestamp::now(),
        action: Action::Shared(Channel::Link),
        key: None,
        imported: false,
    };
    let unreadable = ["{\"type\":\"blog.painted\"}", "{\"\u{1b}[2J\"}"].map(codec::decode_one);
    let bad = Incoming {
        id: EnvelopeId::now(),
        traceparent: None,
        events: unreadable.into_iter().chain([Ok(share())]).collect(),
    };
    let past = Timestamp::now() - SignedDuration::from_hours(24 * 400);
    let past =
        Uuid::from_u128(u128::try_from(past.as_millisecond()).unwrap() << 80 | 0x7000 << 64 | 0x8 << 60);
    let late =
        Incoming { id: EnvelopeId::try_from(past).unwrap(), traceparent: None, events: vec![Ok(share())] };
    let ids = (bad.id.as_uuid(), late.id.as_uuid());
    let applied = engagement.apply(&[bad, late], OnBadEvent::Park).await.unwrap();
    let expected = [vec![Outcome::Parked, Outcome::Parked, Outcome::Counted], vec![Outcome::Parked]];
    assert_eq!(applied.outcomes, expected);
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_listed_redriven_and_dropped() {
    let up = Up::start("operator-parked", &["--fresh"], &[]);
    let operator = Operator("operator-parked");
    assert_eq!(operator.json(&["parked", "list"]), (0, json!([])));
    assert!(operator.done(&["parked", "list"]).contains("no parked event matches"));
    let (_, blog) = author(&up, "zebedee");
    let pool = worker("operator-parked");
    let (bad, late) = set_aside(&pool, blog).await;
    look(&operator, bad, late);
    redrive_and_drop(&operator, &bad.to_string(), &late.to_string());
    assert_eq!(Caller { up: &up, token: None }.get(&format!("/v1/blogs/{blog}")).1["total_shares"], 2);
    let (_, ledger) = operator.json(&["ledger"]);
    assert_eq!(
        [&ledger["holds"], &ledger["parked"], &ledger["given_up"]],
        [&json!(true), &json!(2), &json!(2)]
    );
    reconcile(&operator, &pool, blog).await;
    up.end(Signal::SIGINT);
}

/// `parked list` and `parked show`, with their filters.
fn look(operator: &Operator, bad: Uuid, late: Uuid) {
    let listed = |filter: &[&str]| -> Vec<(String, i64)> {
        let (code, rows) = operator.json(&[&["parked", "list"], filter].concat());
        assert_eq!(code, 0, "{filter:?}");
        let row =
            |row: &Value| (row["envelope_id"].as_str().unwrap().to_owned(), row["index"].as_i64().unwrap());
        let mut rows: Vec<_> = rows.as_array().unwrap().iter().map(row).collect();
        rows.sort();
        rows
    };
    let (first, second, third) = ((bad.to_string(), 0), (bad.to_string(), 1), (late.to_string(), 0));
    assert_eq!(listed(&[]), [third.clone(), first.clone(), second.clone()]);
    assert_eq!(listed(&["--reason", "LATE"]), std::slice::from_ref(&third));
    assert_eq!(listed(&["--reason", "late", "--since", "2100-01-01"]), []);
    assert_eq!(
        listed(&["--reason", "late", "--until", "2100-01-01", "--since", "2020-01-01T00:00:00Z"]),
        [third]
    );
    assert_eq!(listed(&["--sqlstate", "23514"]), []);
    let (code, table, note) = operator.run(&["parked", "list", "--limit", "1"]);
    assert_eq!((code, table.matches("waiting").count()), (0, 1), "{table}");
    assert!(note.contains("1 of 3 are shown"), "{note}");

    let shown = operator.done(&["parked", "show", &bad.to_string(), "1"]);
    assert!(shown.contains("\\u{1b}[2J") && !shown.contains('\u{1b}'), "{shown}");
    let (code, shown) = operator.json(&["parked", "show", &bad.to_string(), "1"]);
    assert_eq!((code, &shown["body"]), (0, &json!("{\"\u{1b}[2J\"}")));
    assert!(operator.failed(&["parked", "show", &bad.to_string(), "2"]).contains("was never parked"));
}

/// `parked redrive` and `parked drop`, of one and of all that match.
fn redrive_and_drop(operator: &Operator, bad: &str, late: &str) {
    for wrong in [
        &["parked", "redrive"][..],
        &["parked", "drop", bad],
        &["parked", "redrive", bad, "0", "--all-matching"],
        &["parked", "drop", bad, "0", "--reason", "late"],
        &["parked", "list", "--since", "yesterday"],
    ] {
        assert_eq!(operator.run(wrong).0, 2, "{wrong:?}");
    }
    assert!(operator.failed(&["parked", "redrive", bad, "0"]).contains("1 stayed parked"));
    let (code, rows) = operator.json(&["parked", "redrive", "--all-matching"]);
    assert_eq!((code, rows.as_array().unwrap().len()), (1, 3), "{rows}");
    for row in rows.as_array().unwrap() {
        assert_eq!(row["result"], "stayed parked", "{row}");
        assert!(row["reason"].is_string() && row["index"].is_i64(), "{row}");
    }
    let (code, rows) =
        operator.json(&["parked", "redrive", "--all-matching", "--reason", "late", "--may-count-twice"]);
    assert_eq!((code, rows), (0, json!([{"envelope_id": late, "index": 0, "result": "counted"}])));
    assert!(operator.failed(&["parked", "redrive", late, "0"]).contains("is not waiting"));
    assert_eq!(operator.json(&["parked", "redrive", "--all-matching", "--reason", "late"]), (0, json!([])));
    assert!(
        operator
            .done(&["parked", "redrive", "--all-matching", "--reason", "late"])
            .contains("no parked event")
    );

    assert_eq!(operator.json(&["parked", "drop", bad, "1"]), (0, json!({"given_up": 1})));
    assert!(operator.failed(&["parked", "drop", bad, "1"]).contains("is not waiting"));
    let all = ["parked", "drop", "--all-matching"];
    assert!(operator.failed(&all).contains("1 parked events match"));
    assert_eq!(
        operator.json(&[&all[..], &["--yes", "--reason", "nothing like it"]].concat()),
        (0, json!({"given_up": 0}))
    );
    assert!(operator.done(&[&all[..], &["--yes"]].concat()).contains("1 given up"));
    assert!(operator.done(&[&all[..], &["--yes"]].concat()).contains("no parked event matches"));
    let everything = operator.done(&["parked", "list", "--all"]);
    assert_eq!(
        (everything.matches("given up").count(), everything.matches("redriven").count()),
        (2, 1),
        "{everything}"
    );
}

/// `reconcile`, of one blog and of all, before and after counters are wrong.
async fn reconcile(operator: &Operator, pool: &Pool, blog: i64) {
    let one = ["reconcile", "--blog", &blog.to_string()];
    assert_eq!(operator.json(&one), (0, json!({"looked_at": 1, "drift": [], "mended": []})));
    assert!(operator.done(&["reconcile"]).contains("every counter is right"));
    assert!(operator.failed(&["reconcile", "--blog", "999999"]).contains("there is no such blog"));
    let plant =
        format!("update blogs.blog_counter set total_views = total_views + 1000 where blog_id = {blog}");
    pool.get().await.unwrap().batch_execute(&plant).await.unwrap();

    let (code, report) = operator.json(&one);
    let drift =
        json!([{"blog_id": blog, "kind": "views", "counter": 1000, "counted": 0, "difference": 1000}]);
    assert_eq!((code, &report["drift"], &report["mended"]), (1, &drift, &json!([])), "{report}");
    assert!(operator.failed(&["reconcile"]).contains("1 counter differs"));
    let (code, report) = operator.json(&["reconcile", "--repair"]);
    assert_eq!((code, &report["drift"], &report["mended"]), (0, &drift, &json!([blog])), "{report}");
    assert_eq!(operator.json(&one), (0, json!({"looked_at": 1, "drift": [], "mended": []})));
}

#[test]
fn every_shell_has_completions() {
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef commonplace"), ("fish", "complete -c commonplace")]
    {
        let output = commonplace(&["completions", shell]).output().unwrap();
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(word), "{shell}");
    }
}
