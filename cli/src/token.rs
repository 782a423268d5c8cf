//! `commonplace token`: a bearer token for an account, with scopes that signing in never gives.

use anyhow::{Context, anyhow};
use blogs_api::SCOPE_IMPORT;
use database::Pool;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use web::tokens::{Epochs, TokenSettings, Tokens};

use crate::account::{self, Name};
use crate::operator::Place;
use crate::terminal::{self, Format};

const LONG: &str = "\
A bearer token for an account, with scopes that signing in does not give

The token is signed with what the API verifies with, so the command needs the API's settings: tokens.signing_keys \
(COMMONPLACE__TOKENS__SIGNING_KEYS) and a database. While `commonplace up` runs in this checkout it finds both. The \
token alone goes to stdout.";

const EXAMPLES: &str = "\
Examples:
  commonplace token --handle ada --scope import
  COMMONPLACE_TOKEN=$(commonplace token --handle ada --scope import) commonplace import access-log access.log
  commonplace token --handle ada --json

Exit codes: 0 done, 1 there is no such account or it may not act, 2 wrong usage.";

/// A bearer token for an account, with scopes that signing in does not give
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The account's handle
    #[arg(long)]
    handle: String,
    /// What the token allows beyond what every account may do; may be given several times
    #[arg(long, value_enum)]
    scope: Vec<Scope>,
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
    scopes: &'token [&'token str],
    expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Scope {
    /// Events of the past, and blogs with a source path
    Import,
}

/// What the command reads of the API's settings.
#[derive(Debug, Deserialize)]
struct Settings {
    log: runtime::settings::LogSettings,
    database: database::Settings,
    tokens: TokenSettings,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { handle, scope, format, place } = arguments;
    let (mut loader, running) = place.loader(blogs_api::DEFAULTS)?;
    loader = loader.set("log.filter", "warn,lapin=off");
    if let Some(running) = running {
        loader = loader.set("tokens.signing_keys", running.signing_keys);
    }
    let settings: Settings = loader.load()?;
    runtime::telemetry::init(&settings.log)?;
    let epochs = Epochs::without_database(&settings.tokens);
    let tokens = Tokens::new(&settings.tokens, epochs).map_err(|sentence| anyhow!(sentence))?;

    let client = Pool::new(&settings.database, "operator")?.get().await?;
    let account = account::find(&client, &Name::Handle(handle)).await?;
    account.is_active()?;
    let scopes: Vec<&str> = scope.iter().map(|Scope::Import| SCOPE_IMPORT).collect();
    let issued = tokens
        .issue(account.id, account.token_epoch, &scopes)
        .map_err(|problem| anyhow!(problem.detail().to_owned()))
        .context("signing the token")?;
    if format.json {
        return terminal::json(&Token {
            token: &issued.token,
            account_id: account.id,
            handle: &account.handle,
            scopes: &scopes,
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
