//! `commonplace import`: the past of a site, as events.
//!
//! `access-log` reads the logs of a web server. A thread of its own reads lines and keeps those that are views; from
//! there they go in batches through the API's front door, `POST /v1/engagement`, several requests at a time. Between
//! the two lie a few batches at most, so that memory does not grow with the logs.
//!
//! Nothing counts twice. A view's key is made of what its line says and nothing else, and the system remembers the
//! keys of imported events for good: the same log again, after a kill half-way, on another day or with views that count
//! without a window, adds nothing. What tells equal lines apart, and where that ends, is said in [`ordinals`].

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
  What is in a log? Nothing is sent:
    commonplace import access-log --dry-run access.log
  Every post under /blog/ and /articles/, each made here as a blog of its own, from this and older logs:
    export COMMONPLACE_TOKEN=$(commonplace token --handle ada --scope import)
    commonplace import access-log --create --prefix /blog/ --prefix /articles/ access.log access.log.*.gz
  Two sites into one system; a log from elsewhere:
    commonplace import access-log --create --site example.org example.org.log
    ssh www.example.net cat /var/log/nginx/access.log | commonplace import access-log --create --site example.net -

A line is a view if it is a GET, was answered 200 or 304, its path begins with a prefix and ends like a page, and its \
agent is no known robot; each of these is an option. The others are counted by reason. A visitor is an address with an agent; both stay here, only \
a hash of them is sent.

It can be run again at any time, with newer logs or after it was broken off: a line counts once, as long as the API's \
engagement.visitor_secret stays what it is. Where rate limits are on, they hold for an import, too: a --batch must fit \
into them.

Exit codes: 0 done, also when lines were left out; 1 failed; 2 wrong usage.";

/// Bring the past of a site in
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Count the views that are in the access logs of a web server (Apache's and nginx's combined format)
    #[command(after_help = EXAMPLES)]
    AccessLog(AccessLog),
}

#[derive(Debug, clap::Args)]
struct AccessLog {
    /// Logs, plain or gzipped; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    rules: Rules,
    /// Make a blog for each path that has none, owned by the token's account; otherwise its lines are left out
    #[arg(long)]
    create: bool,
    /// Only read and count; needs neither API nor token
    #[arg(long)]
    dry_run: bool,
    /// A token with the scope import
    #[arg(long, value_name = "TOKEN", env = "COMMONPLACE_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
    /// The Blogs API [default: that of the running `up`, unless --config or `DATABASE_URL` names another system; else port
    /// 8080 of this machine]
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// How the views are counted; only `direct` knows at once which of them are repeats
    #[arg(long, value_name = "PATH", default_value = "direct", value_parser = write_path())]
    write_path: WritePath,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

/// The paths that an import can take.
fn write_path() -> impl TypedValueParser<Value = WritePath> {
    let direct = PossibleValue::new(WritePath::Direct.name());
    let message = PossibleValue::new(WritePath::Message.name());
    PossibleValuesParser::new([
        direct.help("In the request itself, where the API allows that; else by message"),
        message.help("By a worker, after the request"),
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
    // A thread of its own, which the end of the process does not wait for: it may be reading standard input.
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
