//! `commonplace settings`: every key with its default, bounds, variable and reason, or the values that a process would start with.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::{PossibleValue, PossibleValuesParser};
use runtime::settings::{Defaults, Entry, SHARED_DEFAULTS};
use services::SERVICES;

use crate::{defaults, serve, terminal, up};

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

/// List the settings with defaults, bounds, variables and reasons, or the values that a process would start with
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Name of the process; without it, the settings of all processes, as in docs/configuration.md
    #[arg(value_name = "SERVICE", value_parser = PossibleValuesParser::new(names()))]
    process: Option<String>,
    /// Show the values that the process would start with, and their origins; secrets are redacted
    #[arg(long, requires = "process")]
    effective: bool,
    /// A settings file, which overrides the built-in defaults; the environment overrides it
    #[arg(long, value_name = "FILE", requires = "effective")]
    config: Option<PathBuf>,
}

/// The processes that are not services, each with its description and its defaults. As for a service, the defaults are in
/// `config/NAME.toml`.
static COMMANDS: [(&str, &str, Defaults); 4] = [
    ("migrate", "`commonplace migrate` and the administrator's other commands", defaults::MIGRATE),
    ("operator", "The operator's commands", defaults::OPERATOR),
    ("secrets", "`commonplace secrets check`", defaults::SECRETS),
    ("up", "`commonplace up` itself", up::DEFAULTS),
];

/// The name of every process on the command line.
fn names() -> impl Iterator<Item = PossibleValue> {
    let commands = COMMANDS.iter().map(|(name, about, _)| PossibleValue::new(*name).help(*about));
    SERVICES.iter().map(serve::named).chain(commands)
}

/// Every process with its defaults.
fn processes() -> impl Iterator<Item = (&'static str, Defaults)> {
    let services = SERVICES.iter().map(|service| (service.name, service.defaults));
    services.chain(COMMANDS.iter().map(|(name, _, defaults)| (*name, *defaults)))
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Some(name) = arguments.process else {
        terminal::line(page()?.trim_end());
        return Ok(());
    };
    let (name, defaults) = processes()
        .find(|(known, _)| *known == name)
        .with_context(|| format!("there is no process {name}"))?;
    if arguments.effective {
        return effective(name, defaults, arguments.config.as_deref());
    }
    let rows: String = defaults.entries()?.iter().map(row).collect();
    terminal::line(format_args!("{}{}", HEADER.trim_start(), rows.trim_end()));
    Ok(())
}

/// Prints the values that a process would start with, then checks them against the service's own types.
fn effective(name: &str, of: Defaults, file: Option<&Path>) -> anyhow::Result<()> {
    let loader = || defaults::loader(of).file(file);
    for setting in loader().effective()? {
        terminal::line(format_args!("{} = {} # {}", setting.key, setting.value, setting.origin));
    }
    match services::named(name) {
        Some(service) => service.check(loader()),
        None => Ok(()),
    }
}

/// The text of `docs/configuration.md`.
fn page() -> anyhow::Result<String> {
    let mut page = INTRO.to_owned();
    for (name, defaults) in std::iter::once(("default", SHARED)).chain(processes()) {
        write!(page, "\n## {name}.toml\n{HEADER}")?;
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

    use runtime::settings::Loader;

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
        for (process, defaults) in processes() {
            for entry in defaults.entries().unwrap() {
                let is_number = entry.default.parse::<f64>().is_ok();
                // A shared section that a process does not read has no bounds there.
                let is_own = defaults.own_entries().unwrap().iter().any(|own| own.key == entry.key);
                assert!(
                    !(is_number && is_own && entry.bounds.is_none()),
                    "{} in {process}.toml is a number without bounds",
                    entry.key
                );
                assert!(is_number || entry.bounds.is_none(), "{process}: {} is no number", entry.key);
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
        for bound in processes().flat_map(|(_, defaults)| defaults.bounds()) {
            let is_known = keys.iter().any(|key| bound.covers(key));
            assert!(is_known, "{} is bounded, and no process has such a key", bound.key());
        }
    }

    #[test]
    fn effective_settings_of_every_process_can_be_listed() {
        for (process, defaults) in processes() {
            let listed = Loader::new(defaults).environment([]).effective().unwrap();
            assert!(listed.iter().any(|setting| setting.key == "log.filter"), "{process}");
        }
    }
}
