//! `commonplace import access-log --dry-run` on a million lines: how fast they are read, and in how much memory.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, also in the functions around it, and its output is its report"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const LINES: u64 = 1_000_000;
/// Lines of a second: the log is that of half a day.
const LINES_A_SECOND: u64 = 20;
/// Linux counts the time of a process in hundredths of a second.
const TICKS_A_SECOND: f64 = 100.0;
const LINES_A_CPU_SECOND_MIN: f64 = 50_000.0;
const MEMORY_KIB_MAX: u64 = 100 * 1024;

/// Lines of a busy site: readers who come back, equal requests within a second, robots, pictures, and noise.
fn write_line(log: &mut String, number: u64) {
    // Each tenth line says what the line before said.
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

/// The most memory that a process has had, in KiB, and its time on processors so far.
fn taken(pid: u32) -> (u64, f64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name, which may hold anything: user time and system time are the 12th and 13th field.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    (peak.trim().trim_end_matches(" kB").parse().unwrap(), ticks / TICKS_A_SECOND)
}

#[test]
fn a_million_lines_are_read_fast_and_in_bounded_memory() {
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
    // It waits for more by now, or has but a pipe's buffer to read.
    let deadline = Instant::now() + Duration::from_secs(60);
    let (memory_kib, cpu_s) = loop {
        let before = taken(import.id());
        std::thread::sleep(Duration::from_millis(200));
        let (memory_kib, cpu_s) = taken(import.id());
        if cpu_s - before.1 < 1.5 / TICKS_A_SECOND {
            break (memory_kib, cpu_s);
        }
        assert!(Instant::now() < deadline, "it comes to rest");
    };
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
    let lines_a_cpu_second = f64::from(u32::try_from(LINES).unwrap()) / cpu_s;
    println!(
        "{bytes} bytes, {lines_a_cpu_second:.0} lines a second of CPU, at most {memory_kib} KiB of memory"
    );
    assert!(memory_kib < MEMORY_KIB_MAX, "{memory_kib} KiB for {bytes} bytes");
    // Of its own time on processors: others may be at work. Without optimisation, too.
    assert!(lines_a_cpu_second > LINES_A_CPU_SECOND_MIN, "{lines_a_cpu_second}");
}
