//! `lab bare-endpoint`: the baseline process of `lab contrast` for direct writes.

use std::net::SocketAddr;

use anyhow::Context;
use database::Pool;
use secrecy::SecretString;

const EXAMPLES: &str = "\
Examples:
  DATABASE_URL=postgres://blogs_api:password@localhost/commonplace lab bare-endpoint --address 127.0.0.1:9000

Exit codes: 0 stopped by SIGINT or SIGTERM, 1 the start or the process failed, 2 wrong usage.";

/// The same number of connections as the Blogs API's default (`database.pool_max`).
const POOL_MAX: usize = 16;

/// Count each view with one bare UPDATE (a bad practice); `lab contrast` starts this process itself
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, hide = true)]
pub(crate) struct Arguments {
    /// Address on which it listens
    #[arg(long, env = "COMMONPLACE__HTTP__ADDRESS")]
    address: SocketAddr,
    /// Address of the database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: SecretString,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let shutdown = runtime::shutdown::on_signal();
    let settings = database::Settings {
        url: arguments.database_url,
        pool_max: POOL_MAX,
        instances_max: 1,
        connect_timeout_ms: 5000,
        wait_timeout_ms: 2000,
    };
    let pool = Pool::new(&settings, "bare-endpoint")?;
    bench::contrast::bare::serve(arguments.address, pool, shutdown).await.context("serving")
}
