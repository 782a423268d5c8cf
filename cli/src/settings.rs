//! `commonplace settings`: every key with its default, bounds, variable and reason; or what a process would run with.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use runtime::settings::{Defaults, Entry, Loader, SHARED_DEFAULTS};

use crate::defaults::{self, EVERY_DEFAULTS};
use crate::{terminal, up};

/// What every process shares, with the bounds of those sections.
const SHARED: Defaults = Defaults::new(
    SHARED_DEFAULTS,
    &[runtime::traces::BOUNDS, database::BOUNDS, broker::BOUNDS, engagement::BOUNDS, web::tokens::BOUNDS],
);

const INTRO: &str = "\
# Settings

`commonplace settings` prints this page from the files in `config/` and from the bounds that the loader checks; a test refuses a
page that differs. A process has the keys of `default.toml` and those of its own file, whose defaults win. The file given with
`--config` overrides both, and the environment overrides that file. An unknown key, another type, or a number outside its
bounds stops the start with a message that names the key and its origin and says what to change. A dash means that the key takes
no number. Rules between several keys are given in the reasons. In a variable, commas separate the items of a list.
`commonplace settings SERVICE --effective` shows the values that a process would start with.
";

const HEADER: &str = "\n| key | variable | default | bounds | why |\n| --- | --- | --- | --- | --- |\n";

const EXAMPLES: &str = "\
Examples:
  commonplace settings blogs-api
  commonplace settings >docs/configuration.md
  COMMONPLACE__LOG__FILTER=debug commonplace settings analytics-worker --effective
  commonplace settings blogs-api --effective --config /etc/commonplace/blogs-api.toml

Exit codes: 0 printed; 1 a setting is refused, or --config cannot be read; 2 wrong usage.";

/// List the settings with defaults, bounds, variables and reasons, or those that a process would run with
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The process; without it the settings of all, as docs/configuration.md has them
    #[arg(value_name = "SERVICE")]
    process: Option<Process>,
    /// Show the values that the process would start with, and their origins; secrets are redacted
    #[arg(long, requires = "process")]
    effective: bool,
    /// A settings file, laid over the built-in defaults and under the environment
    #[arg(long, value_name = "FILE", requires = "effective")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Process {
    /// The Blogs API
    BlogsApi,
    /// The Analytics worker
    AnalyticsWorker,
    /// The Notification worker
    NotificationWorker,
    /// The Recommendation API
    RecommendationApi,
    /// The console
    Console,
    /// `commonplace migrate` and the administrator's other commands
    Migrate,
    /// The operator's commands
    Operator,
    /// `commonplace secrets check`
    Secrets,
    /// `commonplace up` itself
    Up,
}

/// Every process, with the name of its file in `config/` and its defaults.
const PROCESSES: [(Process, &str, Defaults); 9] = [
    (Process::BlogsApi, "blogs-api.toml", blogs_api::DEFAULTS),
    (Process::AnalyticsWorker, "analytics-worker.toml", analytics_worker::DEFAULTS),
    (Process::NotificationWorker, "notification-worker.toml", notification_worker::DEFAULTS),
    (Process::RecommendationApi, "recommendation-api.toml", recommendation_api::DEFAULTS),
    (Process::Console, "console.toml", console::DEFAULTS),
    (Process::Migrate, "migrate.toml", defaults::MIGRATE),
    (Process::Operator, "operator.toml", defaults::OPERATOR),
    (Process::Secrets, "secrets.toml", defaults::SECRETS),
    (Process::Up, "up.toml", up::DEFAULTS),
];

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let of = |process: Process| {
        PROCESSES.iter().find(|(known, ..)| *known == process).map(|(.., defaults)| *defaults)
    };
    let Some(defaults) = arguments.process.and_then(of) else {
        terminal::line(page()?.trim_end());
        return Ok(());
    };
    if arguments.effective {
        return effective(defaults, arguments.config.as_deref());
    }
    let rows: String = defaults.entries()?.iter().map(row).collect();
    terminal::line(format_args!("{}{}", HEADER.trim_start(), rows.trim_end()));
    Ok(())
}

fn effective(defaults: Defaults, file: Option<&Path>) -> anyhow::Result<()> {
    let settings = Loader::new(defaults).neighbours(&EVERY_DEFAULTS).file(file).effective()?;
    for setting in settings {
        terminal::line(format_args!("{} = {} # {}", setting.key, setting.value, setting.origin));
    }
    Ok(())
}

/// The text of `docs/configuration.md`.
fn page() -> anyhow::Result<String> {
    let mut page = INTRO.to_owned();
    let files = PROCESSES.iter().map(|(_, file, defaults)| (*file, *defaults));
    for (file, defaults) in std::iter::once(("default.toml", SHARED)).chain(files) {
        write!(page, "\n## {file}\n{HEADER}")?;
        page.extend(defaults.own_entries()?.iter().map(row));
    }
    Ok(page)
}

fn row(entry: &Entry) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let Entry { key, variable, default, bounds, reason, shares_reason } = entry;
    let bounds = bounds.as_deref().unwrap_or("-");
    let reason = if *shares_reason { "as above" } else { reason };
    format!("| `{key}` | `{variable}` | `{}` | {bounds} | {} |\n", cell(default), cell(reason))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn docs_configuration_is_the_output_of_this_command() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let written = std::fs::read_to_string(path).unwrap();
        assert!(
            written == page().unwrap(),
            "docs/configuration.md is out of date: cargo run -- settings >docs/configuration.md"
        );
    }

    #[test]
    fn every_number_has_bounds_and_every_bound_a_key() {
        let mut keys = BTreeSet::new();
        for (process, file, defaults) in PROCESSES {
            for entry in defaults.entries().unwrap() {
                let is_number = entry.default.parse::<f64>().is_ok();
                // Sections that a process shares and does not read have no bounds there.
                let is_own = defaults.own_entries().unwrap().iter().any(|own| own.key == entry.key);
                assert!(
                    !(is_number && is_own && entry.bounds.is_none()),
                    "{} in {file} is a number without bounds",
                    entry.key
                );
                assert!(is_number || entry.bounds.is_none(), "{process:?}: {} is no number", entry.key);
                keys.insert(entry.key);
            }
        }
        for entry in SHARED.own_entries().unwrap() {
            assert!(
                entry.default.parse::<f64>().is_err() || entry.bounds.is_some(),
                "{} in default.toml is a number without bounds",
                entry.key
            );
        }
        for bound in PROCESSES.iter().flat_map(|(.., defaults)| defaults.bounds()) {
            assert!(keys.contains(bound.key()), "{} is bounded, and no process has such a key", bound.key());
        }
    }

    #[test]
    fn effective_settings_of_every_process_can_be_listed() {
        for (process, _, defaults) in PROCESSES {
            let listed = Loader::new(defaults).environment([]).effective().unwrap();
            assert!(listed.iter().any(|setting| setting.key == "log.filter"), "{process:?}");
        }
    }
}
