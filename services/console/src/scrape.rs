//! Reading the `/metrics` of every process of a service, replicas included.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::time::timeout;
use url::Url;

use crate::openmetrics::Samples;

/// More than this of an answer is not read.
const BYTES_MAX: usize = 4 << 20;
/// Processes of a service that are asked.
const PROCESSES_MAX: usize = 64;

/// What the processes of a service said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scraped {
    /// Of all that answered, together; none if nobody did.
    pub(crate) samples: Option<Samples>,
    /// How many answered.
    pub(crate) answered: usize,
    /// How many did not, or names behind which there is nobody.
    pub(crate) silent: usize,
}

/// Asks all of them at once.
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

/// Everybody behind the name.
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
