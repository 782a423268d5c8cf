//! `commonplace import access-log --dry-run` reads a million lines in bounded memory.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, also in the functions around it, and its output is its report"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const LINES: u64 = 1_000_000;
/// Lines per second, so that the log covers half a day.
const LINES_A_SECOND: u64 = 20;
const MEMORY_KIB_MAX: u64 = 100 * 1024;

/// Writes a line as of a busy site: with returning readers, equal requests within a second, robots, pictures, and
/// noise.
fn write_line(log: &mut String, number: u64) {
    // Every tenth line repeats the line before it.
    let number = if number.is_multiple_of(10) { number.saturating_sub(1) } else { number };
    let second = i64::try_from(number / LINES_A_SECOND).unwrap();
    let time =
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 16_000) + SignedDuration::from_secs(second);
    let time = time.strftime("%d/%b/%Y:%H:%M:%S +0000");
    let reader = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let address = format!("10.{}.{}.{}", reader % 200, reader % 241, reader % 251);
    let path = match number % 100 {
        7 => format!("/img/{}.png", number % 300),
        8 => "/favicon.ico".to_owned(),
        _ => format!("/blog/{}/post-{}.html?from=feed", number % 7, reader % 5000),
    };
    let agent = match number % 50 {
        3 => "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)".to_owned(),
        _ => format!("Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0", reader % 500),
    };
    if number % 200 == 11 {
        log.push_str("\\x16\\x03\\x01 no line of any format\n");
        return;
    }
    writeln!(
        log,
        "{address} - - [{time}] \"GET {path} HTTP/1.1\" 200 {} \"https://example.org/\" \"{agent}\"",
        reader % 90_000
    )
    .unwrap();
}

/// The most memory that a process has had, in KiB.
fn most_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn million_lines_are_read_in_bounded_memory() {
    let mut import = Command::new(env!("CARGO_BIN_EXE_commonplace"))
        .args(["import", "access-log", "--dry-run", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = import.stdin.take().unwrap();
    let (mut log, mut bytes) = (String::new(), 0);
    for number in 0..LINES {
        write_line(&mut log, number);
        if log.len() > 1 << 16 || number + 1 == LINES {
            input.write_all(log.as_bytes()).unwrap();
            bytes += log.len();
            log.clear();
        }
    }
    // The command has now read all but the last bytes in the pipe, so its memory is at its peak.
    let memory_kib = most_memory(import.id());
    drop(input);
    let mut report = String::new();
    import.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    assert!(import.wait().unwrap().success());

    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["lines"], LINES, "{report}");
    assert!(report["unsent"].as_u64().unwrap() > LINES * 9 / 10, "{report}");
    for reason in ["robot", "path outside the prefixes", "not a line of the combined format"] {
        assert!(report["left_out"][reason].as_u64().unwrap() > 1000, "{reason}: {report}");
    }
    println!("{bytes} bytes, at most {memory_kib} KiB of memory");
    assert!(memory_kib < MEMORY_KIB_MAX, "{memory_kib} KiB for {bytes} bytes");
}
