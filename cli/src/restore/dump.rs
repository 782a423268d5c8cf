//! Loads a dump with `pg_restore`, one of PostgreSQL's client programs.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use database::migrations;
use tokio::process::Command;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::{erased, schema, terminal};

const PROGRAM: &str = "pg_restore";

/// Loads a dump into an empty database, in one transaction.
///
/// # Errors
/// If the database is not empty, or `pg_restore` is missing or failed.
pub(super) async fn load(administrator: &Config, dump: &Path) -> anyhow::Result<()> {
    let name = schema::name(administrator);
    if migrations::deployed(administrator).await? != 0 {
        bail!(
            "database {name} is not empty: drop it and make it again, or leave --dump out if it is loaded already"
        );
    }
    let mut command = Command::new(PROGRAM);
    command.args(["--exit-on-error", "--single-transaction", "--dbname", name]);
    if dump != Path::new(erased::STDIN) {
        command.arg(dump).stdin(Stdio::null());
    }
    // In the environment, so that the list of processes does not show the password.
    if let Some(user) = administrator.get_user() {
        command.env("PGUSER", user);
    }
    if let Some(password) = administrator.get_password() {
        command.env("PGPASSWORD", String::from_utf8_lossy(password).into_owned());
    }
    match administrator.get_hosts().first() {
        Some(Host::Tcp(host)) => command.env("PGHOST", host),
        Some(Host::Unix(folder)) => command.env("PGHOST", folder),
        None => &mut command,
    };
    if let Some(port) = administrator.get_ports().first() {
        command.env("PGPORT", port.to_string());
    }
    let status = command.status().await;
    let status = status.with_context(|| {
        format!(
            "running {PROGRAM}; install PostgreSQL's client programs, or load the dump elsewhere and leave --dump out"
        )
    })?;
    if !status.success() {
        bail!("{PROGRAM} failed ({status}); nothing of {} was kept", dump.display());
    }
    terminal::line(format_args!("{} is loaded", dump.display()));
    Ok(())
}
