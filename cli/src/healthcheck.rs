//! `commonplace healthcheck`: checks whether one service is ready. It is made for a container's HEALTHCHECK, so it
//! is quick, needs no settings, and reports an error in one line.

use std::time::Duration;

use anyhow::{Context, bail};

const EXAMPLES: &str = "\
Examples:
  commonplace healthcheck
  commonplace healthcheck http://127.0.0.1:8090 --timeout-ms 500
  commonplace healthcheck http://127.0.0.1:8080/healthz

Exit codes: 0 it is ready, 1 it is not or does not answer, 2 wrong usage.";

/// Check whether a service is ready; exit code 0 if it is
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Address of the service's operations port; without a path, /readyz is requested
    #[arg(default_value = "http://127.0.0.1:9080")]
    url: reqwest::Url,
    /// Timeout of the request, in milliseconds
    #[arg(long, default_value_t = 3000)]
    timeout_ms: u64,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { mut url, timeout_ms } = arguments;
    if url.path() == "/" {
        url.set_path("/readyz");
    }
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(timeout_ms)).build()?;
    let response = client.get(url.clone()).send().await.map_err(reqwest::Error::without_url);
    let response = response.with_context(|| format!("asking {url}"))?;
    let status = response.status();
    let body = response.text().await.with_context(|| format!("reading the answer of {url}"))?;
    if !status.is_success() {
        bail!("{url} answered {status}: {}", body.trim());
    }
    crate::terminal::line(body.trim());
    Ok(())
}
