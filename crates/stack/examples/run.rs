//! Runs both servers until standard input ends. With `--keep` it leaves them running, or finds those of an earlier call.
//!
//! ```text
//! cargo run -p stack --example run -- DIRECTORY [--fresh] [--fast] [--keep]
//! ```
//!
//! It prints one `url` line each for the database, the broker and the management pages, and a line with `ready` and the
//! processes' ids. Progress and errors go to standard error.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use stack::{Options, Stack, kept};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let directory = arguments.first().ok_or("name the directory for the servers' data")?;
    let mut options = Options::new(directory);
    options.fresh = has("--fresh");
    options.durable = !has("--fast");

    let mut output = io::stdout();
    let mut progress = |line: &str| drop(writeln!(io::stderr(), "{line}"));
    if has("--keep") {
        let postgres = kept::postgres(&options, &mut progress)?;
        let rabbitmq = kept::rabbitmq(&options, &mut progress)?;
        for url in [postgres.url, rabbitmq.amqp_url, rabbitmq.management_url] {
            writeln!(output, "url {url}")?;
        }
        return Ok(());
    }
    let stack = Stack::start(&options, &mut progress)?;
    for url in [stack.postgres_url(), stack.amqp_url(), stack.management_url()] {
        writeln!(output, "url {url}")?;
    }
    write!(output, "ready")?;
    for pid in stack.postgres().pids().into_iter().chain(stack.rabbitmq().pids()) {
        write!(output, " {pid}")?;
    }
    writeln!(output)?;
    output.flush()?;

    io::stdin().read_to_end(&mut Vec::new())?;
    stack.stop()?;
    Ok(())
}
