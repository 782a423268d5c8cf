//! A service as a separate process, as in production: settings in the environment, ended by SIGTERM. A guard
//! ([`stack::Guarded`]) ends it with this process in any case.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use load::{Broken, Connection};
use nix::sys::signal::Signal;
use stack::{Guarded, Launch};

/// How long a service may take until `/readyz` answers 200.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long a service may take to drain after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(20);
/// How long a process may take to be gone after SIGKILL.
const KILL_MAX: Duration = Duration::from_secs(5);
const END_POLL: Duration = Duration::from_millis(5);
/// Settings of every service: one port, also for readiness, and limits for a load that comes from one address.
const SETTINGS: [(&str, &str); 6] = [
    ("COMMONPLACE__HTTP__OPERATIONS_ADDRESS", ""),
    ("COMMONPLACE__REQUESTS__CONNECTIONS_MAX", "8192"),
    ("COMMONPLACE__REQUESTS__CONNECTIONS_PER_ADDRESS_MAX", "512"),
    ("COMMONPLACE__REQUESTS__CONCURRENT_MAX", "2048"),
    ("COMMONPLACE__REQUESTS__HELD_BYTES_MAX", "67108864"),
    ("COMMONPLACE__REQUESTS__HELD_BYTES_PER_ADDRESS_MAX", "4194304"),
];

/// A service failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There was no free port, or it could not be started or ended.
    #[error(transparent)]
    Stack(#[from] stack::Error),
    /// It ended unexpectedly.
    #[error("{name} ended unexpectedly ({status}); the end of its log:\n{log}")]
    Ended {
        /// The service.
        name: &'static str,
        /// Its exit status.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// It runs, but is not ready.
    #[error("{name} was not ready within {} s; the end of its log:\n{log}", READY_MAX.as_secs())]
    NotReady {
        /// The service.
        name: &'static str,
        /// The end of its log.
        log: String,
    },
    /// It did not end in time and was killed, possibly before it drained.
    #[error("{name} did not end within {} s of SIGTERM; the end of its log:\n{log}", STOP_MAX.as_secs())]
    NotStopped {
        /// The service.
        name: &'static str,
        /// The end of its log.
        log: String,
    },
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    address: SocketAddr,
    process: Guarded,
}

impl Service {
    /// Starts `<executable> serve <name>` on a free port of the loopback, with these settings
    /// (`COMMONPLACE__SECTION__KEY`) and nothing else in its environment. It logs to `<directory>/<name>.log`.
    ///
    /// # Errors
    /// [`ServiceError::Stack`].
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
    /// [`ServiceError::Stack`].
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

    /// Like [`Service::start`], on a given address, usually that of a service that has ended. It appends to the existing log.
    ///
    /// # Errors
    /// [`ServiceError::Stack`].
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
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let launch = Launch::new(name, &directory, executable)
            .arguments(arguments)
            .environment(settings.iter().map(|(key, value)| (*key, value.as_str())))
            .environment(SETTINGS)
            .environment([("COMMONPLACE__HTTP__ADDRESS", address.to_string())])
            .grace(STOP_MAX + KILL_MAX);
        Ok(Self { name, address, process: Guarded::launch(&launch)? })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the service reports that it is ready.
    ///
    /// # Errors
    /// [`ServiceError::Ended`], [`ServiceError::NotReady`].
    pub async fn ready(&mut self) -> Result<(), ServiceError> {
        let deadline = Instant::now() + READY_MAX;
        while !matches!(ask_ready(self.address).await, Ok(200)) {
            self.check()?;
            if Instant::now() > deadline {
                return Err(ServiceError::NotReady { name: self.name, log: self.process.log_tail() });
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// [`ServiceError::Ended`].
    pub fn check(&mut self) -> Result<(), ServiceError> {
        match self.process.status() {
            Ok(Some(status)) => {
                Err(ServiceError::Ended { name: self.name, status, log: self.process.log_tail() })
            }
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Sends SIGTERM and waits until it has drained and ended.
    ///
    /// # Errors
    /// [`ServiceError::NotStopped`], and [`ServiceError::Ended`] if its exit status is not 0.
    pub async fn stop(mut self) -> Result<(), ServiceError> {
        self.process.ask_to_stop();
        if tokio::time::timeout(STOP_MAX, self.over()).await.is_err() {
            let log = self.process.log_tail();
            self.kill().await?;
            return Err(ServiceError::NotStopped { name: self.name, log });
        }
        match self.process.status() {
            Ok(Some(status)) if !status.success() => self.check(),
            _ => Ok(()),
        }
    }

    /// Kills it, like a crash, and waits until it has ended. It does not drain.
    ///
    /// # Errors
    /// [`ServiceError::Stack`]: it could not be ended.
    pub async fn kill_9(mut self) -> Result<(), ServiceError> {
        self.kill().await
    }

    async fn kill(&mut self) -> Result<(), ServiceError> {
        self.process.kill();
        if tokio::time::timeout(KILL_MAX, self.over()).await.is_err() {
            self.process.kill_9()?;
        }
        Ok(())
    }

    /// Waits until it ends by itself, and returns its exit status.
    ///
    /// # Errors
    /// It could not be waited for.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.process.status()? {
                let _still_there = tokio::time::timeout(KILL_MAX, self.over()).await;
                return Ok(status);
            }
            tokio::time::sleep(END_POLL).await;
        }
    }

    /// Waits until no process of it is left.
    async fn over(&mut self) {
        while !self.process.is_over() {
            tokio::time::sleep(END_POLL).await;
        }
    }

    /// Sends a signal to the service, and not to its guard. False when there is no such process.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> bool {
        self.process.signal(signal)
    }

    /// The service's own process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.is_running().then(|| self.process.pid())
    }
}

/// A free address on the loopback interface.
///
/// # Errors
/// If there is none.
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
    async fn service_that_ends_unexpectedly_is_reported_with_its_log() {
        let directory = std::env::temp_dir().join(format!("bench-process-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        // `ls serve nothing`: two files that are not there.
        let mut service = Service::start(Path::new("/bin/ls"), "nothing", &[], &directory).unwrap();
        let said = service.ready().await.unwrap_err().to_string();
        assert!(said.starts_with("nothing ended unexpectedly (exit status: 2)"), "{said}");
        assert!(said.contains("serve"), "{said}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
