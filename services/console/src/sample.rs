//! One sample of all cheap statistics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Probe, Queue};
use database::Pool;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::scrape::{Scraped, scrape};
use crate::settings::{ScrapeSettings, Settings};
use crate::statistics::{self, Database};

/// A server that takes longer than this counts as down.
const ANSWER_WITHIN: Duration = Duration::from_millis(2000);

/// The values of one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) time: Timestamp,
    pub(crate) api: Scraped,
    pub(crate) worker: Scraped,
    /// The other services, by role.
    pub(crate) others: BTreeMap<String, Scraped>,
    /// The database's statistics, or why they are missing.
    pub(crate) database: Result<Database, String>,
    /// The depths of the queues, or why they are missing.
    pub(crate) queues: Result<Depths, String>,
}

/// Messages waiting in the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depths {
    /// Envelopes for the analytics workers.
    pub(crate) engagement: u32,
    /// Dead-lettered messages.
    pub(crate) dead: u32,
    /// Blog events for the notification workers.
    pub(crate) blogs: u32,
}

/// Takes samples; clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    settings: ScrapeSettings,
    broker: broker::Settings,
    client: reqwest::Client,
    pool: Pool,
    probe: Arc<Mutex<Option<Probe>>>,
}

impl Sampler {
    pub(crate) fn new(settings: &Settings, client: reqwest::Client, pool: Pool) -> Self {
        Self {
            settings: settings.scrape.clone(),
            broker: settings.broker.clone(),
            client,
            pool,
            probe: Arc::default(),
        }
    }

    /// Queries all sources concurrently.
    pub(crate) async fn take(&self) -> Sample {
        let within = self.settings.timeout();
        let scraped = self.settings.services.iter().map(|(role, targets)| async move {
            (role.clone(), scrape(&self.client, targets, within).await)
        });
        let (scraped, database, queues) = tokio::join!(join_all(scraped), self.database(), self.queues());
        let mut others: BTreeMap<_, _> = scraped.into_iter().collect();
        let mut service = |role| others.remove(role).unwrap_or_default();
        let (api, worker) = (service("blogs_api"), service("analytics_worker"));
        let (at, time) = (Instant::now(), Timestamp::now());
        Sample { at, time, api, worker, others, database, queues }
    }

    async fn database(&self) -> Result<Database, String> {
        match timeout(ANSWER_WITHIN, statistics::database(&self.pool)).await {
            Ok(looked) => looked.map_err(|error| reason(&error)),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    async fn queues(&self) -> Result<Depths, String> {
        let mut probe = self.probe.lock().await;
        let looked = match timeout(ANSWER_WITHIN, depths(&mut probe, &self.broker)).await {
            Ok(looked) => looked.map_err(|error| reason(&error)),
            Err(_) => Err("no answer".to_owned()),
        };
        if looked.is_err() {
            *probe = None;
        }
        looked
    }
}

async fn depths(kept: &mut Option<Probe>, settings: &broker::Settings) -> Result<Depths, broker::Error> {
    let probe = match kept {
        Some(probe) => probe,
        None => kept.insert(Probe::open(settings).await?),
    };
    Ok(Depths {
        engagement: probe.depth(Queue::Engagement).await?,
        dead: probe.depth(Queue::EngagementDead).await?,
        blogs: probe.depth(Queue::Blogs).await?,
    })
}

/// The root cause, which people recognise.
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
