//! A private PostgreSQL cluster and a private RabbitMQ node on free loopback ports.
//!
//! `commonplace up`, the tests and the benchmarks stand on real servers that belong to them alone. This crate
//! finds the servers' programs, installs what is missing with `apt-get` or runs images where only a Docker
//! engine is at hand, starts them in a directory of their own, and leaves nothing behind. Servers that
//! already run on the machine are never touched.
//!
//! Each server runs under a guard: a small shell that is the server's parent and reads a pipe whose other
//! end only this process holds. Closing the pipe is how a server is stopped, so a normal stop, a drop and the
//! death of this process by `kill -9` are one code path. The guard and its server hold a lock on a file for as
//! long as one process of theirs lives; that lock, which the kernel keeps, is how "nothing is left" is known. [`Guarded`] runs other commands in the
//! same way: the lab's services.
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
    /// Where data, logs and secrets live. Data outlives a stop. Where the servers' own accounts cannot reach
    /// this directory (only as root), a directory under `/var/lib/commonplace` stands in for it.
    pub directory: PathBuf,
    /// Whether what Postgres commits survives a power cut. Switch it off only in tests: it sets `fsync`,
    /// `synchronous_commit` and `full_page_writes`, and keeps the log short.
    pub durable: bool,
    /// Deletes the data of earlier runs first.
    pub fresh: bool,
    /// The cluster's `max_connections`.
    pub max_connections: u32,
    /// The image that RabbitMQ is run from, whatever is installed; a Docker engine has to be there.
    pub rabbitmq_image: Option<String>,
}

impl Options {
    /// Durable servers that keep what is in `directory`, with 200 connections.
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

/// What the servers say they are.
#[derive(Clone, Debug)]
pub struct Versions {
    /// For example `15.18`.
    pub postgres: String,
    /// For example `3.10.8`.
    pub rabbitmq: String,
    /// The Erlang release below RabbitMQ, for example `25.2.3`.
    pub erlang: String,
}

/// Both servers. Dropping it stops them, as [`Stack::stop`] does, but cannot say how it went.
#[derive(Debug)]
pub struct Stack {
    postgres: Postgres,
    rabbitmq: RabbitMq,
}

impl Stack {
    /// Finds or installs both servers, and starts them side by side. `progress` receives one line for each
    /// thing that takes time.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] when another process runs servers in this directory; else what failed, with
    /// the last lines of the server's log. Whatever did start is stopped again.
    pub fn start(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        let (postgres, rabbitmq) = provide::both(options.rabbitmq_image.as_deref(), progress)?;
        let (sender, lines) = mpsc::sync_channel::<String>(LINES_MAX);
        let other_sender = sender.clone();
        let (postgres, rabbitmq) = thread::scope(|scope| {
            // A line that finds no reader any more has nobody to tell.
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
    /// When the management API refuses or does not answer.
    pub fn create_vhost(&self, name: &str) -> Result<String, Error> {
        self.rabbitmq.create_vhost(name)
    }

    /// See [`RabbitMq::delete_vhost`].
    ///
    /// # Errors
    ///
    /// When the management API refuses or does not answer.
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

    /// Both servers by themselves, for who works on one while the other is worked on.
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

    /// Stops both servers side by side and returns when no process of theirs is left. The data stays.
    ///
    /// # Errors
    ///
    /// When a process could not be ended.
    pub fn stop(self) -> Result<(), Error> {
        let Self { postgres, rabbitmq } = self;
        let (postgres, rabbitmq) = thread::scope(|scope| {
            let postgres = scope.spawn(|| postgres.stop());
            (rabbitmq.stop(), finish(postgres))
        });
        postgres.and(rabbitmq)
    }
}

/// Lines of progress that wait for the caller.
const LINES_MAX: usize = 64;

fn finish<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
