//! Starting a server under its guard, and ending both.
//!
//! The guard (`guard.sh`) is the server's parent. It ends the server when its standard input ends, and only
//! this process holds the other end of that pipe (the standard library opens pipes close-on-exec, so no other
//! child inherits it). The guard runs in a process group of its own, so that a terminal's Ctrl-C reaches us
//! and not the servers. Should somebody kill the guard itself, the kernel signals the server (`setpriv
//! --pdeathsig`).
//!
//! A *processes* file is locked on behalf of the guard and everything below it, and holds their ids. It is
//! free exactly when none of them lives.

use std::ffi::OsString;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::error::{Doing, Error};
use crate::process;

/// How long a server may take to stop by itself before it is killed.
const GRACE: Duration = Duration::from_secs(30);
/// What the guard needs beyond that.
const MARGIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
const SCRIPT: &str = include_str!("guard.sh");
/// The ending of a processes file's name.
const PROCESSES: &str = "processes";
/// A log that has grown beyond this is begun anew at the next start.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Lines of a log that an error carries, and bytes that are searched for them.
const TAIL_LINES_MAX: usize = 20;
const TAIL_BYTES_MAX: u64 = 16 * 1024;

/// A command to run under a guard.
pub(crate) struct Launch<'a> {
    /// The server's name for people.
    pub(crate) server: &'static str,
    /// The name of its log and processes files.
    pub(crate) name: &'static str,
    /// Where those files are, and the command's working directory.
    pub(crate) directory: &'a Path,
    pub(crate) account: Option<&'a Account>,
    pub(crate) program: &'a Path,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    pub(crate) stop: Stop<'a>,
    /// The guarded command that must have ended before this one is asked to.
    pub(crate) after: Option<&'a str>,
}

/// What ends the command.
pub(crate) enum Stop<'a> {
    /// A signal, by its name without `SIG`.
    Signal(&'static str),
    /// The command is docker's client; its container is stopped. It keeps our environment, for its settings.
    Container(&'a str),
}

/// A command under its guard. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Guarded {
    server: &'static str,
    guard: Child,
    /// The pipe whose end is the command's end.
    input: Option<ChildStdin>,
    pid: u32,
    processes: PathBuf,
    log: PathBuf,
    /// Where this run's part of the log begins.
    log_start: u64,
}

impl Guarded {
    pub(crate) fn launch(launch: &Launch<'_>) -> Result<Self, Error> {
        let log = log_path(launch.directory, launch.name);
        let log_file = open_log(&log).doing(|| format!("open the log {}", log.display()))?;
        let mut log_start = log_file.metadata().map_or(0, |metadata| metadata.len());
        if log_start > LOG_BYTES_MAX {
            log_file.set_len(0).doing(|| format!("empty the log {}", log.display()))?;
            log_start = 0;
        }
        let processes = processes_path(launch.directory, launch.name);
        let lock = open_processes(&processes)?;
        if lock.try_lock().is_err() {
            return Err(Error::StillRunning { server: launch.server.to_owned(), pids: pids(&processes) });
        }
        lock.set_len(0).doing(|| format!("empty {}", processes.display()))?;

        let mut command = command(launch);
        command.stdin(Stdio::piped()).stdout(lock).stderr(log_file);
        let mut guard = command.spawn().doing(|| format!("start the guard of {}", launch.server))?;
        let input = guard.stdin.take();
        // Our copy of the lock's descriptor goes with the command: from here on the lock is the guard's.
        drop(command);
        let mut guarded = Self { server: launch.server, guard, input, pid: 0, processes, log, log_start };
        guarded.pid = guarded.read_pid()?;
        Ok(guarded)
    }

    /// The command's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the command has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.guard.try_wait(), Ok(None))
    }

    /// Waits until `ready` holds.
    pub(crate) fn wait_ready(
        &mut self,
        patience: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        while !ready() {
            if self.has_ended() {
                return Err(self.ended());
            }
            if Instant::now() >= deadline {
                let (server, log, tail) = (self.server, self.log.clone(), self.log_tail());
                return Err(Error::NotReady { server, waited_s: patience.as_secs(), log, tail });
            }
            thread::sleep(POLL * 5);
        }
        // Somebody else may have answered on a port that ours could not get.
        if self.has_ended() { Err(self.ended()) } else { Ok(()) }
    }

    /// Waits until the command ends by itself, and well.
    pub(crate) fn wait_done(mut self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            match self.guard.try_wait().doing(|| format!("wait for {}", self.server))? {
                Some(status) if status.success() => return self.stop(),
                Some(_) => return Err(self.ended()),
                None => thread::sleep(POLL),
            }
        }
        let (server, log, tail) = (self.server, self.log.clone(), self.log_tail());
        Err(Error::NotReady { server, waited_s: patience.as_secs(), log, tail })
    }

    /// Asks the command to end, waits until it has, and makes sure that no process of it is left.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        self.ask_to_stop();
        let deadline = Instant::now() + GRACE + GRACE + MARGIN;
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        // The rest of the server's processes follow it within moments.
        if wait_free(&self.processes, MARGIN) {
            return Ok(());
        }
        self.kill_9()
    }

    /// Closes the pipe. [`Guarded::stop`] waits for the end.
    pub(crate) fn ask_to_stop(&mut self) {
        self.input = None;
    }

    /// Kills the command and every process below it, as a crash would, and waits until they are gone.
    pub(crate) fn kill_9(&mut self) -> Result<(), Error> {
        let below = process::descendants(self.pid);
        if !self.has_ended() {
            process::send(self.pid, Signal::SIGKILL);
        }
        below.iter().for_each(|pid| process::send(*pid, Signal::SIGKILL));
        self.input = None;
        if wait_free(&self.processes, MARGIN) {
            // The guard holds the lock too, so it is at its end.
            drop(self.guard.wait());
            return Ok(());
        }
        let pids = std::iter::once(self.pid).chain(below).collect();
        Err(Error::StillRunning { server: self.server.to_owned(), pids })
    }

    /// Stops the command and every process below it where they are, until [`Guarded::resume`].
    pub(crate) fn pause(&self) {
        self.send_to_all(Signal::SIGSTOP);
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) {
        self.send_to_all(Signal::SIGCONT);
    }

    fn send_to_all(&self, signal: Signal) {
        process::send(self.pid, signal);
        process::descendants(self.pid).into_iter().for_each(|pid| process::send(pid, signal));
    }

    /// What this run has written to the log last.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log, self.log_start)
    }

    fn ended(&self) -> Error {
        Error::Ended { server: self.server, log: self.log.clone(), tail: self.log_tail() }
    }

    fn read_pid(&mut self) -> Result<u32, Error> {
        let deadline = Instant::now() + MARGIN;
        while Instant::now() < deadline {
            if let [_, server] = pids(&self.processes)[..] {
                return Ok(server);
            }
            if self.has_ended() {
                break;
            }
            thread::sleep(POLL);
        }
        Err(self.ended())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // A stop that failed has been tried with every means already, and a drop has nobody to tell.
        drop(self.stop());
    }
}

/// Opens a log for appending that its owner alone can read, whatever the umask is and whatever an earlier release made.
///
/// # Errors
/// Those of the file system.
pub fn open_log(path: &Path) -> io::Result<File> {
    let log = File::options().create(true).append(true).mode(0o600).open(path)?;
    log.set_permissions(Permissions::from_mode(0o600))?;
    Ok(log)
}

/// Where a guarded command's output goes.
pub(crate) fn log_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}

/// Ends what an earlier run left in `directory`. As a rule that run's guards are already at it, because their
/// pipes ended with their starter; then this only waits.
pub(crate) fn settle(directory: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(directory).doing(|| format!("read {}", directory.display()))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.extension().is_some_and(|extension| extension == PROCESSES) {
            settle_one(directory, &path)?;
        }
    }
    Ok(())
}

fn settle_one(directory: &Path, processes: &Path) -> Result<(), Error> {
    if wait_free(processes, Duration::ZERO) {
        return Ok(());
    }
    let pids = pids(processes);
    let (guard, server) = (pids.first().copied(), pids.get(1).copied().unwrap_or_default());
    if !guard.is_some_and(|guard| process::speaks_of(guard, directory))
        && process::speaks_of(server, directory)
    {
        // Nobody else will ask it to stop.
        process::send(server, Signal::SIGINT);
        process::send(server, Signal::SIGTERM);
    }
    if wait_free(processes, GRACE + GRACE + MARGIN) {
        return Ok(());
    }
    let below = process::descendants(server);
    if process::speaks_of(server, directory) {
        process::send(server, Signal::SIGKILL);
        below.iter().for_each(|pid| process::send(*pid, Signal::SIGKILL));
    }
    if wait_free(processes, MARGIN) {
        return Ok(());
    }
    Err(Error::StillRunning { server: format!("an earlier run in {}", directory.display()), pids })
}

fn command(launch: &Launch<'_>) -> Command {
    let (signal, container) = match launch.stop {
        Stop::Signal(signal) => (signal, ""),
        Stop::Container(name) => ("TERM", name),
    };
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(SCRIPT).arg(processes_path(launch.directory, launch.name));
    command.arg(signal).arg(GRACE.as_secs().to_string());
    command.arg(launch.after.map_or_else(PathBuf::new, |name| processes_path(launch.directory, name)));
    command.arg(container);
    if container.is_empty() {
        command.env_clear();
        command.args(["setpriv".into(), OsString::from(format!("--pdeathsig={signal}"))]);
        command.args(launch.account.map(Account::setpriv_arguments).unwrap_or_default());
        command.arg("--");
    }
    command.arg(launch.program).args(&launch.arguments);
    command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir(launch.directory).process_group(0);
    command
}

fn processes_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.{PROCESSES}"))
}

fn open_processes(path: &Path) -> Result<File, Error> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .doing(|| format!("open {}", path.display()))
}

/// Waits until nobody holds the lock on a processes file.
fn wait_free(processes: &Path, patience: Duration) -> bool {
    let Ok(file) = File::open(processes) else { return !processes.exists() };
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(POLL),
            Err(_) => return false,
        }
    }
}

/// The guard's and the server's ids; nothing while the line is not whole.
fn pids(processes: &Path) -> Vec<u32> {
    let text = fs::read_to_string(processes).unwrap_or_default();
    let Some((line, _)) = text.split_once('\n') else { return Vec::new() };
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The last lines of a log, from `start` on.
fn tail(log: &Path, start: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(TAIL_BYTES_MAX))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    last_lines(&text)
}

/// The last lines of what a program wrote.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES_MAX)..).unwrap_or_default().join("\n")
}
