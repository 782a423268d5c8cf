//! Servers that keep running after the process that started them, so that the next run of the tests need not start them.
//!
//! A kept server has a *mark*: a file with the ids of its processes, their start times, and its address. The first process
//! that needs the server starts it and writes the mark; later ones read it. The guard of a kept server stops it when the mark
//! is removed, which is all that `tests/stack stop` does. A mark whose processes are gone is replaced. Until the mark is
//! written, the server ends with its starter, so no server runs without a mark.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error};
use crate::postgres::Postgres;
use crate::rabbitmq::RabbitMq;
use crate::rabbitmq::management::{Management, encode};
use crate::{Options, process};

/// The address of a PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresAddress {
    /// URL of the superuser on the database `postgres`.
    pub url: String,
    /// The server's log.
    pub log: PathBuf,
}

/// The addresses of a RabbitMQ node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RabbitMqAddress {
    /// URL of the vhost `/`.
    pub amqp_url: String,
    /// URL of the management pages and API, with the credentials in it.
    pub management_url: String,
}

impl RabbitMqAddress {
    /// See [`RabbitMq::create_vhost`].
    ///
    /// # Errors
    ///
    /// The management API refuses or does not answer.
    pub fn create_vhost(&self, name: &str) -> Result<String, Error> {
        self.management().create_vhost(name)?;
        let server = self.amqp_url.rsplit_once('/').map_or("", |(server, _)| server);
        Ok(format!("{server}/{}", encode(name)))
    }

    /// The names of all vhosts.
    ///
    /// # Errors
    ///
    /// The management API refuses or does not answer.
    pub fn vhosts(&self) -> Result<Vec<String>, Error> {
        self.management().vhosts()
    }

    /// See [`RabbitMq::delete_vhost`].
    ///
    /// # Errors
    ///
    /// The management API refuses or does not answer.
    pub fn delete_vhost(&self, name: &str) -> Result<(), Error> {
        self.management().delete_vhost(name)
    }

    fn management(&self) -> Management {
        Management::new(self.management_url.clone())
    }
}

/// The kept PostgreSQL server of a directory. Starts one with an empty cluster if none runs.
///
/// # Errors
///
/// As [`Postgres::start`].
pub fn postgres(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<PostgresAddress, Error> {
    kept(&options.directory, "postgres", |mark| {
        let server = Postgres::start(&Options { fresh: true, ..options.clone() }, progress)?;
        let address = PostgresAddress { url: server.url(), log: server.log() };
        mark.write(&server.pids(), &address)?;
        server.keep(&mark.path)?;
        Ok(address)
    })
}

/// The kept RabbitMQ node of a directory. Starts one without data if none runs.
///
/// # Errors
///
/// As [`RabbitMq::start`].
pub fn rabbitmq(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<RabbitMqAddress, Error> {
    kept(&options.directory, "rabbitmq", |mark| {
        let server = RabbitMq::start(&Options { fresh: true, ..options.clone() }, progress)?;
        let address =
            RabbitMqAddress { amqp_url: server.amqp_url(), management_url: server.management_url() };
        mark.write(&server.pids(), &address)?;
        server.keep(&mark.path)?;
        Ok(address)
    })
}

/// Whether the process with this id and start time still runs.
#[must_use]
pub fn is_running(pid: u32, started: u64) -> bool {
    process::started(pid) == Some(started)
}

/// When this process was started, in clock ticks since boot.
#[must_use]
pub fn own_start() -> u64 {
    process::started(std::process::id()).unwrap_or_default()
}

fn kept<A: DeserializeOwned>(
    directory: &Path,
    name: &str,
    start: impl FnOnce(&Mark) -> Result<A, Error>,
) -> Result<A, Error> {
    let doing = || format!("use the directory {}", directory.display());
    fs::create_dir_all(directory).doing(doing)?;
    // The guard checks the mark from its own working directory, so the path must be absolute.
    let directory = directory.canonicalize().doing(doing)?;
    // Processes that ask at the same time take turns: the first starts the server, the others find its mark.
    let turn = directory.join(format!("{name}.turn"));
    let turn = File::options().create(true).truncate(false).write(true).open(turn).doing(doing)?;
    turn.lock().doing(doing)?;
    let mark = Mark { path: directory.join(format!("{name}.mark")) };
    if let Some(address) = mark.read() {
        return Ok(address);
    }
    // Stop what is left of a server with an invalid mark; the start waits for that.
    drop(fs::remove_file(&mark.path));
    start(&mark)
}

struct Mark {
    path: PathBuf,
}

impl Mark {
    /// The address, if all processes of the mark are running.
    fn read<A: DeserializeOwned>(&self) -> Option<A> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (processes, address) = text.split_once('\n')?;
        let numbers: Vec<u64> = processes.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let runs = |one: &[u64]| match one {
            [pid, started] => u32::try_from(*pid).is_ok_and(|pid| is_running(pid, *started)),
            _ => false,
        };
        numbers.chunks(2).all(runs).then(|| serde_json::from_str(address).ok()).flatten()
    }

    /// Writes the mark atomically. It contains passwords.
    fn write<A: Serialize>(&self, pids: &[u32], address: &A) -> Result<(), Error> {
        let doing = || format!("write {}", self.path.display());
        let mut text = String::new();
        for pid in pids {
            let separator = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{separator}{pid} {}", process::started(*pid).unwrap_or_default());
        }
        let address = serde_json::to_string(address).map_err(std::io::Error::from).doing(doing)?;
        let new = self.path.with_extension("new");
        let mut file =
            File::options().create(true).truncate(true).write(true).mode(0o600).open(&new).doing(doing)?;
        writeln!(file, "{text}\n{address}").doing(doing)?;
        fs::rename(&new, &self.path).doing(doing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_while_its_processes_run() {
        let path = std::env::temp_dir().join(format!("stack-kept-{}.mark", std::process::id()));
        let mark = Mark { path };
        let read = || mark.read::<PostgresAddress>();
        assert_eq!(read(), None);
        let address = PostgresAddress { url: "postgres://here".to_owned(), log: "log".into() };
        mark.write(&[1, std::process::id()], &address).unwrap();
        let good = read();
        mark.write(&[1, u32::MAX], &address).unwrap();
        let gone = read();
        let (pid, started) = (std::process::id(), own_start() + 1);
        fs::write(&mark.path, format!("{pid} {started}\n{{}}\n")).unwrap();
        let of_another_start = read();
        fs::write(&mark.path, "1 2 3").unwrap();
        let half = read();
        fs::remove_file(&mark.path).unwrap();
        assert_eq!((good, gone, of_another_start, half), (Some(address), None, None, None));
    }
}
