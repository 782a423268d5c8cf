//! Finds the servers' programs and their versions.

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Minimum major version of PostgreSQL.
pub(crate) const POSTGRES_MIN: u32 = 15;
/// Minimum version of RabbitMQ.
pub(crate) const RABBITMQ_MIN: Version = Version(3, 10);

/// A program's major and minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// An installed PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct PostgresPrograms {
    /// The directory with `postgres` and `initdb`.
    pub(crate) directory: PathBuf,
    pub(crate) version: Version,
    /// The version it reports, without the packager's suffix.
    pub(crate) version_text: String,
}

/// An installed RabbitMQ.
#[derive(Clone, Debug)]
pub(crate) struct RabbitMqPrograms {
    /// The script that starts the node. It is not the Debian package's wrapper, which refuses to run for most accounts and
    /// writes to the system's log directory.
    pub(crate) server: PathBuf,
    /// Erlang's name server.
    pub(crate) epmd: PathBuf,
    pub(crate) version: Version,
}

/// An installed browser and its driver.
#[derive(Clone, Debug)]
pub(crate) struct BrowserPrograms {
    pub(crate) browser: PathBuf,
    pub(crate) driver: PathBuf,
}

/// Finds Chromium or a browser based on it, and its driver.
pub(crate) fn browser() -> Option<BrowserPrograms> {
    let browser = ["chromium", "google-chrome", "google-chrome-stable"].into_iter().find_map(program)?;
    Some(BrowserPrograms { browser, driver: program("chromedriver")? })
}

/// All installed PostgreSQL versions that are new enough, newest first.
pub(crate) fn postgres() -> Vec<PostgresPrograms> {
    let packaged = children(Path::new("/usr/lib/postgresql")).into_iter().map(|version| version.join("bin"));
    // The path may contain links to some of the programs; the others are where the links point.
    let linked =
        on_path("initdb").filter_map(|initdb| Some(initdb.canonicalize().ok()?.parent()?.to_owned()));
    let directories: BTreeSet<PathBuf> = packaged.chain(linked).collect();
    let mut found: Vec<_> = directories.into_iter().filter_map(postgres_in).collect();
    found.sort_by_key(|programs| std::cmp::Reverse(programs.version));
    found
}

/// The newest installed RabbitMQ that is new enough.
pub(crate) fn rabbitmq() -> Option<RabbitMqPrograms> {
    let epmd =
        on_path("epmd").chain([PathBuf::from("/usr/lib/erlang/bin/epmd")]).find(|path| path.is_file())?;
    let places = [PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server")]
        .into_iter()
        .chain(
            children(Path::new("/usr/lib/rabbitmq/lib"))
                .into_iter()
                .map(|home| home.join("sbin/rabbitmq-server")),
        )
        .chain([PathBuf::from("/opt/rabbitmq/sbin/rabbitmq-server")])
        .chain(on_path("rabbitmq-server"));
    let (server, version) = places.filter_map(rabbitmq_at).max_by_key(|(_, version)| *version)?;
    (version >= RABBITMQ_MIN).then_some(RabbitMqPrograms { server, epmd, version })
}

/// The first program with this name on the path.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    on_path(name).next()
}

/// The path, and the system's own directories, which an account's path often lacks.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let ours = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&ours).chain(system.map(PathBuf::from)).filter(|path| path.is_absolute()).collect()
}

fn on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    search_path().into_iter().map(move |directory| directory.join(name)).filter(|path| path.is_file())
}

fn children(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn postgres_in(directory: PathBuf) -> Option<PostgresPrograms> {
    if !directory.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
    let (version, version_text) = postgres_version(&String::from_utf8_lossy(&output.stdout))?;
    (version.0 >= POSTGRES_MIN).then_some(PostgresPrograms { directory, version, version_text })
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
pub(crate) fn postgres_version(line: &str) -> Option<(Version, String)> {
    let text = line.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
    Some((version(text)?, text.to_owned()))
}

/// The script and its version, which is part of the name of the broker's library next to it.
fn rabbitmq_at(script: PathBuf) -> Option<(PathBuf, Version)> {
    let real = script.canonicalize().ok()?;
    let scripts = real.parent()?;
    if !scripts.join("rabbitmq-env").is_file() {
        return None;
    }
    let version = children(&scripts.parent()?.join("plugins"))
        .iter()
        .find_map(|library| version(library.file_name()?.to_str()?.strip_prefix("rabbit-")?))?;
    Some((real, version))
}

/// Reads the first two numbers of `15.18`, `3.10.8`, `18beta1` or `4.0.5.ez`.
pub(crate) fn version(text: &str) -> Option<Version> {
    let mut parts = text.split('.').map(|part| {
        let digits =
            part.find(|letter: char| !letter.is_ascii_digit()).map_or(part, |end| part.split_at(end).0);
        digits.parse().ok()
    });
    Some(Version(parts.next()??, parts.next().flatten().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_programs_write_them() {
        let debian = postgres_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n");
        assert_eq!(debian, Some((Version(15, 18), "15.18".to_owned())));
        assert_eq!(
            postgres_version("postgres (PostgreSQL) 18beta1\n"),
            Some((Version(18, 0), "18beta1".to_owned()))
        );
        assert_eq!(postgres_version("bash: postgres: command not found"), None);
        assert_eq!(version("3.10.8"), Some(Version(3, 10)));
        assert_eq!(version("4.0.5.ez"), Some(Version(4, 0)));
        assert_eq!(version("common-3.10.8"), None);
    }

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(
            Version(3, 9) < RABBITMQ_MIN && Version(3, 10) >= RABBITMQ_MIN && Version(4, 0) > RABBITMQ_MIN
        );
    }

    #[test]
    fn a_broker_is_found_by_its_scripts_and_libraries_and_a_wrapper_is_not() {
        let top = env::temp_dir().join(format!("stack-find-{}", std::process::id()));
        let home = top.join("rabbitmq_server-3.11.2");
        for directory in ["sbin", "plugins/rabbit-3.11.2", "plugins/rabbit_common-3.11.2", "wrapper"] {
            fs::create_dir_all(home.join(directory)).unwrap();
        }
        for file in ["sbin/rabbitmq-server", "sbin/rabbitmq-env", "wrapper/rabbitmq-server"] {
            fs::write(home.join(file), "").unwrap();
        }
        let link = top.join("rabbitmq-server");
        std::os::unix::fs::symlink(home.join("sbin/rabbitmq-server"), &link).unwrap();
        let found = rabbitmq_at(link);
        let wrapper = rabbitmq_at(home.join("wrapper/rabbitmq-server"));
        let real = home.join("sbin/rabbitmq-server").canonicalize().unwrap();
        fs::remove_dir_all(&top).unwrap();
        assert_eq!(found, Some((real, Version(3, 11))));
        assert_eq!(wrapper, None);
    }
}
