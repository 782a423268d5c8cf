//! Runs every command of `docs/shared-database.md` against a fresh `up`, in the page's order, and compares what it prints with
//! what the page shows.
//!
//! In the page, `…` stands for any text; on a line of its own, for any number of lines. Ids of events differ in every run, so
//! all UUIDs count as equal.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod fixture;

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, thread};

use nix::sys::signal::Signal;

use fixture::{Up, directory};

const PAGE: &str = include_str!("../../docs/shared-database.md");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const NAME: &str = "shared-database";
/// The prefix of the line that follows the output of each command.
const MARK: &str = "@@ end of command ";

/// A command of the page, and the lines that it prints there.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    command: String,
    output: Vec<String>,
}

/// The commands in the fenced blocks of a page. A block of `sh` has commands only, and they print nothing.
fn shown(page: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut block = None;
    for line in page.lines() {
        match (block, line.strip_prefix("```")) {
            (None, None) => {}
            (None, Some(kind)) => {
                assert!(["sh", "console"].contains(&kind), "a block of {kind:?} is not run");
                block = Some(kind);
            }
            (Some(_), Some(_)) => {
                all.iter_mut().for_each(|shown| trim(&mut shown.output));
                block = None;
            }
            (Some("sh"), None) => all.push(Shown { command: line.to_owned(), output: Vec::new() }),
            (Some(_), None) => match (line.strip_prefix("$ "), all.last_mut()) {
                (Some(command), _) => all.push(Shown { command: command.to_owned(), output: Vec::new() }),
                (None, Some(last)) if last.output.is_empty() && is_incomplete(&last.command) => {
                    last.command = format!("{}\n{line}", last.command);
                }
                (None, last) => last.expect("a command comes before its output").output.push(line.to_owned()),
            },
        }
    }
    all
}

/// Removes empty lines at the end: the page separates commands by them, and `run` prints them before its marks.
fn trim(lines: &mut Vec<String>) {
    while lines.pop_if(|line| line.trim().is_empty()).is_some() {}
}

fn is_incomplete(command: &str) -> bool {
    command.ends_with('\\') || command.matches('"').count() % 2 == 1
}

/// Whether the lines agree with those of the page.
fn agree(expected: &[String], actual: &[String]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((line, rest)) if line.trim() == "…" => {
            (0..=actual.len()).any(|skipped| agree(rest, &actual[skipped..]))
        }
        Some((line, rest)) => {
            actual.split_first().is_some_and(|(first, others)| same(line, first) && agree(rest, others))
        }
    }
}

fn same(expected: &str, actual: &str) -> bool {
    let (expected, actual) = (without_ids(expected), without_ids(actual));
    let mut parts = expected.split('…');
    let Some(mut rest) = actual.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        let Some(at) = (if part.is_empty() { Some(rest.len()) } else { rest.find(part) }) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last == Some("")
}

/// The line without trailing spaces and with the same text for every UUID.
fn without_ids(line: &str) -> String {
    let is_id = |word: &str| {
        word.len() == 36
            && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
            && word.matches('-').count() == 4
    };
    let words = line.trim_end().split_inclusive('"').map(|word| match word.strip_suffix('"') {
        Some(id) if is_id(id) => "ID\"".to_owned(),
        _ => word.to_owned(),
    });
    words.collect()
}

/// Runs the commands in one shell, and returns the lines that each prints.
fn run(commands: &[&str], folder: &Path, api: &str) -> Vec<Vec<String>> {
    let mut script = "shopt -s expand_aliases\nexec 2>&1\n".to_owned();
    for (n, command) in commands.iter().enumerate() {
        let command = command
            .replace("cargo run --quiet --", env!("CARGO_BIN_EXE_commonplace"))
            .replace("http://127.0.0.1:8080", api);
        // A command that reads its input must not read the rest of the script.
        writeln!(script, "{{ {command}\n}} </dev/null\necho; echo '{MARK}{n}'").unwrap();
    }
    let mut shell = Command::new("bash");
    shell.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    for variable in ["DATABASE_URL", "AMQP_URL", "RABBITMQ_MANAGEMENT_URL"] {
        shell.env_remove(variable);
    }
    let mut shell = shell.env("LC_ALL", "C.UTF-8").spawn().unwrap();
    let mut stdin = shell.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(script.as_bytes()));
    let printed = String::from_utf8(shell.wait_with_output().unwrap().stdout).unwrap();
    writer.join().unwrap().unwrap();
    let mut outputs = vec![Vec::new()];
    for line in printed.lines() {
        if line.starts_with(MARK) {
            trim(outputs.last_mut().unwrap());
            outputs.push(Vec::new());
        } else {
            outputs.last_mut().unwrap().push(line.to_owned());
        }
    }
    assert_eq!(outputs.len(), commands.len() + 1, "every command ends:\n{printed}");
    outputs
}

/// A folder like a checkout in which `up` runs: the commands read migrations and statements, and write files of their own.
fn checkout(folder: &Path) {
    let _none_yet = fs::remove_dir_all(folder);
    fs::create_dir_all(folder.join("migrations")).unwrap();
    fs::write(folder.join("Cargo.lock"), "").unwrap();
    for name in ["crates", "services"] {
        symlink(Path::new(ROOT).join(name), folder.join(name)).unwrap();
    }
    for file in fs::read_dir(Path::new(ROOT).join("migrations")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.join("migrations").join(file.file_name())).unwrap();
    }
}

#[test]
fn commands_of_the_page_print_what_the_page_shows() {
    let all = shown(PAGE);
    let (first, rest) = all.split_first().unwrap();
    assert_eq!(first.command, "cargo run -- up");
    assert!(rest.len() > 25, "{}", rest.len());
    let folder = directory(NAME);
    checkout(&folder);
    let up = Up::start(&format!("{NAME}/.stack/up"), &["--fresh"], &[]);
    let commands: Vec<_> = rest.iter().map(|shown| shown.command.as_str()).collect();
    let outputs = run(&commands, &folder, &up.api);
    up.end(Signal::SIGTERM);
    let mut wrong = String::new();
    for (Shown { command, output }, actual) in rest.iter().zip(&outputs) {
        if !agree(output, actual) {
            write!(
                wrong,
                "\n$ {command}\nthe page:\n{}\nprinted:\n{}\n",
                output.join("\n"),
                actual.join("\n")
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "docs/shared-database.md differs from what its commands print:\n{wrong}");
}

#[test]
fn commands_and_their_output_are_read_from_a_page() {
    let page = "Text\n```sh\ncargo run -- up\n```\n```console\n$ one \\\n  two\nthree\n\n$ psql -c \"\nselect 1\"\n 1\n```\n";
    let shown = shown(page);
    let commands: Vec<_> = shown.iter().map(|shown| shown.command.as_str()).collect();
    assert_eq!(commands, ["cargo run -- up", "one \\\n  two", "psql -c \"\nselect 1\""]);
    assert_eq!(shown[1].output, ["three"]);
    assert_eq!(shown[2].output, [" 1"]);
}

#[test]
fn comparison_notices_differences() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, actual, equal) in [
        ("one\ntwo", "one\ntwo", true),
        ("one\ntwo", "one", false),
        ("one", "one\ntwo", false),
        ("one\n…\nfour", "one\ntwo\nthree\nfour", true),
        ("one\n…\nfour", "one\ntwo\nthree", false),
        ("psql: … FATAL", "psql: error FATAL", true),
        ("psql: … FATAL", "psql: error", false),
        ("total …", "total 5", true),
        ("total 5 …", "total 6 more", false),
        (
            "{\"id\":\"01a20a78-b2fe-75e1-bfcb-88a61a898e1f\",\"n\":1}",
            "{\"id\":\"01a20a78-b2fe-75e1-bfcb-000000000000\",\"n\":1}",
            true,
        ),
        (
            "{\"id\":\"01a20a78-b2fe-75e1-bfcb-88a61a898e1f\",\"n\":1}",
            "{\"id\":\"01a20a78-b2fe-75e1-bfcb-000000000000\",\"n\":2}",
            false,
        ),
    ] {
        assert_eq!(agree(&lines(expected), &lines(actual)), equal, "{expected:?} {actual:?}");
    }
}
