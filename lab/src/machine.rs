//! What a report says about its origin: the code, the build, the machine and the time.

use std::process::Command;

use bench::report::DatabaseSettings;
use serde::Serialize;

/// The environment of a measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    commit: String,
    command: String,
    profile: &'static str,
    cpu: String,
    cores: usize,
    date: String,
}

impl Machine {
    /// Reads the environment of this process.
    pub(crate) fn here() -> Self {
        let arguments = std::env::args().skip(1);
        Self {
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            command: std::iter::once("lab".to_owned()).chain(arguments).collect::<Vec<_>>().join(" "),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            cpu: cpu().unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }

    /// The environment as pairs of name and value.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("command", self.command.clone()),
            ("commit", self.commit.clone()),
            ("build", format!("{} profile", self.profile)),
            ("machine", format!("{}, {} cores", self.cpu, self.cores)),
            ("date", self.date.clone()),
        ]
    }
}

/// The database's durability settings in one line.
pub(crate) fn promises(database: &DatabaseSettings) -> String {
    format!(
        "{}, fsync {}, synchronous_commit {}, full_page_writes {}, shared_buffers {}",
        database.server_version,
        database.fsync,
        database.synchronous_commit,
        database.full_page_writes,
        database.shared_buffers
    )
}

/// The commit of the checkout, and whether the checkout has changes.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = !git(&["status", "--porcelain"])?.is_empty();
    Some(if changed { format!("{commit} with changes") } else { commit })
}

fn cpu() -> Option<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(model.trim_start_matches([' ', '\t', ':']).to_owned())
}
