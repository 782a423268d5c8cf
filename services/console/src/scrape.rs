//! Reads the `/metrics` of every process of a service, replicas included.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::time::timeout;
use url::Url;

use crate::openmetrics::Samples;

/// Maximum bytes read of a response.
const BYTES_MAX: usize = 4 << 20;
/// Maximum number of processes scraped per service.
const PROCESSES_MAX: usize = 64;

/// The result of scraping a service's processes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scraped {
    /// The sum of all responses; `None` if no process responded.
    pub(crate) samples: Option<Samples>,
    /// Number of processes that responded.
    pub(crate) answered: usize,
    /// Number of processes that did not respond, and of names that do not resolve.
    pub(crate) silent: usize,
}

/// Scrapes all targets concurrently.
pub(crate) async fn scrape(client: &reqwest::Client, targets: &[String], within: Duration) -> Scraped {
    let found = join_all(targets.iter().map(|target| timeout(within, addresses(target)))).await;
    let mut scraped = Scraped::default();
    let mut processes: Vec<SocketAddr> = Vec::new();
    for addresses in found {
        match addresses {
            Ok(addresses) if !addresses.is_empty() => processes.extend(addresses),
            _ => scraped.silent += 1,
        }
    }
    processes.sort_unstable();
    processes.dedup();
    processes.truncate(PROCESSES_MAX);
    for answer in join_all(processes.iter().map(|address| timeout(within, read(client, *address)))).await {
        match answer {
            Ok(Some(samples)) => {
                scraped.answered += 1;
                scraped.samples.get_or_insert_default().extend(samples);
            }
            _ => scraped.silent += 1,
        }
    }
    scraped
}

/// All addresses that the name resolves to.
pub(crate) async fn addresses(target: &str) -> Vec<SocketAddr> {
    let Ok(url) = Url::parse(target) else { return Vec::new() };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Vec::new() };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    lookup_host((host, port)).await.map_or_else(|_| Vec::new(), Iterator::collect)
}

async fn read(client: &reqwest::Client, address: SocketAddr) -> Option<Samples> {
    let mut answer = client.get(format!("http://{address}/metrics")).send().await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        if bytes.len() + chunk.len() > BYTES_MAX {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    Some(Samples::parse(&String::from_utf8_lossy(&bytes)))
}
