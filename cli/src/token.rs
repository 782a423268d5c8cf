//! `commonplace token`: a bearer token with a scope that signing in never gives.

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
A bearer token for an account, with a scope that signing in does not give

A token with the scope import sends events of the past and makes blogs with a source path, and does nothing else. It is good \
for tokens.import_lifetime_s (1 h). The command signs it with tokens.import_signing_keys \
(COMMONPLACE__TOKENS__IMPORT_SIGNING_KEYS), whose public half the Blogs API has to know, and looks the account up in the \
database. While `commonplace up` runs in this checkout it finds both. The token alone goes to stdout.";

const EXAMPLES: &str = "\
Examples:
  commonplace token --handle ada --scope import
  COMMONPLACE_TOKEN=$(commonplace token --handle ada --scope import) commonplace import access-log access.log
  commonplace token --handle ada --scope import --json

Exit codes: 0 done, 1 there is no such account or it may not act, 2 wrong usage.";

/// A bearer token for an account, with a scope that signing in does not give
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The account's handle
    #[arg(long)]
    handle: String,
    /// What the token is for
    #[arg(long, value_enum)]
    scope: Scope,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// A token and whose it is.
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
    /// Events of the past, and blogs with a source path
    Import,
}

/// What the command reads of the operator's settings.
#[derive(Debug, Deserialize)]
struct Settings {
    log: runtime::settings::LogSettings,
    database: database::Settings,
    tokens: TokenSettings,
}

/// What it reads of the `[tokens]` section.
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
        "for {} (id {}), good until {}",
        account.handle, account.id, issued.expires_at
    ));
    Ok(())
}
