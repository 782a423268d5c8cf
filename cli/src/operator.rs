//! How the operator's commands reach the system: under the role `operator`, which may look at everything that is
//! not private and changes nothing but through the owners' functions.
//!
//! Where the settings name no server and a `commonplace up` has been started in this checkout, that one is meant. It
//! leaves its addresses in a file that only its owner can read.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context;
use database::Pool;
use runtime::settings::{Defaults, Loader, LogSettings};
use serde::Deserialize;

use crate::defaults;
use crate::running::{Running, default_directory, mark_file};

/// The statements of these commands; those in its folders are an administrator's.
pub(crate) static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");

/// Where the system is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// A settings file, laid over the built-in defaults and under the environment
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of a running `up` [default: .stack/up in the checkout]
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

/// What the commands read; sections that only services need may stand beside these.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    log: LogSettings,
    pub(crate) database: database::Settings,
    pub(crate) engagement: engagement::Settings,
}

impl Place {
    /// The settings, from wherever they come.
    ///
    /// # Errors
    /// A setting that cannot be read, with where it stands.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let (mut loader, running) = self.loader(defaults::OPERATOR)?;
        if let Some(up) = running {
            loader = loader.set("engagement.view_window_s", i64::from(up.view_window_s));
        }
        let settings: Settings = loader.load()?;
        runtime::telemetry::init(&settings.log)?;
        Ok(settings)
    }

    /// A loader of settings that knows the server which is meant, and the running `up` if it is that one's.
    ///
    /// # Errors
    /// When the file of a running `up` cannot be read.
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

    /// Where the Blogs API of a running `up` listens, if that is the system which is meant.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(crate) fn api(&self) -> anyhow::Result<Option<String>> {
        Ok(self.running()?.map(|running| running.api))
    }

    /// The running `up`, if that is the system which is meant.
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

    /// Who says which server is meant is not second-guessed.
    fn names_a_server(&self) -> bool {
        let said = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        self.directory.is_none()
            && (self.config.is_some() || said("DATABASE_URL") || said("COMMONPLACE__DATABASE__URL"))
    }
}
