//! What can go wrong, said so that the reader knows what to do next.

use std::io;
use std::path::PathBuf;

/// Why the servers could not be started, used or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process runs servers in this directory.
    #[error(
        "servers already run in {}{}; stop that process first, or choose another directory",
        .directory.display(), .pid.map_or_else(String::new, |pid| format!(" for process {pid}"))
    )]
    AlreadyRunning {
        /// Where the servers' data is.
        directory: PathBuf,
        /// Who runs them, where that could be read.
        pid: Option<u32>,
    },
    /// The servers are not here and there is no way to get them.
    #[error(
        "{what} not found, and {why}; install {packages} (for example: apt-get install {packages}) and try again"
    )]
    Missing {
        /// Which servers, with the least version.
        what: String,
        /// Why they could not be installed.
        why: String,
        /// Debian's packages, separated by spaces.
        packages: String,
    },
    /// `apt-get` failed.
    #[error("apt-get could not install {packages}; run it by hand to see what it needs. It said:\n{output}")]
    Install {
        /// Debian's packages, separated by spaces.
        packages: String,
        /// The last lines that `apt-get` wrote.
        output: String,
    },
    /// As root, a server needs an account to run under.
    #[error(
        "the account `{name}`, which the server runs under when started by root, does not exist; create it (adduser --system --group {name})"
    )]
    NoAccount {
        /// The account's name.
        name: &'static str,
    },
    /// A file, a directory or a process could not be handled.
    #[error("could not {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The data does not fit the programs that were found, or is not whole.
    #[error("the data in {} cannot be used: {why}; start afresh to delete it", .directory.display())]
    Data {
        /// Where the data is.
        directory: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A server ended while it was being started.
    #[error("{server} ended while starting; see {}. Its last lines:\n{tail}", .log.display())]
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
    /// Processes of a server outlived every attempt to end them.
    #[error("processes of {server} could not be ended (process ids {pids:?}); end them by hand")]
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
        /// What the client said.
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

/// Says what was being done when an [`io::Error`] came up.
pub(crate) trait Doing<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { doing: doing(), source })
    }
}
