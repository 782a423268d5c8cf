//! The file in which a running `up` publishes its addresses for the operator's commands.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The addresses of a running `up`, with the secrets that its operator needs.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Running {
    /// The Blogs API.
    pub(crate) api: String,
    /// Postgres, as the operator.
    pub(crate) database_url: String,
    /// The keys that sign tokens for imports.
    pub(crate) import_signing_keys: String,
    /// The view window of its services, so that a redrive counts views like the services do.
    pub(crate) view_window_s: u32,
}

/// The file of a [`Running`]; dropping the value deletes the file.
#[derive(Debug)]
pub(crate) struct Mark(PathBuf);

impl Running {
    /// Writes the addresses to a file in the folder of an `up`. Only the owner can read it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn mark(&self, directory: &Path) -> anyhow::Result<Mark> {
        let mark = Mark(mark_file(directory));
        let doing = || format!("writing {}", mark.0.display());
        drop(fs::remove_file(&mark.0));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&mark.0).with_context(doing)?;
        file.write_all(&serde_json::to_vec_pretty(self)?).with_context(doing)?;
        Ok(mark)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

/// The path of the file with the addresses of a running `up`.
pub(crate) fn mark_file(directory: &Path) -> PathBuf {
    directory.join("running.json")
}

/// `.stack/up` next to the nearest `Cargo.lock`, so that it is the same from every folder of a checkout; without a
/// `Cargo.lock`, in the current folder.
pub(crate) fn default_directory() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    root.unwrap_or(&here).join(".stack").join("up")
}
