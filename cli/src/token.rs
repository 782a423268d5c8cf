//! `commonplace token`: issues a bearer token with a scope that a session never has.

use anyhow::{Context, anyhow};
use database::Pool;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use web::tokens::{Issuer, Purpose, SigningKeys};

use crate::account::{self, Name};
use crate::defaults;
use crate::operator::Place;
use crate::terminal::{self, Format};

const LONG: &str = "\
Issue a bearer token for an account, with a scope that a session does not have

A token with the scope import can send events of the past and make blogs with a source path, and nothing else. It is valid \
for tokens.import_lifetime_s (1 h). The command looks the account up in the database and signs the token with \
tokens.import_signing_keys (COMMONPLACE__TOKENS__IMPORT_SIGNING_KEYS); the Blogs API needs the public half of the key. While \
`commonplace up` runs in this checkout, the command finds both by itself. Only the token goes to stdout.";

const EXAMPLES: &str = "\
Examples:
  commonplace token --handle ada --scope import
  COMMONPLACE_TOKEN=$(commonplace token --handle ada --scope import) commonplace import access-log access.log
  commonplace token --handle ada --scope import --json

Exit codes: 0 done, 1 there is no such account, or it is deleted or suspended, 2 wrong usage.";

/// Issue a bearer token for an account, with a scope that a session does not have
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Handle of the account
    #[arg(long)]
    handle: String,
    /// Scope of the token
    #[arg(long, value_enum)]
    scope: Scope,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// A token and its account.
#[derive(Debug, Serialize)]
struct Token<'token> {
    token: &'token str,
    account_id: i64,
    handle: &'token str,
    scopes: [&'token str; 1],
    expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Scope {
    /// Send events of the past, and make blogs with a source path
    Import,
}

/// The part of the operator's settings that the command reads.
#[derive(Debug, Deserialize)]
struct Settings {
    log: runtime::settings::LogSettings,
    database: database::Settings,
    tokens: TokenSettings,
}

/// The keys of the `[tokens]` section that it reads.
#[derive(Debug, Deserialize)]
struct TokenSettings {
    import_signing_keys: SigningKeys,
    import_lifetime_s: u32,
    issuer: String,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { handle, scope: Scope::Import, format, place } = arguments;
    let (mut loader, running) = place.loader(defaults::OPERATOR)?;
    if let Some(running) = running {
        loader = loader.set("tokens.import_signing_keys", running.import_signing_keys);
    }
    let Settings { log, database, tokens } = loader.load()?;
    runtime::telemetry::init(&log)?;
    let purpose = Purpose::Import;
    let issuer = Issuer::new(purpose, &tokens.import_signing_keys, &tokens.issuer, tokens.import_lifetime_s)
        .map_err(|error| anyhow!(error))?;

    let client = Pool::new(&database, "operator")?.get().await?;
    let account = account::find(&client, &Name::Handle(handle)).await?;
    account.is_active()?;
    let issued = issuer
        .issue(account.id, account.token_epoch)
        .map_err(|problem| anyhow!(problem.detail().to_owned()))
        .context("signing the token")?;
    if format.json {
        return terminal::json(&Token {
            token: &issued.token,
            account_id: account.id,
            handle: &account.handle,
            scopes: [purpose.scope()],
            expires_at: issued.expires_at,
        });
    }
    terminal::line(issued.token);
    terminal::note(format_args!(
        "for {} (id {}), valid until {}",
        account.handle, account.id, issued.expires_at
    ));
    Ok(())
}
