//! Provides the servers: uses installed ones, otherwise installs Debian's packages, otherwise uses images, otherwise fails
//! with one clear sentence.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use crate::docker;
use crate::error::{Doing, Error};
use crate::find::{self, BrowserPrograms, POSTGRES_MIN, PostgresPrograms, RABBITMQ_MIN, RabbitMqPrograms};
use crate::guard::last_lines;

const INSTALL: &str = include_str!("install.sh");

/// Where a server's programs come from.
#[derive(Clone, Debug)]
pub(crate) enum Source<T> {
    Installed(T),
    /// A Docker image.
    Image(String),
}

/// All usable PostgreSQL versions, newest first and never empty, or an image.
pub(crate) type PostgresSource = Source<Vec<PostgresPrograms>>;
pub(crate) type RabbitMqSource = Source<RabbitMqPrograms>;

const POSTGRES_PACKAGE: &str = "postgresql";
const RABBITMQ_PACKAGE: &str = "rabbitmq-server";
const BROWSER_PACKAGE: &str = "chromium";
const DRIVER_PACKAGE: &str = "chromium-driver";
const POSTGRES_IMAGE: &str = "postgres:17.11-trixie";
const RABBITMQ_IMAGE: &str = "rabbitmq:4.2.9-management";

pub(crate) fn both(
    rabbitmq_image: Option<&str>,
    progress: &mut dyn FnMut(&str),
) -> Result<(PostgresSource, RabbitMqSource), Error> {
    if rabbitmq_image.is_some() {
        return Ok((postgres(progress)?, rabbitmq(rabbitmq_image, progress)?));
    }
    get(&[POSTGRES_PACKAGE, RABBITMQ_PACKAGE], progress)?;
    Ok((found_postgres(), found_rabbitmq()))
}

pub(crate) fn postgres(progress: &mut dyn FnMut(&str)) -> Result<PostgresSource, Error> {
    get(&[POSTGRES_PACKAGE], progress)?;
    Ok(found_postgres())
}

pub(crate) fn rabbitmq(image: Option<&str>, progress: &mut dyn FnMut(&str)) -> Result<RabbitMqSource, Error> {
    if let Some(image) = image {
        docker::pull(image, progress)?;
        return Ok(Source::Image(image.to_owned()));
    }
    get(&[RABBITMQ_PACKAGE], progress)?;
    Ok(found_rabbitmq())
}

/// The browser for tests. There is no image for it; it must run on this machine.
pub(crate) fn browser(progress: &mut dyn FnMut(&str)) -> Result<BrowserPrograms, Error> {
    let wanted = [BROWSER_PACKAGE, DRIVER_PACKAGE];
    // As with the servers: a package that is being installed does not count as installed yet.
    installation_lock()?.lock_shared().doing(waiting)?;
    if let Some(found) = find::browser() {
        return Ok(found);
    }
    install(&wanted, progress)?;
    find::browser().ok_or_else(|| nothing_to_run(&wanted, "the packages do not provide them on this system"))
}

fn found_postgres() -> PostgresSource {
    Some(find::postgres())
        .filter(|found| !found.is_empty())
        .map_or_else(|| Source::Image(POSTGRES_IMAGE.to_owned()), Source::Installed)
}

fn found_rabbitmq() -> RabbitMqSource {
    find::rabbitmq().map_or_else(|| Source::Image(RABBITMQ_IMAGE.to_owned()), Source::Installed)
}

fn is_here(package: &str) -> bool {
    match package {
        POSTGRES_PACKAGE => !find::postgres().is_empty(),
        RABBITMQ_PACKAGE => find::rabbitmq().is_some(),
        _ => find::browser().is_some(),
    }
}

fn missing(wanted: &[&'static str]) -> Vec<&'static str> {
    wanted.iter().copied().filter(|package| !is_here(package)).collect()
}

/// Makes sure that each wanted server is installed or can be run from an image.
fn get(wanted: &[&'static str], progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
    // Programs appear before their packages are configured, so a package that another process is installing does not count as
    // installed yet.
    installation_lock()?.lock_shared().doing(waiting)?;
    if missing(wanted).is_empty() {
        return Ok(());
    }
    let Err(error) = install(wanted, progress) else { return Ok(()) };
    let packages = missing(wanted);
    if packages.is_empty() {
        return Ok(());
    }
    if !docker::answers() {
        return Err(error);
    }
    for package in packages {
        docker::pull(if package == POSTGRES_PACKAGE { POSTGRES_IMAGE } else { RABBITMQ_IMAGE }, progress)?;
    }
    Ok(())
}

fn install(wanted: &[&'static str], progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let rights = rights_to_install().map_err(|why| nothing_to_run(&missing(wanted), why))?;
    // One installation at a time: the other one may install what we need.
    let file = installation_lock()?;
    file.lock().doing(waiting)?;
    let packages = missing(wanted);
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    progress(&format!("installing {names} with apt-get{}", rights.said()));
    // A separate process group: Ctrl-C must not interrupt dpkg.
    let output = rights
        .shell()
        .args(["-c", INSTALL, "install"])
        .args(&packages)
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .doing(|| "run apt-get".to_owned())?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        return Err(Error::Install { packages: names, output: last_lines(&String::from_utf8_lossy(&said)) });
    }
    let still = missing(wanted);
    if still.is_empty() {
        Ok(())
    } else {
        Err(nothing_to_run(&still, "the packages of this system are too old"))
    }
}

/// The lock file for installations.
fn installation_lock() -> Result<File, Error> {
    let path = std::env::temp_dir().join(format!("commonplace-install-{}.lock", Uid::effective()));
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    open.doing(|| format!("open {}", path.display()))
}

fn waiting() -> String {
    "wait for another installation".to_owned()
}

#[derive(Clone, Copy)]
enum Rights {
    Root,
    Sudo,
}

impl Rights {
    fn said(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Sudo => " through sudo",
        }
    }

    /// A shell with these rights.
    fn shell(self) -> Command {
        match self {
            Self::Root => Command::new("/bin/sh"),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", "/bin/sh"]);
                command
            }
        }
    }
}

fn rights_to_install() -> Result<Rights, &'static str> {
    if find::program("apt-get").is_none() {
        return Err("neither apt-get nor a Docker engine is available");
    }
    if Uid::effective().is_root() {
        return Ok(Rights::Root);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).stdin(Stdio::null()).output();
    if sudo.is_ok_and(|output| output.status.success()) {
        Ok(Rights::Sudo)
    } else {
        Err("neither root rights (or sudo without a password) nor a Docker engine is available")
    }
}

fn nothing_to_run(packages: &[&str], why: &str) -> Error {
    let names = packages.iter().map(|package| match *package {
        POSTGRES_PACKAGE => format!("PostgreSQL {POSTGRES_MIN} or later"),
        RABBITMQ_PACKAGE => format!("RabbitMQ {RABBITMQ_MIN} or later"),
        other => other.to_owned(),
    });
    Error::Missing {
        what: names.collect::<Vec<_>>().join(" and "),
        why: why.to_owned(),
        packages: packages.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_servers_are_named_in_one_sentence() {
        let error = nothing_to_run(&[POSTGRES_PACKAGE, RABBITMQ_PACKAGE], "there is no apt-get");
        assert_eq!(
            error.to_string(),
            "PostgreSQL 15 or later and RabbitMQ 3.10 or later not found, and there is no apt-get; install \
             postgresql rabbitmq-server (for example: apt-get install postgresql rabbitmq-server) and try again"
        );
    }
}
