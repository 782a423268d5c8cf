//! Starts a server or a service under a guard, and stops both.
//!
//! The guard (`guard.sh`) is the server's parent. It stops the server when its own standard input ends. Only this process
//! holds the other end of that pipe: the standard library opens pipes close-on-exec, so no other child inherits it. The
//! guard runs in its own process group, so a terminal's Ctrl-C reaches this process and not the servers. If the guard itself
//! is killed, the kernel signals the server (`setpriv --pdeathsig`).
//!
//! The guard and its children hold a lock on a *processes* file, which contains their ids. The lock is free exactly when
//! none of them is alive.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::{Doing, Error};
use crate::launch::{GRACE, Launch};
use crate::process;

/// The additional time that the guard needs.
const MARGIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
/// The ending of a processes file's name.
const PROCESSES: &str = "processes";
/// A log larger than this is emptied at the next start.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The number of log lines in an error, and the number of bytes to search for them.
const TAIL_LINES_MAX: usize = 20;
const TAIL_BYTES_MAX: u64 = 16 * 1024;

/// A command under its guard. Dropping it stops it.
#[derive(Debug)]
pub struct Guarded {
    server: &'static str,
    guard: Child,
    /// The pipe. Closing it stops the command, unless the command is kept.
    input: Option<ChildStdin>,
    is_kept: bool,
    pid: u32,
    processes: PathBuf,
    log: PathBuf,
    /// The offset of this run in the log.
    log_start: u64,
    grace: Duration,
    /// Whether none of its processes is left. From then on the lock may belong to another run.
    over: bool,
}

impl Guarded {
    /// Starts the guard and the command under it.
    ///
    /// # Errors
    /// One of them could not be started, or an earlier command with this name still runs in this directory.
    pub fn launch(launch: &Launch<'_>) -> Result<Self, Error> {
        let log = log_path(launch.directory, launch.name);
        let log_file = open_log(&log).doing(|| format!("open the log {}", log.display()))?;
        let mut log_start = log_file.metadata().map_or(0, |metadata| metadata.len());
        if log_start > LOG_BYTES_MAX {
            log_file.set_len(0).doing(|| format!("empty the log {}", log.display()))?;
            log_start = 0;
        }
        let processes = processes_path(launch.directory, launch.name);
        let lock = open_processes(&processes)?;
        // The last processes of an earlier run end moments later.
        if !is_free_within(&lock, MARGIN) {
            return Err(Error::StillRunning { server: launch.server.to_owned(), pids: pids(&processes) });
        }
        lock.set_len(0).doing(|| format!("empty {}", processes.display()))?;

        let after = launch.after.map_or_else(PathBuf::new, |name| processes_path(launch.directory, name));
        let mut command = launch.command(&processes, &after);
        command.stdin(Stdio::piped()).stdout(lock).stderr(log_file);
        let mut guard = command.spawn().doing(|| format!("start the guard of {}", launch.server))?;
        let input = guard.stdin.take();
        // Dropping the command closes our copy of the lock's descriptor; from here on the guard holds the lock.
        drop(command);
        let (server, grace, is_kept, pid) = (launch.server, launch.grace, false, 0);
        let mut guarded =
            Self { server, guard, input, is_kept, pid, processes, log, log_start, grace, over: false };
        guarded.pid = guarded.read_pid()?;
        Ok(guarded)
    }

    /// The command's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the command has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.guard.try_wait(), Ok(None))
    }

    /// The command's exit status as in a shell: 128 plus the signal number if a signal ended it. `None` while it runs.
    ///
    /// # Errors
    /// The guard cannot be waited for.
    pub fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.guard.try_wait()
    }

    /// Whether the command has ended and none of its processes is left. Never waits.
    pub fn is_over(&mut self) -> bool {
        self.over = self.over || self.has_ended() && wait_free(&self.processes, Duration::ZERO);
        self.over
    }

    /// Whether the command runs or its guard has not waited for it yet. Only then does its process id still belong to it.
    #[must_use]
    pub fn is_running(&self) -> bool {
        process::parent_of(self.pid) == Some(self.guard.id())
    }

    /// Sends a signal to the command only. Returns false if it has ended.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> bool {
        let is_running = self.is_running();
        if is_running {
            process::send(self.pid, signal);
        }
        is_running
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
        // Another server may have answered on a port that ours could not bind.
        if self.has_ended() { Err(self.ended()) } else { Ok(()) }
    }

    /// Waits until the command ends by itself, successfully.
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

    /// Asks the command to end, waits until it has ended, and checks that none of its processes is left.
    ///
    /// # Errors
    /// [`Error::StillRunning`].
    pub fn stop(&mut self) -> Result<(), Error> {
        if self.is_over() {
            return Ok(());
        }
        self.ask_to_stop();
        let deadline = Instant::now() + self.grace + GRACE + MARGIN;
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        // The server's other processes end moments later.
        if wait_free(&self.processes, MARGIN) {
            self.over = true;
            return Ok(());
        }
        self.kill_9()
    }

    /// Closes the pipe without waiting. [`Guarded::stop`] waits.
    pub fn ask_to_stop(&mut self) {
        self.input = None;
    }

    /// Keeps the command running after this process ends. Its guard stops it when the file `mark` is removed.
    pub(crate) fn keep(mut self, mark: &Path) -> Result<(), Error> {
        if let Some(mut input) = self.input.take() {
            let mut line = b"keep ".to_vec();
            line.extend_from_slice(mark.as_os_str().as_bytes());
            line.push(b'\n');
            input.write_all(&line).doing(|| format!("keep {}", self.server))?;
        }
        self.is_kept = true;
        Ok(())
    }

    /// Kills the command and all its descendants, like a crash, and waits until they are gone.
    ///
    /// # Errors
    /// [`Error::StillRunning`].
    pub fn kill_9(&mut self) -> Result<(), Error> {
        let below = self.kill();
        if wait_free(&self.processes, MARGIN) {
            // The guard also holds the lock, so it has ended.
            drop(self.guard.wait());
            self.over = true;
            return Ok(());
        }
        let pids = std::iter::once(self.pid).chain(below).collect();
        Err(Error::StillRunning { server: self.server.to_owned(), pids })
    }

    /// Kills the command and all its descendants and returns their ids. [`Guarded::is_over`] tells when they are gone.
    pub fn kill(&mut self) -> Vec<u32> {
        let below = process::descendants(self.pid);
        if !self.has_ended() {
            process::send(self.pid, Signal::SIGKILL);
        }
        below.iter().for_each(|pid| process::send(*pid, Signal::SIGKILL));
        self.input = None;
        below
    }

    /// Suspends the command and all its descendants until [`Guarded::resume`].
    pub(crate) fn pause(&self) {
        self.send_to_all(Signal::SIGSTOP);
    }

    /// Resumes them.
    pub(crate) fn resume(&self) {
        self.send_to_all(Signal::SIGCONT);
    }

    fn send_to_all(&self, signal: Signal) {
        process::send(self.pid, signal);
        process::descendants(self.pid).into_iter().for_each(|pid| process::send(pid, signal));
    }

    /// The last lines that this run has written to the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
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
        if !self.is_kept {
            // A failed stop has already tried everything, and a drop cannot report errors.
            drop(self.stop());
        }
    }
}

/// Opens a log for appending that only its owner can read, regardless of the umask and of an existing file's mode.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    let log = File::options().create(true).append(true).mode(0o600).open(path)?;
    log.set_permissions(Permissions::from_mode(0o600))?;
    Ok(log)
}

/// The path of a guarded command's log.
pub(crate) fn log_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}

/// Stops processes that an earlier run left in `directory`. Usually that run's guards are already stopping them, because
/// their pipes ended with the process that started them. Then this only waits.
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
        // No guard will ask it to stop.
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

/// Waits until the lock on a processes file is free.
fn wait_free(processes: &Path, patience: Duration) -> bool {
    let Ok(file) = File::open(processes) else { return !processes.exists() };
    is_free_within(&file, patience)
}

/// Takes the lock on a processes file once it is free.
fn is_free_within(file: &File, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(POLL),
            Err(_) => return false,
        }
    }
}

/// The ids of the guard and the server; `None` while the line is incomplete.
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

/// The last lines of a program's output.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES_MAX)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder and a command in it that runs for ten minutes.
    fn asleep(name: &str) -> (PathBuf, Guarded) {
        let directory = std::env::temp_dir().join(format!("guard-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let launch = Launch::new("sleep", &directory, Path::new("/bin/sleep")).arguments(["600"]);
        let guarded = Guarded::launch(&launch).unwrap();
        (directory, guarded)
    }

    fn wait_over(guarded: &mut Guarded) -> Option<i32> {
        let deadline = Instant::now() + GRACE / 2;
        while !guarded.is_over() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        guarded.status().unwrap().and_then(|status| status.code())
    }

    #[test]
    fn a_command_that_is_stopped_ends_when_the_pipe_closes() {
        let (directory, mut guarded) = asleep("stopped");
        assert!(guarded.is_running() && guarded.status().unwrap().is_none());
        assert!(guarded.signal(Signal::SIGSTOP));
        guarded.ask_to_stop();
        assert_eq!(wait_over(&mut guarded), Some(128 + 15), "ended by SIGTERM");
        assert!(!guarded.is_running() && !guarded.signal(Signal::SIGCONT));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_command_that_is_killed_can_be_started_again_at_once() {
        let (directory, mut guarded) = asleep("killed");
        guarded.kill();
        assert_eq!(wait_over(&mut guarded), Some(128 + 9));
        let (_, mut again) = asleep("killed");
        // The second run holds the lock.
        let began = Instant::now();
        drop(guarded);
        assert!(began.elapsed() < MARGIN && again.status().unwrap().is_none());
        again.stop().unwrap();
        fs::remove_dir_all(directory).unwrap();
    }
}
