//! Tests with real servers: they serve, refuse a second start, and restart with their data; however their starter ends, no
//! process is left behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in the functions around it")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use stack::{Error, Options, Postgres, Stack};

/// The servers' directory, below the system's directory for temporary files, which every account can reach.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("commonplace-stack-{name}-{}", std::process::id())))
    }

    fn options(&self) -> Options {
        Options { durable: false, ..Options::new(&self.0) }
    }

    fn start(&self, options: &Options) -> Stack {
        Stack::start(options, &mut |_line| ()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until the servers' locks show that none of their processes is alive, then checks independently.
    fn assert_nothing_is_left(&self, pids: &[u32]) {
        for file in ["postgres/postgres.processes", "rabbitmq/rabbitmq.processes", "rabbitmq/epmd.processes"]
        {
            let file = File::open(self.0.join(file)).unwrap();
            within_a_minute(move || file.lock().unwrap());
        }
        for pid in pids {
            assert!(
                !Path::new(&format!("/proc/{pid}")).exists(),
                "process {pid} is left: {}",
                command_line(*pid)
            );
        }
        // Erlang's helper processes close all inherited descriptors, including the lock; they end a moment after their node.
        let directory = self.0.clone();
        within_a_minute(move || {
            while !processes(&directory).is_empty() {
                thread::park_timeout(Duration::from_millis(10));
            }
        });
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The command lines of all processes whose command line or environment contains this directory.
fn processes(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            command_line(*pid).contains(directory)
                || String::from_utf8_lossy(&environment).contains(directory)
        })
        .map(command_line)
        .collect()
}

fn command_line(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

fn within_a_minute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(60)).expect("done within a minute")
}

fn pids(stack: &Stack) -> Vec<u32> {
    [stack.postgres().pids(), stack.rabbitmq().pids()].concat()
}

fn vhosts(stack: &Stack) -> Vec<String> {
    let url = format!("{}/api/vhosts", stack.management_url());
    let found: Vec<serde_json::Value> = ureq::get(url).call().unwrap().body_mut().read_json().unwrap();
    found.iter().map(|vhost| vhost["name"].as_str().unwrap().to_owned()).collect()
}

/// Whether the broker admits this URL's user to its vhost, judging by the first answer of the handshake.
fn answers(port: u16) -> bool {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(b"AMQP\0\0\x09\x01").unwrap();
    let mut frame = [0; 1];
    stream.read_exact(&mut frame).is_ok() && frame == [1]
}

#[test]
fn a_stack_refuses_a_second_start_and_keeps_its_data() {
    let directory = Directory::new("serves");
    let options = directory.options();
    let mut lines = Vec::new();
    let stack = Stack::start(&options, &mut |line| lines.push(line.to_owned())).unwrap();
    assert!(lines.iter().any(|line| line.starts_with("starting PostgreSQL")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("starting RabbitMQ")), "{lines:?}");

    TcpStream::connect((Ipv4Addr::LOCALHOST, stack.postgres().port())).unwrap();
    assert!(answers(stack.rabbitmq().port()));
    assert!(!stack.versions().postgres.is_empty() && !stack.versions().rabbitmq.is_empty());
    let url = stack.create_vhost("a test/1").unwrap();
    assert!(url.ends_with("/a%20test%2F1"), "{url}");
    stack.create_vhost("gone").unwrap();
    stack.delete_vhost("gone").unwrap();
    assert!(matches!(stack.delete_vhost("gone"), Err(Error::Management { .. })));
    assert_eq!(vhosts(&stack), ["/", "a test/1"]);

    let second = Stack::start(&options, &mut |_line| ());
    let ours = std::process::id();
    assert!(matches!(second, Err(Error::AlreadyRunning { pid: Some(pid), .. }) if pid == ours), "{second:?}");

    let (old_pids, old_url) = (pids(&stack), stack.postgres_url());
    assert_eq!(old_pids.len(), 3);
    assert!(processes(&directory.0).len() >= 3, "the search for processes finds running ones");
    stack.stop().unwrap();
    directory.assert_nothing_is_left(&old_pids);

    let stack = directory.start(&options);
    assert_eq!(vhosts(&stack), ["/", "a test/1"]);
    let password = |url: &str| url.split('@').next().unwrap().to_owned();
    assert_eq!(password(&stack.postgres_url()), password(&old_url));
    let old_pids = pids(&stack);
    drop(stack);
    directory.assert_nothing_is_left(&old_pids);

    let stack = directory.start(&Options { fresh: true, ..options });
    assert_eq!(vhosts(&stack), ["/"]);
    assert_ne!(password(&stack.postgres_url()), password(&old_url));
    stack.stop().unwrap();
}

#[test]
fn a_killed_server_comes_back_on_its_port_with_its_data() {
    let directory = Directory::new("killed");
    let mut stack = directory.start(&directory.options());
    stack.create_vhost("kept").unwrap();
    let (database, broker) = (stack.postgres().port(), stack.rabbitmq().port());
    let old_pids = pids(&stack);

    stack.postgres_mut().kill_9().unwrap();
    stack.rabbitmq_mut().kill_9().unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, database)).is_err());
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).is_err());
    directory.assert_nothing_is_left(&old_pids);

    stack.postgres_mut().restart().unwrap();
    stack.rabbitmq_mut().restart().unwrap();
    assert_eq!((database, broker), (stack.postgres().port(), stack.rabbitmq().port()));
    TcpStream::connect((Ipv4Addr::LOCALHOST, database)).unwrap();
    assert!(answers(broker));
    assert_eq!(vhosts(&stack), ["/", "kept"]);
    let old_pids = pids(&stack);
    stack.stop().unwrap();
    directory.assert_nothing_is_left(&old_pids);
}

/// The example `run` on this directory. `cargo test` builds it with the tests, except when it builds only this test.
fn run(directory: &Directory) -> Command {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples/run");
    assert!(program.exists(), "{} is missing: cargo build -p stack --example run", program.display());
    let mut command = Command::new(program);
    command.arg(&directory.0).arg("--fast");
    command
}

/// A separate process that runs a stack in the directory.
fn holder(directory: &Directory) -> (Child, Vec<u32>) {
    let mut child = run(directory).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("ready ")?.to_owned()));
    let ready = ready.expect("the stack starts");
    (child, ready.split(' ').map(|pid| pid.parse().unwrap()).collect())
}

#[test]
fn the_servers_end_when_their_holder_is_killed() {
    let directory = Directory::new("holder");
    let (mut child, pids) = holder(&directory);
    assert_eq!(pids.len(), 3);
    let refused = Stack::start(&directory.options(), &mut |_line| ());
    let held_by = child.id();
    assert!(
        matches!(refused, Err(Error::AlreadyRunning { pid: Some(pid), .. }) if pid == held_by),
        "{refused:?}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    directory.assert_nothing_is_left(&pids);

    // A start right after the kill waits for the end of the old servers and then finds their data.
    let (mut child, pids) = holder(&directory);
    child.kill().unwrap();
    child.wait().unwrap();
    let stack = directory.start(&directory.options());
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left: {}", command_line(pid));
    }
    stack.stop().unwrap();
}

#[test]
fn a_cluster_for_one_run_leaves_no_files() {
    let directory = Directory::new("once");
    let postgres = Postgres::start(&directory.options(), &mut |_line| ()).unwrap().for_one_run();
    let (port, pids) = (postgres.port(), postgres.pids());
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    drop(postgres);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()), "{pids:?}");
    assert!(!directory.0.exists(), "{} is left", directory.0.display());
}

/// Starts the servers or finds those of an earlier call. Returns their addresses and the number of started servers.
fn keep(directory: &Directory) -> (Vec<String>, usize) {
    let output = run(directory).arg("--keep").output().unwrap();
    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{progress}");
    let addresses = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    (addresses, progress.lines().filter(|line| line.starts_with("starting")).count())
}

#[test]
fn kept_servers_outlive_their_starter_until_they_are_told_to_stop() {
    let directory = Directory::new("kept");
    let (first, started) = keep(&directory);
    assert_eq!((first.len(), started), (3, 2));
    assert_eq!(keep(&directory), (first.clone(), 0), "the second call finds both servers");

    // A mark whose server has died is replaced.
    let mark = fs::read_to_string(directory.0.join("postgres.mark")).unwrap();
    let killed = mark.split(' ').next().unwrap();
    assert!(Command::new("kill").args(["-9", killed]).status().unwrap().success());
    within_a_minute({
        let process = PathBuf::from(format!("/proc/{killed}"));
        move || {
            while process.exists() {
                thread::park_timeout(Duration::from_millis(10));
            }
        }
    });
    let (second, started) = keep(&directory);
    assert_eq!((second.len(), started), (3, 1));
    assert!(second[0] != first[0] && second[1..] == first[1..], "{first:?} {second:?}");

    let stop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/stack");
    assert!(Command::new(stop).arg("stop").arg(&directory.0).status().unwrap().success());
    directory.assert_nothing_is_left(&[]);
}
