//! `commonplace import`: imports the history of a site as events.
//!
//! `access-log` reads the logs of a web server. A separate thread reads lines and keeps those that are views. The views
//! go in batches through the public API, `POST /v1/engagement`, several requests at a time. At most a few batches wait
//! between the two, so memory does not grow with the logs.
//!
//! Nothing counts twice. A view's key depends only on the contents of its line, and the system keeps the keys of imported
//! events forever. Importing the same log again adds nothing: not after a kill half-way, not on another day, and not when
//! views count without a window. [`ordinals`] explains how equal lines are told apart, and the limits of that.

mod api;
mod blogs;
mod input;
mod line;
mod ordinals;
mod progress;
mod reason;
mod report;
mod send;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, anyhow};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use events::WritePath;
use secrecy::SecretString;
use tokio::sync::mpsc;

use crate::operator::Place;
use crate::terminal::{self, Format};
use api::Api;
use blogs::Blogs;
use progress::Progress;
use report::Report;
use send::{Load, Sent};
use view::{Rules, Sieve};

const API: &str = "http://127.0.0.1:8080";

const EXAMPLES: &str = "\
Examples:
    Show what a log contains, without sending anything:
    commonplace import access-log --dry-run access.log
    Import every post under /blog/ and /articles/ from this and older logs, making a blog for each:
    export COMMONPLACE_TOKEN=$(commonplace token --handle ada --scope import)
    commonplace import access-log --create --prefix /blog/ --prefix /articles/ access.log access.log.*.gz
    Import two sites into one system, one of them from a remote log:
    commonplace import access-log --create --site example.org example.org.log
    ssh www.example.net cat /var/log/nginx/access.log | commonplace import access-log --create --site example.net -

A line is a view if its method is GET, its status is 200 or 304, its path begins with a prefix and looks like a page, and \
its user agent is not a known robot; options change each rule. Other lines are counted by reason. A visitor is an address \
with a user agent; the command sends only a hash of both.

You can run the command again at any time, with newer logs or after an interruption: a line counts once while the API's \
engagement.visitor_secret does not change. Rate limits also apply to imports: a --batch must fit into them.

Exit codes: 0 done, even if lines were left out; 1 failed; 2 wrong usage.";

/// Import the history of a site
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Import the views in a web server's access logs (the combined format of Apache and nginx)
    #[command(after_help = EXAMPLES)]
    AccessLog(AccessLog),
}

#[derive(Debug, clap::Args)]
struct AccessLog {
    /// Logs, plain or gzipped; - reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    rules: Rules,
    /// Make a blog, owned by the token's account, for each path that has none; otherwise the path's lines are left out
    #[arg(long)]
    create: bool,
    /// Only read and count, without an API or a token
    #[arg(long)]
    dry_run: bool,
    /// A token with the scope import
    #[arg(long, value_name = "TOKEN", env = "COMMONPLACE_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
    /// Address of the Blogs API [default: that of the running `up`, unless --config or `DATABASE_URL` names another system;
    /// otherwise port 8080 of this machine]
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// Write path of the views; only `direct` reports which of them are repeats
    #[arg(long, value_name = "PATH", default_value = "direct", value_parser = write_path())]
    write_path: WritePath,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

/// The write paths that an import can use.
fn write_path() -> impl TypedValueParser<Value = WritePath> {
    let direct = PossibleValue::new(WritePath::Direct.name());
    let message = PossibleValue::new(WritePath::Message.name());
    PossibleValuesParser::new([
        direct.help("Counted by the request, if the API allows it; otherwise like message"),
        message.help("Counted by a worker after the request"),
    ])
    .try_map(|name| name.parse::<WritePath>())
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Command::AccessLog(arguments) = arguments.command;
    let is_json = arguments.format.json;
    let report = access_log(arguments).await?;
    if is_json {
        return terminal::json(&report);
    }
    report.show();
    Ok(())
}

async fn access_log(arguments: AccessLog) -> anyhow::Result<Report> {
    let AccessLog { files, rules, create, dry_run, token, api, write_path, load, place, .. } = arguments;
    let destination = if dry_run {
        None
    } else {
        let token = token.context(api::TOKEN)?;
        let url = match api {
            Some(url) => url,
            None => place.api()?.unwrap_or_else(|| API.to_owned()),
        };
        Some((url, token))
    };
    let mut progress = Progress::new(input::bytes(&files)?);
    let shown = progress.clone();
    let is_direct = write_path == WritePath::Direct;
    let api = destination.map(|(url, token)| Api::new(&url, token, is_direct, shown.clone())).transpose()?;

    let (sender, views) = mpsc::channel(load.connections());
    // A separate thread, which the process does not wait for at its end, because it may block on standard input.
    let reader = thread::spawn(move || {
        input::read(&files, &mut Sieve::new(rules), &mut progress, load.batch(), &sender)
    });
    let (mut sent, mut blogs) = (Sent::default(), Blogs::new(create, load.connections()));
    let ended = match api {
        Some(api) => send::send(Arc::new(api), &mut blogs, views, load, &mut sent).await,
        None => {
            send::count(views, &mut sent).await;
            Ok(())
        }
    };
    let took = shown.end();
    sent.blogs_made = blogs.made;
    let panicked = |_| anyhow!("the thread that reads the logs panicked");
    match ended.and_then(|()| reader.join().map_err(panicked)?) {
        Ok(read) => Report::of(read, sent, took),
        Err(error) => {
            terminal::note(report::so_far(&sent, took));
            Err(error)
        }
    }
}
