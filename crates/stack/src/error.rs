//! Errors that say what to do next.

use std::io;
use std::path::PathBuf;

/// Why the servers could not be started, used or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process runs servers in this directory.
    #[error(
        "servers are already running in {}{}; stop that process first, or choose another directory",
        .directory.display(), .pid.map_or_else(String::new, |pid| format!(" for process {pid}"))
    )]
    AlreadyRunning {
        /// Where the servers' data is.
        directory: PathBuf,
        /// The process that runs them, if it is known.
        pid: Option<u32>,
    },
    /// The servers are missing and cannot be installed.
    #[error(
        "{what} not found, and {why}; install {packages} (for example: apt-get install {packages}) and try again"
    )]
    Missing {
        /// The servers, with their minimum versions.
        what: String,
        /// Why they could not be installed.
        why: String,
        /// Debian's packages, separated by spaces.
        packages: String,
    },
    /// `apt-get` failed.
    #[error(
        "apt-get could not install {packages}; run it by hand to see the reason. Its last lines:\n{output}"
    )]
    Install {
        /// Debian's packages, separated by spaces.
        packages: String,
        /// The last lines that `apt-get` wrote.
        output: String,
    },
    /// As root, a server needs an account to run under.
    #[error(
        "the account `{name}` does not exist; a server started by root runs under it. Create it: adduser --system --group {name}"
    )]
    NoAccount {
        /// The account's name.
        name: &'static str,
    },
    /// An operation on a file, a directory or a process failed.
    #[error("could not {doing}")]
    Io {
        /// The operation.
        doing: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The data does not match the installed programs, or is incomplete.
    #[error("the data in {} cannot be used: {why}; delete it, or start with --fresh", .directory.display())]
    Data {
        /// Where the data is.
        directory: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A server exited during its start.
    #[error("{server} exited during its start; see {}. Its last lines:\n{tail}", .log.display())]
    Ended {
        /// Which server.
        server: &'static str,
        /// The server's log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A server did not become ready in time.
    #[error("{server} was not ready after {waited_s} s; see {}. Its last lines:\n{tail}", .log.display())]
    NotReady {
        /// Which server.
        server: &'static str,
        /// How long it had, in seconds.
        waited_s: u64,
        /// The server's log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Processes of a server could not be stopped.
    #[error("could not stop all processes of {server} (process ids {pids:?}); stop them by hand")]
    StillRunning {
        /// Which server.
        server: String,
        /// The processes that are known.
        pids: Vec<u32>,
    },
    /// RabbitMQ's management API failed.
    #[error("RabbitMQ's management API could not {doing}")]
    Management {
        /// What was being done.
        doing: String,
        /// The client's error.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The Docker engine failed.
    #[error("docker could not {doing}: {output}")]
    Docker {
        /// What was being done.
        doing: String,
        /// The last lines that `docker` wrote.
        output: String,
    },
}

/// Adds the operation to an [`io::Error`].
pub(crate) trait Doing<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { doing: doing(), source })
    }
}
