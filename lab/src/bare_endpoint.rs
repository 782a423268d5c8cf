//! `lab bare-endpoint`: the process that `lab contrast` compares direct writes with.

use std::net::SocketAddr;

use anyhow::Context;
use database::Pool;
use secrecy::SecretString;

const EXAMPLES: &str = "\
Examples:
  DATABASE_URL=postgres://blogs_api:password@localhost/commonplace lab bare-endpoint --address 127.0.0.1:9000

Exit codes: 0 ended by SIGINT or SIGTERM, 1 it could not start or failed, 2 wrong usage.";

/// As many connections as the Blogs API has by default (`database.pool_max`).
const POOL_MAX: usize = 16;

/// Counts views by one bare UPDATE each, as nobody should; `lab contrast` starts it by itself
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, hide = true)]
pub(crate) struct Arguments {
    /// Where it listens
    #[arg(long, env = "COMMONPLACE__HTTP__ADDRESS")]
    address: SocketAddr,
    /// The database
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
