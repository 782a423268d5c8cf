//! What a guard starts: the command, its files, and how to stop it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::account::Account;

/// How long a server may take to stop by itself before it is killed.
pub(crate) const GRACE: Duration = Duration::from_secs(30);
const SCRIPT: &str = include_str!("guard.sh");

/// A command to run under a guard.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The server's display name.
    pub(crate) server: &'static str,
    /// The name of its log and processes files.
    pub(crate) name: &'static str,
    /// The directory of those files and the command's working directory.
    pub(crate) directory: &'a Path,
    pub(crate) account: Option<&'a Account>,
    pub(crate) program: &'a Path,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'a str, OsString)>,
    pub(crate) stop: Stop<'a>,
    /// How long it may take to stop before the guard kills it.
    pub(crate) grace: Duration,
    /// The guarded command that must end before this one is stopped.
    pub(crate) after: Option<&'a str>,
}

/// How to stop the command.
#[derive(Debug)]
pub(crate) enum Stop<'a> {
    /// A signal, by its name without `SIG`.
    Signal(&'static str),
    /// The command is Docker's client, and its container is stopped. It keeps our environment, which contains its settings.
    Container(&'a str),
}

impl<'a> Launch<'a> {
    /// A program with an empty environment that SIGTERM stops. Its log is `<directory>/<name>.log`.
    #[must_use]
    pub fn new(name: &'static str, directory: &'a Path, program: &'a Path) -> Self {
        Self {
            server: name,
            name,
            directory,
            account: None,
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            stop: Stop::Signal("TERM"),
            grace: GRACE,
            after: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds variables. The last one with a name wins.
    #[must_use]
    pub fn environment<T: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (&'a str, T)>,
    ) -> Self {
        self.environment.extend(variables.into_iter().map(|(name, value)| (name, value.into())));
        self
    }

    /// Sets how long it may take to stop by itself before the guard kills it.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The guard's command. `processes` is its processes file; `after` is that of the command that must end before.
    pub(crate) fn command(&self, processes: &Path, after: &Path) -> Command {
        let (signal, container) = match self.stop {
            Stop::Signal(signal) => (signal, ""),
            Stop::Container(name) => ("TERM", name),
        };
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(SCRIPT).arg(processes);
        command.arg(signal).arg(self.grace.as_secs().to_string());
        command.arg(after);
        command.arg(container);
        if container.is_empty() {
            command.env_clear();
            command.args(["setpriv".into(), OsString::from(format!("--pdeathsig={signal}"))]);
            command.args(self.account.map(Account::setpriv_arguments).unwrap_or_default());
            command.arg("--");
        }
        command.arg(self.program).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.directory).process_group(0);
        command
    }
}
