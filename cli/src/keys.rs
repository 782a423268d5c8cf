//! `commonplace keys`: prints new keys for tokens as settings.

use anyhow::ensure;
use jiff::Zoned;
use web::tokens::{KeyPair, is_key_id};

use crate::terminal;

const LONG: &str = "\
Make new keys for tokens

Prints a pair of Ed25519 keys for sessions and another for imports, as settings. Give the private key of sessions to the Blogs \
API only, and that of imports to the operator only. Public keys cannot issue tokens. The command writes no file and sends nothing.

To rotate, add the new public key to tokens.verifying_keys of every service and restart them, then put the new private key in \
front of tokens.signing_keys, and remove both halves of the old key after tokens.lifetime_s.";

/// Variables of the `[tokens]` section.
const PREFIX: &str = "COMMONPLACE__TOKENS__";

const EXAMPLES: &str = "\
Examples:
  commonplace keys
  commonplace keys --compose >>.env
  commonplace keys --id 2026b

Exit codes: 0 done, 1 the id is invalid, 2 wrong usage.";

/// Make new keys for tokens
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Id of the keys, which no other key may have [default: today's date and four random digits]
    #[arg(long)]
    id: Option<String>,
    /// Use the names of the variables in docker-compose.yml
    #[arg(long)]
    compose: bool,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { id, compose } = arguments;
    let id = id.unwrap_or_else(new_id);
    ensure!(is_key_id(&import_id(&id)), "--id {id:?} must be a few characters of [A-Za-z0-9._-]");
    print(&id, if compose { "" } else { PREFIX });
    Ok(())
}

/// Prints new keys under the names that docker-compose.yml reads.
pub(crate) fn print_for_compose() {
    print(&new_id(), "");
}

fn print(id: &str, prefix: &str) {
    let session = KeyPair::from_seed(id, &rand::random());
    let import = KeyPair::from_seed(&import_id(id), &rand::random());
    for [comment, setting] in settings(session, import, prefix) {
        terminal::line(comment);
        terminal::line(setting);
    }
}

fn new_id() -> String {
    format!("{}-{:04x}", Zoned::now().date(), rand::random::<u16>())
}

fn import_id(id: &str) -> String {
    format!("{id}-import")
}

/// Each half of each pair as a setting, with a comment that names its holder.
fn settings(session: KeyPair, import: KeyPair, prefix: &str) -> [[String; 2]; 4] {
    [
        ("The Blogs API alone: signs sessions.", "SIGNING_KEYS", session.signing),
        ("Recommendation API, and Blogs API while keys rotate.", "VERIFYING_KEYS", session.verifying),
        ("The operator alone: signs tokens for imports.", "IMPORT_SIGNING_KEYS", import.signing),
        ("The Blogs API.", "IMPORT_VERIFYING_KEYS", import.verifying),
    ]
    .map(|(whose, name, keys)| [format!("# {whose}"), format!("{prefix}{name}={keys}")])
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use web::tokens::{Epochs, Issuer, Purpose, SigningKeys, Tokens};

    use super::*;
    use crate::defaults::{self, OPERATOR};
    use crate::operator;

    #[tokio::test]
    async fn services_accept_the_printed_keys() {
        let (session, import) = (KeyPair::from_seed("a", &[1; 32]), KeyPair::from_seed("a-import", &[2; 32]));
        let variables: Vec<(OsString, OsString)> = settings(session, import, PREFIX)
            .iter()
            .map(|[_, setting]| setting.split_once('=').unwrap())
            .map(|(name, keys)| (name.into(), keys.into()))
            .collect();
        let keys: std::collections::HashMap<_, _> = variables.iter().cloned().collect();
        let loader = |of| defaults::loader(of).environment(variables.clone());
        let api: blogs_api::Settings = loader(blogs_api::DEFAULTS).load().unwrap();
        let recommendation: recommendation_api::Settings =
            loader(recommendation_api::DEFAULTS).load().unwrap();
        let _operator: operator::Settings = loader(OPERATOR).load().unwrap();
        let issue = |purpose, variable: &str| {
            let keys = keys[&OsString::from(format!("{PREFIX}{variable}"))].to_str().unwrap();
            let issuer = Issuer::new(purpose, &SigningKeys::new(keys), "commonplace", 60).unwrap();
            issuer.issue(7, 0).unwrap().token
        };
        let session = issue(Purpose::Session, "SIGNING_KEYS");
        let import = issue(Purpose::Import, "IMPORT_SIGNING_KEYS");

        let tokens = &recommendation.tokens;
        let verifier = Tokens::new(tokens, Epochs::without_database(tokens)).unwrap();
        assert!(verifier.verify(&session).await.is_ok() && verifier.verify(&import).await.is_err());
        let tokens = &api.tokens;
        let epochs = Epochs::without_database(&tokens.verifying);
        let verifier =
            Tokens::of_issuer(&tokens.verifying, &tokens.signing_keys, &tokens.import_verifying_keys, epochs)
                .unwrap();
        assert!(verifier.verify(&session).await.is_ok());
        assert!(verifier.verify(&import).await.unwrap().may_import());
    }
}
