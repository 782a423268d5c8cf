//! A service in a process of its own, as it runs in production: the same executable, its settings in the
//! environment, ended by SIGTERM.
//!
//! It runs under a guard, a few lines of shell that read a pipe whose other end only this process holds. Closing
//! that pipe is how the service is asked to end, so that stopping it, dropping it and the death of this process
//! by whatever signal are one path, and none leaves it behind.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::connection::{Broken, Connection};

/// How long a service may take until `/readyz` says 200.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long a service may take to drain after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(20);
const GUARD: &str = include_str!("guard.sh");
/// So much of a service's log is shown when it fails.
const LOG_TAIL_BYTES: usize = 2000;

/// A service did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It could not be started.
    #[error("starting {name}")]
    Start {
        /// The service.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// There is no port for it.
    #[error(transparent)]
    Port(#[from] stack::Error),
    /// It ended by itself.
    #[error("{name} ended by itself ({status}); the end of its log:\n{log}")]
    Ended {
        /// The service.
        name: &'static str,
        /// How.
        status: ExitStatus,
        /// What it said last.
        log: String,
    },
    /// It runs, but is not ready.
    #[error("{name} was not ready within {} s; the end of its log:\n{log}", READY_MAX.as_secs())]
    NotReady {
        /// The service.
        name: &'static str,
        /// What it said last.
        log: String,
    },
    /// It did not end in time, and was killed; what it held may not be drained.
    #[error("{name} did not end within {} s of SIGTERM; the end of its log:\n{log}", STOP_MAX.as_secs())]
    NotStopped {
        /// The service.
        name: &'static str,
        /// What it said last.
        log: String,
    },
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    address: SocketAddr,
    executable: PathBuf,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts `<executable> serve <name>` on a free port of the loopback, with these settings
    /// (`COMMONPLACE__SECTION__KEY`) and nothing else in its environment. It logs to `<directory>/<name>.log`.
    ///
    /// # Errors
    /// [`ServiceError::Start`].
    pub fn start(
        executable: &Path,
        name: &'static str,
        settings: &[(&str, String)],
        directory: &Path,
    ) -> Result<Self, ServiceError> {
        let address = free_address()?;
        Self::start_on(address, executable, name, settings, directory)
    }

    /// Like [`Service::start`], for a command that is not `serve` but behaves like it: these are its arguments.
    ///
    /// # Errors
    /// [`ServiceError::Start`].
    pub(crate) fn start_command(
        executable: &Path,
        name: &'static str,
        arguments: &[&str],
        settings: &[(&str, String)],
        directory: &Path,
    ) -> Result<Self, ServiceError> {
        let address = free_address()?;
        Self::launch(address, executable, name, arguments, settings, directory)
    }

    /// Like [`Service::start`], on an address that the caller knows: that of one that has ended, as a rule. What it
    /// logs comes after what is in the log already.
    ///
    /// # Errors
    /// [`ServiceError::Start`].
    pub fn start_on(
        address: SocketAddr,
        executable: &Path,
        name: &'static str,
        settings: &[(&str, String)],
        directory: &Path,
    ) -> Result<Self, ServiceError> {
        Self::launch(address, executable, name, &["serve", name], settings, directory)
    }

    fn launch(
        address: SocketAddr,
        executable: &Path,
        name: &'static str,
        arguments: &[&str],
        settings: &[(&str, String)],
        directory: &Path,
    ) -> Result<Self, ServiceError> {
        let failed = |source| ServiceError::Start { name, source };
        let log = directory.join(format!("{name}.log"));
        let output = stack::open_log(&log).map_err(failed)?;
        let child = Command::new("/bin/sh")
            .args(["-c", GUARD, "guard"])
            .arg(executable)
            .args(arguments)
            .env_clear()
            .envs(settings.iter().map(|(key, value)| (*key, value)))
            .env("COMMONPLACE__HTTP__ADDRESS", address.to_string())
            // One port for a service, also for its readiness.
            .env("COMMONPLACE__HTTP__OPERATIONS_ADDRESS", "")
            // All senders of a load have the same address.
            .env("COMMONPLACE__REQUESTS__CONNECTIONS_MAX", "8192")
            .env("COMMONPLACE__REQUESTS__CONNECTIONS_PER_ADDRESS_MAX", "512")
            .env("COMMONPLACE__REQUESTS__CONCURRENT_MAX", "2048")
            .env("COMMONPLACE__REQUESTS__HELD_BYTES_MAX", "67108864")
            .env("COMMONPLACE__REQUESTS__HELD_BYTES_PER_ADDRESS_MAX", "4194304")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(output)
            // A terminal's Ctrl-C is for us; the services end when we say so.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let executable = executable.to_owned();
        Ok(Self { name, address, executable, child, log })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the service says that it is ready.
    ///
    /// # Errors
    /// [`ServiceError::Ended`], [`ServiceError::NotReady`].
    pub async fn ready(&mut self) -> Result<(), ServiceError> {
        let deadline = Instant::now() + READY_MAX;
        while !matches!(ask_ready(self.address).await, Ok(200)) {
            self.check()?;
            if Instant::now() > deadline {
                return Err(ServiceError::NotReady { name: self.name, log: self.log_tail() });
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// [`ServiceError::Ended`].
    pub fn check(&mut self) -> Result<(), ServiceError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(ServiceError::Ended { name: self.name, status, log: self.log_tail() }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Ends it by SIGTERM and waits until it has drained and is gone.
    ///
    /// # Errors
    /// [`ServiceError::NotStopped`], and [`ServiceError::Ended`] when its end was not a clean one.
    pub async fn stop(mut self) -> Result<(), ServiceError> {
        drop(self.child.stdin.take());
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(ServiceError::Ended { name: self.name, status, log: self.log_tail() }),
            Ok(Err(_)) | Err(_) => {
                self.kill_group();
                Err(ServiceError::NotStopped { name: self.name, log: self.log_tail() })
            }
        }
    }

    /// Kills it as a crash would, and waits until it is gone. Nothing is drained.
    ///
    /// # Errors
    /// It could not be waited for.
    pub async fn kill_9(mut self) -> io::Result<()> {
        self.kill_group();
        self.child.wait().await.map(drop)
    }

    /// Waits until it ends by itself, and says how.
    ///
    /// # Errors
    /// It could not be waited for.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        // Waiting closes the pipe, which would ask it to end.
        let pipe = self.child.stdin.take();
        let status = self.child.wait().await;
        drop(pipe);
        status
    }

    /// Sends a signal to the service, and not to its guard. False when there is no such process.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> bool {
        self.pid().is_some_and(|pid| kill(pid, signal).is_ok())
    }

    /// The service's own process, which is a child of its guard.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        let guard = self.child.id()?;
        let children = std::fs::read_to_string(format!("/proc/{guard}/task/{guard}/children")).ok()?;
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).find(|pid| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.executable)
        })
    }

    fn kill_group(&self) {
        if let Some(group) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended just now.
            let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let tail = log.get(log.len().saturating_sub(LOG_TAIL_BYTES)..).unwrap_or_default();
        String::from_utf8_lossy(tail).into_owned()
    }
}

/// An address that nobody has at this moment.
///
/// # Errors
/// There is none.
pub fn free_address() -> Result<SocketAddr, stack::Error> {
    let [port] = stack::free_ports()?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

async fn ask_ready(address: SocketAddr) -> Result<u16, Broken> {
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut connection = Connection::open(address).await?;
    Ok(connection.exchange(request.as_bytes()).await?.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_guard_ends_its_command_when_the_pipe_closes() {
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "guard", "sleep", "600"])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        assert_eq!(guard.try_wait().unwrap(), None);
        drop(guard.stdin.take());
        let status = tokio::time::timeout(Duration::from_secs(10), guard.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(128 + 15), "ended by SIGTERM");
    }

    #[tokio::test]
    async fn a_service_that_ends_by_itself_is_told_with_its_log() {
        let directory = std::env::temp_dir().join(format!("bench-process-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        // `ls serve nothing`: two files that are not there.
        let mut service = Service::start(Path::new("/bin/ls"), "nothing", &[], &directory).unwrap();
        let said = service.ready().await.unwrap_err().to_string();
        assert!(said.starts_with("nothing ended by itself (exit status: 2)"), "{said}");
        assert!(said.contains("serve"), "{said}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
