//! `commonplace secrets`: checks the secrets of a docker compose stack before its servers start, and makes new ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use runtime::settings::published::{Kind, PUBLISHED};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{defaults, keys, terminal};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// A service uses one password for Postgres and RabbitMQ unless its second one is set.
const MAY_BE_EQUAL: &str = "_broker_password";

const CHECK_EXAMPLES: &str = "\
Examples:
  commonplace secrets check
  COMMONPLACE__SECRETS__POSTGRES_PASSWORD=... COMMONPLACE__SECRETS__CONSOLE_PASSWORD=... commonplace secrets check

Exit codes: 0 the servers may start with these secrets; 1 a secret is a published one although other machines can reach the \
system, or two secrets are equal; 2 wrong usage.";

const NEW_EXAMPLES: &str = "\
Examples:
  commonplace secrets new >>.env
  docker compose run --rm -T secrets new >>.env

Exit codes: 0 printed, 2 wrong usage.";

/// Check or make the secrets of a docker compose stack
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Refuse published secrets if other machines can reach the system, and secrets that are used twice
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// A settings file, which overrides the built-in defaults; the environment overrides it
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print a new random value for every secret, as lines of .env
    ///
    /// Servers that already have data keep their old passwords; docs/operations.md explains how to change them.
    #[command(after_help = NEW_EXAMPLES)]
    New,
}

/// The settings of the check.
#[derive(Debug, Deserialize)]
struct Settings {
    /// By the name of the variable, in lower case.
    secrets: BTreeMap<String, SecretString>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Check { config } => check(config.as_deref()),
        Command::New => {
            for published in PUBLISHED.iter() {
                let name = published.variable;
                match published.kind {
                    Kind::Password => terminal::line(format_args!("{name}={}", new_password())),
                    Kind::Key => terminal::line(format_args!("{name}={}", STANDARD.encode(random()))),
                    // With their public halves, and the keys of imports.
                    Kind::SigningKeys => keys::print_for_compose(),
                    Kind::VerifyingKeys => {}
                }
            }
            Ok(())
        }
    }
}

fn check(file: Option<&Path>) -> anyhow::Result<()> {
    let loader = defaults::loader(defaults::SECRETS).file(file);
    let (settings, notice): (Settings, _) = loader.load_noticing()?;
    let equal = equal(&settings.secrets);
    if !equal.is_empty() {
        bail!("{}: give each a value of its own", equal.join(", "));
    }
    match notice {
        Some(notice) => terminal::line(notice),
        None => terminal::line("no secret is a published one"),
    }
    Ok(())
}

/// Pairs of equal secrets: the holder of one could log in as the other.
fn equal(secrets: &BTreeMap<String, SecretString>) -> Vec<String> {
    let secrets: Vec<_> = secrets.iter().filter(|(_, secret)| !secret.expose_secret().is_empty()).collect();
    let later = |index: usize| secrets.iter().skip(index + 1);
    let pairs =
        secrets.iter().enumerate().flat_map(|(index, one)| later(index).map(move |other| (one, other)));
    pairs
        .filter(|((one, first), (other, second))| {
            let is_allowed =
                one.replace(MAY_BE_EQUAL, "_password") == other.replace(MAY_BE_EQUAL, "_password");
            first.expose_secret() == second.expose_secret() && !is_allowed
        })
        .map(|((one, _), (other, _))| {
            format!("{} and {} are equal", one.to_ascii_uppercase(), other.to_ascii_uppercase())
        })
        .collect()
}

fn new_password() -> String {
    random().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random() -> [u8; KEY_BYTES] {
    rand::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_secrets_are_named() {
        let secrets = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), SecretString::from(*value))).collect()
        };
        let found = equal(&secrets(&[
            ("postgres_password", "a"),
            ("console_password", "a"),
            ("operator_password", "b"),
        ]));
        assert_eq!(found, ["CONSOLE_PASSWORD and POSTGRES_PASSWORD are equal"]);
        let allowed = [("console_password", "a"), ("console_broker_password", "a"), ("x", ""), ("y", "")];
        assert_eq!(equal(&secrets(&allowed)), [""; 0]);
        let other = [("operator_password", "a"), ("console_broker_password", "a")];
        assert_eq!(equal(&secrets(&other)).len(), 1);
    }

    #[test]
    fn new_passwords_differ_and_are_safe_in_urls() {
        let made = [new_password(), new_password()];
        assert_ne!(made[0], made[1]);
        assert!(
            made.iter()
                .all(|made| made.len() == 2 * KEY_BYTES && made.bytes().all(|b| b.is_ascii_hexdigit()))
        );
    }
}
