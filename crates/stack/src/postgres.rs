//! A private PostgreSQL cluster.
//!
//! The cluster listens only on 127.0.0.1, requires SCRAM passwords, and is created by `initdb` if it does not exist. `initdb`
//! works in a directory that is renamed when it is complete, so an interrupted start leaves no incomplete cluster. Settings
//! are passed on the command line, so `ps` shows what a run uses.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Options;
use crate::account::Account;
use crate::docker::Container;
use crate::error::{Doing, Error};
use crate::find::{self, PostgresPrograms};
use crate::guard::{Guarded, log_path};
use crate::home::Home;
use crate::launch::{GRACE, Launch, Stop};
use crate::port;
use crate::provide::{self, PostgresSource, Source};

const SERVER: &str = "PostgreSQL";
const NAME: &str = "postgres";
const DATA: &str = "data";
const IMAGE_PORT: u16 = 5432;
const IMAGE_DATA: &str = "/var/lib/postgresql/data";
const INITDB_PATIENCE: Duration = Duration::from_secs(180);
/// Long enough for crash recovery after load.
const START_PATIENCE: Duration = Duration::from_secs(180);

/// A running PostgreSQL server. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    // Declared before the home, so that the server has ended when the home's lock is released.
    server: Option<Guarded>,
    container: Option<Container>,
    port: u16,
    password: String,
    version: String,
    programs: Source<PostgresPrograms>,
    options: Options,
    keeps_data: bool,
    home: Home,
}

impl Postgres {
    /// Finds or installs PostgreSQL, and starts it.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] if another process runs it in this directory; otherwise the failure, with the last lines of
    /// the server's log.
    pub fn start(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        Self::start_from(provide::postgres(progress)?, options, progress)
    }

    pub(crate) fn start_from(
        source: PostgresSource,
        options: &Options,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, Error> {
        let account = match source {
            Source::Installed(_) => Account::for_server("postgres")?,
            Source::Image(_) => None,
        };
        let home = Home::open(&options.directory, NAME, account, options.fresh)?;
        let programs = match source {
            Source::Installed(found) => Source::Installed(fitting(found, &home)?),
            Source::Image(image) => Source::Image(image),
        };
        let password = home.secret("password")?;
        let version = match &programs {
            Source::Installed(programs) => programs.version_text.clone(),
            Source::Image(image) => format!("({image})"),
        };
        let options = options.clone();
        let (server, container, port, keeps_data) = (None, None, 0, true);
        let mut postgres =
            Self { server, container, port, password, version, programs, options, keeps_data, home };
        postgres.prepare(progress)?;
        postgres.launch(progress)?;
        Ok(postgres)
    }

    /// Deletes the cluster when this value is dropped, for a cluster that serves only one run.
    #[must_use]
    pub fn for_one_run(mut self) -> Self {
        self.keeps_data = false;
        self
    }

    /// URL of the superuser `postgres` on the database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// The port on 127.0.0.1. [`Postgres::restart`] keeps it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's version, for example `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A program of the same version, such as `pg_dump`; `None` if the server runs from an image.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        match &self.programs {
            Source::Installed(programs) => Some(programs.directory.join(name)),
            Source::Image(_) => None,
        }
    }

    /// The server's process, or Docker's client if it runs from an image; none after [`Postgres::kill_9`].
    pub fn pids(&self) -> Vec<u32> {
        self.server.iter().map(Guarded::pid).collect()
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        log_path(self.home.path(), NAME)
    }

    /// Kills the server like a crash, without a checkpoint. Returns when all its processes are gone.
    ///
    /// # Errors
    ///
    /// A process could not be stopped.
    pub fn kill_9(&mut self) -> Result<(), Error> {
        if let Some(container) = &self.container {
            container.kill_9()?;
        }
        self.server.take().map_or(Ok(()), |mut server| server.kill_9())
    }

    /// Suspends all processes of the server (SIGSTOP) until it is resumed. Connections stay open, but nothing answers. Does
    /// nothing if the server runs from an image, because its processes are not ours.
    pub fn pause(&self) {
        self.server.iter().filter(|_| self.container.is_none()).for_each(Guarded::pause);
    }

    /// Resumes after `pause`.
    pub fn resume(&self) {
        self.server.iter().filter(|_| self.container.is_none()).for_each(Guarded::resume);
    }

    /// Starts the server again, on the same port and data, after [`Postgres::kill_9`]; stops it first if it runs.
    ///
    /// # Errors
    ///
    /// It does not start; the error contains the last lines of its log.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.end()?;
        self.launch_once()
    }

    /// Stops the server with a fast shutdown, which ends sessions and keeps committed data. Returns when none of its processes
    /// is left.
    ///
    /// # Errors
    ///
    /// A process could not be stopped.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    /// Keeps the server running after this process ends, until `mark` is removed.
    pub(crate) fn keep(mut self, mark: &Path) -> Result<(), Error> {
        self.server.take().map_or(Ok(()), |server| server.keep(mark))
    }

    fn end(&mut self) -> Result<(), Error> {
        self.server.take().map_or(Ok(()), |mut server| server.stop())
    }

    fn prepare(&self, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
        match &self.programs {
            Source::Installed(programs) if !self.home.path().join(DATA).exists() => {
                progress(&format!("creating a PostgreSQL {} cluster", self.version));
                self.make_cluster(programs)
            }
            Source::Image(_) if self.options.fresh => Container::new(self.home.path())?.delete_data(),
            _ => Ok(()),
        }
    }

    fn make_cluster(&self, programs: &PostgresPrograms) -> Result<(), Error> {
        let (new, whole) = (self.home.path().join("data.new"), self.home.path().join(DATA));
        if new.exists() {
            fs::remove_dir_all(&new).doing(|| format!("delete {}", new.display()))?;
        }
        let password_file = self.home.path().join("password");
        let mut arguments: Vec<OsString> = vec![OsString::from("--pgdata"), new.clone().into()];
        arguments.extend([OsString::from("--pwfile"), password_file.into()]);
        arguments.extend(initdb_arguments(self.options.durable).map(OsString::from));
        let program = programs.directory.join("initdb");
        let launch = Launch {
            server: "initdb",
            name: "initdb",
            directory: self.home.path(),
            account: self.home.account(),
            program: &program,
            arguments,
            environment: environment(self.home.path()),
            stop: Stop::Signal("TERM"),
            grace: GRACE,
            after: None,
        };
        Guarded::launch(&launch)?.wait_done(INITDB_PATIENCE)?;
        fs::rename(&new, &whole).doing(|| format!("rename {}", new.display()))
    }

    /// Starts on a free port, and tries another one if a different process takes the port first.
    fn launch(&mut self, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            [self.port] = port::free()?;
            progress(&format!("starting PostgreSQL {} on 127.0.0.1:{}", self.version, self.port));
            match self.launch_once() {
                Err(Error::Ended { tail, .. }) if attempt < port::ATTEMPTS_MAX && port::was_taken(&tail) => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn launch_once(&mut self) -> Result<(), Error> {
        let settings = settings(&self.options);
        let settings = settings.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
        let mut launch = Launch {
            server: SERVER,
            name: NAME,
            directory: self.home.path(),
            account: self.home.account(),
            program: Path::new("docker"),
            arguments: Vec::new(),
            environment: environment(self.home.path()),
            // A fast shutdown. SIGTERM would wait until all sessions have ended by themselves.
            stop: Stop::Signal("INT"),
            grace: GRACE,
            after: None,
        };
        let postgres;
        let container;
        match &self.programs {
            Source::Installed(programs) => {
                postgres = programs.directory.join("postgres");
                launch.program = &postgres;
                let data = self.home.path().join(DATA).into_os_string();
                launch.arguments.extend([
                    "-D".into(),
                    data,
                    "-c".into(),
                    format!("port={}", self.port).into(),
                ]);
                let alone = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="];
                launch.arguments.extend(alone.map(OsString::from));
                self.container = None;
            }
            Source::Image(image) => {
                container = Container::new(self.home.path())?;
                let variables = ["POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS"];
                let ports = [(self.port, IMAGE_PORT)];
                launch.arguments = container.run_arguments(image, IMAGE_DATA, &ports, &variables);
                launch.arguments.push(NAME.into());
                launch.environment = vec![
                    ("POSTGRES_PASSWORD", self.password.clone().into()),
                    ("POSTGRES_INITDB_ARGS", initdb_arguments(self.options.durable).join(" ").into()),
                ];
                launch.stop = Stop::Container(&container.name);
                self.container = Some(container.clone());
            }
        }
        launch.arguments.extend(settings.map(OsString::from));
        let mut server = Guarded::launch(&launch)?;
        server.wait_ready(START_PATIENCE, || port::postgres_is_ready(self.port))?;
        if let Some(container) = &self.container {
            let said = container.output_of(&[NAME, "--version"])?;
            self.version = find::postgres_version(&said).map(|(_, text)| text).unwrap_or_default();
        }
        self.server = Some(server);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A drop cannot report errors. Data that could not be deleted stays among temporary files.
        drop(self.end());
        if !self.keeps_data {
            drop(self.container.as_ref().map(Container::delete_data));
            drop(fs::remove_dir_all(self.home.path()));
            // Delete the parent directory too, even if it was created elsewhere so that the server's account can reach it. A
            // parent that is not empty stays.
            drop(self.home.path().parent().map(fs::remove_dir));
        }
    }
}

/// The programs that can open this home's data: those of its major version, or the newest if there is no data.
fn fitting(found: Vec<PostgresPrograms>, home: &Home) -> Result<PostgresPrograms, Error> {
    let data = home.path().join(DATA);
    let damaged = |why: String| Error::Data { directory: data.clone(), why };
    if data.exists() && !home.path().join("password").exists() {
        return Err(damaged("its password file is missing".to_owned()));
    }
    let wanted = fs::read_to_string(data.join("PG_VERSION")).ok();
    let wanted = wanted.as_deref().map(str::trim);
    found
        .into_iter()
        .find(|programs| wanted.is_none_or(|major| major == programs.version.0.to_string()))
        .ok_or_else(|| {
            damaged(format!("PostgreSQL {} created it, which is not installed", wanted.unwrap_or("?")))
        })
}

fn environment(home: &Path) -> Vec<(&'static str, OsString)> {
    let path = std::env::join_paths(find::search_path()).unwrap_or_default();
    vec![("PATH", path), ("HOME", home.into()), ("LANG", "C.UTF-8".into())]
}

fn initdb_arguments(durable: bool) -> [&'static str; 6] {
    // A test's cluster need not wait for the disk.
    let sync = if durable { "--data-checksums" } else { "--no-sync" };
    [
        "--username=postgres",
        "--auth-host=scram-sha-256",
        "--auth-local=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        sync,
    ]
}

/// The cluster's settings, except its addresses.
fn settings(options: &Options) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("max_connections", options.max_connections.to_string()),
        ("shared_buffers", "256MB".to_owned()),
        ("shared_preload_libraries", String::new()),
        // Checkpoints depend on time and not on load, so that full-page images do not distort a measurement. Nothing is
        // measured on a cluster that is not durable, and its checkpoints are cheap, so its WAL may be short.
        ("max_wal_size", if options.durable { "4GB" } else { "256MB" }.to_owned()),
        ("checkpoint_timeout", "15min".to_owned()),
        // Just-in-time compilation takes longer than any of our short statements.
        ("jit", "off".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_line_prefix", "%m [%p] %q%u@%d/%a ".to_owned()),
        ("cluster_name", "commonplace".to_owned()),
    ];
    if !options.durable {
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            settings.push((name, "off".to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_is_lowered_only_on_request() {
        let mut options = Options::new("anywhere");
        let off = |options: &Options| {
            settings(options)
                .iter()
                .filter(|(_, value)| value == "off")
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
        };
        let durable = off(&options);
        assert!(!durable.contains(&"fsync") && !durable.contains(&"synchronous_commit"), "{durable:?}");
        options.durable = false;
        let fast = off(&options);
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            assert!(fast.contains(&name), "{name} in {fast:?}");
        }
    }

    #[test]
    fn the_caller_sets_the_number_of_connections() {
        let options = Options { max_connections: 77, ..Options::new("anywhere") };
        assert!(settings(&options).contains(&("max_connections", "77".to_owned())));
    }
}
