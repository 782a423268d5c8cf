//! A private PostgreSQL cluster and a private RabbitMQ node on free loopback ports.
//!
//! `commonplace up`, the tests and the benchmarks use their own private servers. This crate finds the servers' programs. It
//! installs missing ones with `apt-get`, or runs images if only a Docker engine is available. It starts the servers in their
//! own directory and leaves no process behind. It never touches servers that already run on the machine.
//!
//! Each server runs under a guard: a small shell that is the server's parent and reads from a pipe whose other end only this
//! process holds. Closing the pipe stops the server, so a normal stop, a drop and `kill -9` of this process use the same
//! code path. The guard, the server and their children hold a lock on a file. The kernel releases it when the last of these
//! processes ends, so a free lock means that nothing is left. [`Guarded`] runs other commands, such as the lab's services, in
//! the same way.
//!
//! ```no_run
//! # fn main() -> Result<(), stack::Error> {
//! let options = stack::Options::new(".stack/up");
//! let stack = stack::Stack::start(&options, &mut |_line| ())?;
//! let broker = stack.create_vhost("example")?;
//! # let _ = broker;
//! stack.stop()
//! # }
//! ```

mod account;
mod browser;
mod docker;
mod error;
mod find;
mod guard;
mod home;
pub mod kept;
mod launch;
mod port;
mod postgres;
mod process;
mod provide;
mod rabbitmq;

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

pub use browser::Browser;
pub use error::Error;
pub use guard::Guarded;
pub use launch::Launch;
pub use port::free as free_ports;
pub use postgres::Postgres;
pub use rabbitmq::RabbitMq;

/// How to run the servers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory for data, logs and secrets. Data survives a stop. If the servers' accounts cannot reach this directory
    /// (possible only for root), a directory under `/var/lib/commonplace` is used instead.
    pub directory: PathBuf,
    /// Whether Postgres's commits survive a power failure. Disable it only in tests: it controls `fsync`,
    /// `synchronous_commit` and `full_page_writes`, and keeps the WAL short.
    pub durable: bool,
    /// Deletes the data of earlier runs first.
    pub fresh: bool,
    /// The cluster's `max_connections`.
    pub max_connections: u32,
    /// The image to run RabbitMQ from, even if RabbitMQ is installed. Needs a Docker engine.
    pub rabbitmq_image: Option<String>,
}

impl Options {
    /// Durable servers that keep the data in `directory`, with 200 connections.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durable: true,
            fresh: false,
            max_connections: 200,
            rabbitmq_image: None,
        }
    }
}

/// The versions of the servers.
#[derive(Clone, Debug)]
pub struct Versions {
    /// For example `15.18`.
    pub postgres: String,
    /// For example `3.10.8`.
    pub rabbitmq: String,
    /// The Erlang release that runs RabbitMQ, for example `25.2.3`.
    pub erlang: String,
}

/// Both servers. Dropping it stops them like [`Stack::stop`], but cannot report errors.
#[derive(Debug)]
pub struct Stack {
    postgres: Postgres,
    rabbitmq: RabbitMq,
}

impl Stack {
    /// Finds or installs both servers, and starts them in parallel. `progress` receives one line for each slow step.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] if another process runs servers in this directory; otherwise the failure, with the last lines
    /// of the server's log. A server that did start is stopped again.
    pub fn start(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        let (postgres, rabbitmq) = provide::both(options.rabbitmq_image.as_deref(), progress)?;
        let (sender, lines) = mpsc::sync_channel::<String>(LINES_MAX);
        let other_sender = sender.clone();
        let (postgres, rabbitmq) = thread::scope(|scope| {
            // If the receiver is gone, nothing reads the line.
            let postgres = scope.spawn(move || {
                Postgres::start_from(postgres, options, &mut |line| drop(sender.send(line.to_owned())))
            });
            let rabbitmq = scope.spawn(move || {
                RabbitMq::start_from(rabbitmq, options, &mut |line| drop(other_sender.send(line.to_owned())))
            });
            lines.iter().for_each(|line| progress(&line));
            (finish(postgres), finish(rabbitmq))
        });
        Ok(Self { postgres: postgres?, rabbitmq: rabbitmq? })
    }

    /// URL of the superuser on the database `postgres`.
    pub fn postgres_url(&self) -> String {
        self.postgres.url()
    }

    /// URL of the vhost `/`.
    pub fn amqp_url(&self) -> String {
        self.rabbitmq.amqp_url()
    }

    /// URL of RabbitMQ's management pages and API, with the credentials in it.
    pub fn management_url(&self) -> String {
        self.rabbitmq.management_url()
    }

    /// See [`RabbitMq::create_vhost`].
    ///
    /// # Errors
    ///
    /// The management API refuses or does not answer.
    pub fn create_vhost(&self, name: &str) -> Result<String, Error> {
        self.rabbitmq.create_vhost(name)
    }

    /// See [`RabbitMq::delete_vhost`].
    ///
    /// # Errors
    ///
    /// The management API refuses or does not answer.
    pub fn delete_vhost(&self, name: &str) -> Result<(), Error> {
        self.rabbitmq.delete_vhost(name)
    }

    /// The servers' versions.
    pub fn versions(&self) -> Versions {
        Versions {
            postgres: self.postgres.version().to_owned(),
            rabbitmq: self.rabbitmq.version().to_owned(),
            erlang: self.rabbitmq.erlang_version().to_owned(),
        }
    }

    /// Both servers separately, for a caller that works on both at the same time.
    pub fn into_parts(self) -> (Postgres, RabbitMq) {
        (self.postgres, self.rabbitmq)
    }

    /// The database server.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// The database server, to kill it and start it again.
    pub fn postgres_mut(&mut self) -> &mut Postgres {
        &mut self.postgres
    }

    /// The broker.
    pub fn rabbitmq(&self) -> &RabbitMq {
        &self.rabbitmq
    }

    /// The broker, to kill it and start it again.
    pub fn rabbitmq_mut(&mut self) -> &mut RabbitMq {
        &mut self.rabbitmq
    }

    /// Stops both servers in parallel and returns when none of their processes is left. The data stays.
    ///
    /// # Errors
    ///
    /// A process could not be stopped.
    pub fn stop(self) -> Result<(), Error> {
        let Self { postgres, rabbitmq } = self;
        let (postgres, rabbitmq) = thread::scope(|scope| {
            let postgres = scope.spawn(|| postgres.stop());
            (rabbitmq.stop(), finish(postgres))
        });
        postgres.and(rabbitmq)
    }
}

/// Progress lines waiting for the caller.
const LINES_MAX: usize = 64;

fn finish<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
