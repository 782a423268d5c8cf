//! A private RabbitMQ node.
//!
//! The node has its own name, cookie, data, log, configuration and plugins file, and its own `epmd` (Erlang's name server),
//! which runs in the foreground under a guard and ends after the node. All ports are on 127.0.0.1. The node's name ends in
//! `@localhost`, so that a machine whose name changes keeps its data.

mod configuration;
pub(crate) mod management;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Options;
use crate::account::Account;
use crate::docker::Container;
use crate::error::{Doing, Error};
use crate::find::RabbitMqPrograms;
use crate::guard::{Guarded, log_path};
use crate::home::Home;
use crate::launch::{GRACE, Launch, Stop};
use crate::port;
use crate::provide::{self, RabbitMqSource, Source};
use configuration::{NODE, Ports, USER};
use management::Management;

const SERVER: &str = "RabbitMQ";
const NAME: &str = "rabbitmq";
const EPMD: &str = "epmd";
const CONTROL: &str = "rabbitmqctl";
const COOKIE: &str = ".erlang.cookie";
const IMAGE_AMQP_PORT: u16 = 5672;
const IMAGE_MANAGEMENT_PORT: u16 = 15672;
const IMAGE_DATA: &str = "/var/lib/rabbitmq";
/// Long enough to recover queues after a crash on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(240);
const CONTROL_PATIENCE: Duration = Duration::from_secs(60);

/// A running RabbitMQ node. Dropping it stops it.
#[derive(Debug)]
pub struct RabbitMq {
    // Field order: the node ends before epmd, and both end before the home's lock is released.
    node: Option<Guarded>,
    epmd: Option<Guarded>,
    container: Option<Container>,
    ports: Ports,
    password: String,
    version: String,
    erlang_version: String,
    programs: RabbitMqSource,
    home: Home,
}

impl RabbitMq {
    /// Finds or installs RabbitMQ, and starts it.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`] if another process runs it in this directory; otherwise the failure, with the last lines of
    /// the server's log.
    pub fn start(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        Self::start_from(provide::rabbitmq(options.rabbitmq_image.as_deref(), progress)?, options, progress)
    }

    pub(crate) fn start_from(
        programs: RabbitMqSource,
        options: &Options,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, Error> {
        let account = match programs {
            Source::Installed(_) => Account::for_server("rabbitmq")?,
            Source::Image(_) => None,
        };
        let home = Home::open(&options.directory, NAME, account, options.fresh)?;
        if home.path().join("mnesia").join(NODE).exists() && !home.path().join("password").exists() {
            let why = "its password file is missing".to_owned();
            return Err(Error::Data { directory: home.path().to_owned(), why });
        }
        if matches!(programs, Source::Image(_)) && options.fresh {
            Container::new(home.path())?.delete_data()?;
        }
        let mut rabbitmq = Self {
            node: None,
            epmd: None,
            container: None,
            ports: Ports::default(),
            password: home.secret("password")?,
            version: String::new(),
            erlang_version: String::new(),
            programs,
            home,
        };
        rabbitmq.launch(progress)?;
        Ok(rabbitmq)
    }

    /// URL of the vhost `/`.
    pub fn amqp_url(&self) -> String {
        self.vhost_url("/")
    }

    /// URL of the management pages and API, with the credentials in it.
    pub fn management_url(&self) -> String {
        format!("http://{USER}:{}@127.0.0.1:{}", self.password, self.ports.management)
    }

    /// The AMQP port on 127.0.0.1. [`RabbitMq::restart`] keeps it.
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// The broker's version, for example `3.10.8`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The version of Erlang that runs it.
    pub fn erlang_version(&self) -> &str {
        &self.erlang_version
    }

    /// The node's process and its `epmd`, or Docker's client if it runs from an image.
    pub fn pids(&self) -> Vec<u32> {
        self.node.iter().chain(&self.epmd).map(Guarded::pid).collect()
    }

    /// The node's log.
    pub fn log(&self) -> PathBuf {
        log_path(self.home.path(), NAME)
    }

    /// Creates a vhost with full rights for our user, and returns its AMQP URL. An existing vhost stays unchanged.
    ///
    /// # Errors
    ///
    /// The management API refuses or does not answer.
    pub fn create_vhost(&self, name: &str) -> Result<String, Error> {
        self.management().create_vhost(name)?;
        Ok(self.vhost_url(name))
    }

    /// Deletes a vhost with all its queues.
    ///
    /// # Errors
    ///
    /// The management API refuses, for example because the vhost does not exist, or does not answer.
    pub fn delete_vhost(&self, name: &str) -> Result<(), Error> {
        self.management().delete_vhost(name)
    }

    /// Kills the node and its `epmd` like a crash. Returns when all their processes are gone.
    ///
    /// # Errors
    ///
    /// A process could not be stopped.
    pub fn kill_9(&mut self) -> Result<(), Error> {
        if let Some(container) = &self.container {
            container.kill_9()?;
        }
        let node = self.node.take().map_or(Ok(()), |mut node| node.kill_9());
        node.and(self.epmd.take().map_or(Ok(()), |mut epmd| epmd.kill_9()))
    }

    /// If `is_short`, makes the node believe that it is low on memory: it raises the alarm and stops reading from publishers.
    /// Otherwise ends that state.
    ///
    /// # Errors
    ///
    /// Its control program fails.
    pub fn set_short_of_memory(&self, is_short: bool) -> Result<(), Error> {
        let watermark = if is_short { "0" } else { configuration::MEMORY_WATERMARK };
        self.control(&["set_vm_memory_high_watermark", watermark])
    }

    /// Runs RabbitMQ's control program on the node.
    fn control(&self, arguments: &[&str]) -> Result<(), Error> {
        let programs = match (&self.programs, &self.container) {
            (Source::Installed(programs), _) => programs,
            (Source::Image(_), Some(container)) => {
                return container.output_of(&[&["rabbitmqctl"], arguments].concat()).map(drop);
            }
            (Source::Image(_), None) => return Ok(()),
        };
        let mut all: Vec<OsString> = vec!["--node".into(), NODE.into()];
        all.extend(arguments.iter().map(OsString::from));
        let launch = Launch {
            server: CONTROL,
            name: CONTROL,
            directory: self.home.path(),
            account: self.home.account(),
            program: &programs.server.with_file_name(CONTROL),
            arguments: all,
            environment: configuration::environment(self.home.path(), &self.ports),
            stop: Stop::Signal("TERM"),
            grace: GRACE,
            after: None,
        };
        Guarded::launch(&launch)?.wait_done(CONTROL_PATIENCE)
    }

    /// Suspends all processes of the node (SIGSTOP) until it is resumed. Connections stay open, but nothing answers. Does
    /// nothing if the node runs from an image, because its processes are not ours.
    pub fn pause(&self) {
        self.node.iter().filter(|_| self.container.is_none()).for_each(Guarded::pause);
    }

    /// Resumes after `pause`.
    pub fn resume(&self) {
        self.node.iter().filter(|_| self.container.is_none()).for_each(Guarded::resume);
    }

    /// Starts the node again, on the same ports and data, after [`RabbitMq::kill_9`]; stops it first if it runs.
    ///
    /// # Errors
    ///
    /// It does not start; the error contains the last lines of its log.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.end()?;
        self.launch_once()
    }

    /// Stops the node, then `epmd`, and returns when none of their processes is left. The data stays.
    ///
    /// # Errors
    ///
    /// A process could not be stopped.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    /// Keeps the node and its `epmd` running after this process ends, until `mark` is removed.
    pub(crate) fn keep(mut self, mark: &Path) -> Result<(), Error> {
        let node = self.node.take().map_or(Ok(()), |node| node.keep(mark));
        node.and(self.epmd.take().map_or(Ok(()), |epmd| epmd.keep(mark)))
    }

    fn end(&mut self) -> Result<(), Error> {
        let node = self.node.take().map_or(Ok(()), |mut node| node.stop());
        node.and(self.epmd.take().map_or(Ok(()), |mut epmd| epmd.stop()))
    }

    fn vhost_url(&self, name: &str) -> String {
        let name = management::encode(name);
        format!("amqp://{USER}:{}@127.0.0.1:{}/{name}", self.password, self.ports.amqp)
    }

    fn management(&self) -> Management {
        Management::new(self.management_url())
    }

    /// Starts on free ports, and tries others if a different process takes one first.
    fn launch(&mut self, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            self.ports = Ports::free()?;
            let version = match &self.programs {
                Source::Installed(programs) => format!("{}", programs.version),
                Source::Image(image) => format!("({image})"),
            };
            progress(&format!("starting RabbitMQ {version} on 127.0.0.1:{}", self.ports.amqp));
            match self.launch_once() {
                Err(Error::Ended { tail, .. }) if attempt < port::ATTEMPTS_MAX && port::was_taken(&tail) => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn launch_once(&mut self) -> Result<(), Error> {
        let node = match self.programs.clone() {
            Source::Installed(programs) => {
                self.container = None;
                self.epmd = Some(self.launch_epmd(&programs)?);
                self.launch_node(&programs)
            }
            Source::Image(image) => self.launch_container(&image),
        };
        let started = node.and_then(|mut node| {
            let management = self.management();
            let mut overview = None;
            node.wait_ready(START_PATIENCE, || {
                overview = port::amqp_is_ready(self.ports.amqp).then(|| management.overview().ok()).flatten();
                overview.is_some()
            })?;
            Ok((node, overview.unwrap_or_default()))
        });
        match started {
            Ok((node, overview)) => {
                self.version = overview.rabbitmq_version;
                self.erlang_version = overview.erlang_version;
                self.node = Some(node);
                Ok(())
            }
            Err(error) => {
                self.epmd = None;
                Err(error)
            }
        }
    }

    fn launch_epmd(&self, programs: &RabbitMqPrograms) -> Result<Guarded, Error> {
        let arguments = ["-port", &self.ports.epmd.to_string(), "-address", "127.0.0.1"];
        let launch = Launch {
            server: EPMD,
            name: EPMD,
            directory: self.home.path(),
            account: self.home.account(),
            program: &programs.epmd,
            arguments: arguments.map(OsString::from).into(),
            environment: configuration::environment(self.home.path(), &self.ports),
            stop: Stop::Signal("TERM"),
            grace: GRACE,
            after: Some(NAME),
        };
        let mut epmd = Guarded::launch(&launch)?;
        epmd.wait_ready(START_PATIENCE, || port::epmd_is_ready(self.ports.epmd))?;
        Ok(epmd)
    }

    fn launch_node(&self, programs: &RabbitMqPrograms) -> Result<Guarded, Error> {
        self.home.write("rabbitmq.conf", &configuration::render(&self.ports, &self.password))?;
        self.home.write("enabled_plugins", configuration::PLUGINS)?;
        self.home.directory("mnesia")?;
        self.home.directory("generated")?;
        self.home.secret(COOKIE)?;
        set_cookie_mode(&self.home.path().join(COOKIE))?;
        let launch = Launch {
            server: SERVER,
            name: NAME,
            directory: self.home.path(),
            account: self.home.account(),
            program: &programs.server,
            arguments: Vec::new(),
            environment: configuration::environment(self.home.path(), &self.ports),
            stop: Stop::Signal("TERM"),
            grace: GRACE,
            after: None,
        };
        Guarded::launch(&launch)
    }

    fn launch_container(&mut self, image: &str) -> Result<Guarded, Error> {
        let container = Container::new(self.home.path())?;
        let variables = [
            ("RABBITMQ_NODENAME", NODE.into()),
            ("RABBITMQ_DEFAULT_USER", USER.into()),
            ("RABBITMQ_DEFAULT_PASS", self.password.clone().into()),
        ];
        let ports = [(self.ports.amqp, IMAGE_AMQP_PORT), (self.ports.management, IMAGE_MANAGEMENT_PORT)];
        let launch = Launch {
            server: SERVER,
            name: NAME,
            directory: self.home.path(),
            account: None,
            program: Path::new("docker"),
            arguments: container.run_arguments(
                image,
                IMAGE_DATA,
                &ports,
                &variables.each_ref().map(|(name, _)| *name),
            ),
            environment: variables.into(),
            stop: Stop::Container(&container.name),
            grace: GRACE,
            after: None,
        };
        let node = Guarded::launch(&launch)?;
        self.container = Some(container);
        Ok(node)
    }
}

/// Erlang refuses a cookie that other accounts can read.
fn set_cookie_mode(cookie: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(cookie, fs::Permissions::from_mode(0o400))
        .doing(|| format!("protect {}", cookie.display()))
}
