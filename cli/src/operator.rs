//! How the operator's commands reach the system: as the role `operator`, which may read everything that is not
//! private and changes data only through the owners' functions.
//!
//! If the settings name no server and a `commonplace up` runs in this checkout, the commands use its servers. `up`
//! writes the addresses to a file that only the file's owner can read.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context;
use database::Pool;
use runtime::settings::{Defaults, Loader, LogSettings};
use serde::Deserialize;

use crate::defaults;
use crate::running::{Running, default_directory, mark_file};

/// The statements of these commands. Those in subfolders run as an administrator.
pub(crate) static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");

/// Options that select the system.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// A settings file, which overrides the built-in defaults; the environment overrides it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of a running `up` [default: .stack/up in the checkout]
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

/// The settings of the commands. The file may also contain sections that only services need.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    log: LogSettings,
    pub(crate) database: database::Settings,
    pub(crate) engagement: engagement::Settings,
}

impl Place {
    /// Loads the settings.
    ///
    /// # Errors
    /// If a setting cannot be read; the error gives its origin.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let (mut loader, running) = self.loader(defaults::OPERATOR)?;
        if let Some(up) = running {
            loader = loader.set("engagement.view_window_s", i64::from(up.view_window_s));
        }
        let settings: Settings = loader.load()?;
        runtime::telemetry::init(&settings.log)?;
        Ok(settings)
    }

    /// A loader for settings with the address of the selected server, and the running `up` if the server belongs to it.
    ///
    /// # Errors
    /// If the file of a running `up` cannot be read.
    pub(crate) fn loader(&self, of: Defaults) -> anyhow::Result<(Loader, Option<Running>)> {
        let loader = defaults::loader(of).file(self.config.as_deref());
        let running = self.running()?;
        Ok(match &running {
            Some(up) => (loader.set("database.url", up.database_url.as_str()), running),
            None => (loader, None),
        })
    }

    /// Connections under the operator's role.
    ///
    /// # Errors
    /// As [`Place::settings`].
    pub(crate) fn pool(&self) -> anyhow::Result<Pool> {
        Ok(Pool::new(&self.settings()?.database, "operator")?)
    }

    /// The address of the Blogs API of a running `up`, if that is the selected system.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(crate) fn api(&self) -> anyhow::Result<Option<String>> {
        Ok(self.running()?.map(|running| running.api))
    }

    /// The running `up`, if that is the selected system.
    fn running(&self) -> anyhow::Result<Option<Running>> {
        if self.names_a_server() {
            return Ok(None);
        }
        let path = mark_file(&self.directory.clone().unwrap_or_else(default_directory));
        let doing = || format!("reading {}", path.display());
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(doing),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(doing),
        }
    }

    /// True if --config or a database URL in the environment is given, and --directory is not. The commands then use that
    /// server, even while an `up` runs.
    fn names_a_server(&self) -> bool {
        let said = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        self.directory.is_none()
            && (self.config.is_some() || said("DATABASE_URL") || said("COMMONPLACE__DATABASE__URL"))
    }
}
