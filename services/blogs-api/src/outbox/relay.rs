//! The relay: the task that publishes the outbox to RabbitMQ. Every API process runs one.
//!
//! A turn claims the oldest envelopes with a lease, publishes them under their ids, and deletes those that the broker
//! confirmed. No transaction is open while the relay waits for confirms, so a slow broker never holds a lock in the
//! shared database. If the process dies, the lease expires and another relay sends the same bytes under the same id,
//! which receivers recognise. The relay wakes when this process commits an event, and also polls for what other
//! processes left and for spilled engagement. It claims nothing while the broker is down. It gives the publisher only a
//! few envelopes at a time, so that live events do not queue behind a whole turn of old ones.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::ensure;
use broker::{Publisher, State};
use database::{Error, Pool, Statement, statement};
use deadpool_postgres::Object;
use events::{BlogEventKind, ENGAGEMENT, Envelope, EnvelopeId, FollowEventKind};
use futures_util::{StreamExt, stream};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::outbox::Outbox;

const OUTBOX_CLAIM: Statement = statement!("outbox_claim.sql");
const OUTBOX_DELETE: Statement = statement!("outbox_delete.sql");
const OUTBOX_RELEASE: Statement = statement!("outbox_release.sql");
const OUTBOX_WAITING: Statement = statement!("outbox_waiting.sql");

/// Counting takes at most 1/50 of the time.
const COUNT_PAUSE: u32 = 50;

/// The `[relay]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Maximum interval between two reads of the outbox, in milliseconds.
    pub poll_ms: u64,
    /// Maximum pause after failures, in milliseconds; pauses double up to it.
    pub pause_max_ms: u64,
    /// Maximum number of envelopes per turn.
    pub claim_envelopes_max: u16,
    /// Number of bytes after which a turn claims no further envelope.
    pub claim_bytes_max: usize,
    /// Maximum number of envelopes that wait at the publisher at a time.
    pub publish_envelopes_max: usize,
    /// Duration of a lease, in milliseconds.
    pub lease_ms: u32,
    /// Maximum wait for the confirms of a turn, in milliseconds; must be well below the lease.
    pub publish_timeout_ms: u32,
}

impl Settings {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.lease_ms / 2 >= self.publish_timeout_ms,
            "relay.lease_ms must be at least twice relay.publish_timeout_ms; otherwise a second relay sends envelopes \
             that the first is still waiting for"
        );
        Ok(())
    }
}

/// The task, ready to run.
pub(crate) struct Relay {
    settings: Settings,
    pool: Pool,
    publisher: Publisher,
    outbox: Outbox,
    metrics: Metrics,
    count_at: Instant,
}

impl Relay {
    /// Validates the settings and registers the metrics.
    ///
    /// # Errors
    /// A sentence that says which setting to change.
    pub(crate) fn new(
        settings: &Settings,
        pool: Pool,
        publisher: Publisher,
        outbox: Outbox,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        settings.check()?;
        let (settings, metrics) = (settings.clone(), Metrics::register(registry));
        Ok(Self { settings, pool, publisher, outbox, metrics, count_at: Instant::now() })
    }

    /// Relays until `shutdown`; a turn in progress is finished.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut failures = 0_u32;
        loop {
            // Shutdown is checked first, because under a backlog the next turn is always due.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.next_turn(failures) => {}
            }
            match self.turn().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.metrics.failures.inc();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        failures,
                        "the relay's turn failed; retrying"
                    );
                }
            }
        }
    }

    /// Waits until this process has committed something, polling is due, or the pause after failures is over.
    async fn next_turn(&self, failures: u32) {
        if failures == 0 {
            tokio::select! {
                () = self.outbox.woken() => {}
                () = sleep(Duration::from_millis(self.settings.poll_ms)) => {}
            }
        } else {
            let pause_ms = self.settings.poll_ms.saturating_mul(1 << failures.min(16));
            sleep(Duration::from_millis(pause_ms.min(self.settings.pause_max_ms))).await;
        }
    }

    async fn turn(&mut self) -> Result<(), Failed> {
        let client = self.pool.get().await?;
        self.count(&client).await?;
        let is_connected = matches!(*self.publisher.state().borrow(), State::Connected);
        if !is_connected {
            return Ok(());
        }
        let claimed = self.claim(&client).await?;
        drop(client);
        let bytes: usize = claimed.iter().map(|envelope| envelope.body.len()).sum();
        if claimed.len() >= usize::from(self.settings.claim_envelopes_max)
            || bytes >= self.settings.claim_bytes_max
        {
            // More envelopes may be waiting: begin the next turn at once.
            self.outbox.wake();
        }
        let (published, unpublished) = self.publish(claimed).await;
        if !published.is_empty() {
            #[cfg(feature = "fail-points")]
            fail::fail_point!("relay-after-publish");
            let client = self.pool.get().await?;
            OUTBOX_DELETE.execute(&client, &[&published]).await?;
            self.metrics.relayed.inc_by(published.len() as u64);
        }
        if !unpublished.is_empty() {
            let client = self.pool.get().await?;
            OUTBOX_RELEASE.execute(&client, &[&unpublished]).await?;
            return Err(Failed::Unpublished(unpublished.len()));
        }
        Ok(())
    }

    /// Counts the waiting envelopes once per `poll_ms`, however fast turns follow each other, and less often if
    /// counting is slow.
    async fn count(&mut self, client: &Object) -> Result<(), Error> {
        let began = Instant::now();
        if began < self.count_at {
            return Ok(());
        }
        let most = i64::from(self.outbox.envelopes_max());
        let waiting = OUTBOX_WAITING.query_one(client, &[&most]).await?;
        let envelopes: i64 = waiting.get("envelopes");
        self.outbox.counted(u64::try_from(envelopes).unwrap_or(0));
        self.metrics.envelopes.set(envelopes);
        self.metrics.oldest_age.set(waiting.get("age_s"));
        let pause = Duration::from_millis(self.settings.poll_ms);
        self.count_at = Instant::now() + pause.max(began.elapsed() * COUNT_PAUSE);
        Ok(())
    }

    async fn claim(&self, client: &Object) -> Result<Vec<Envelope>, Error> {
        let envelopes_max = i64::from(self.settings.claim_envelopes_max);
        let bytes_max = i64::try_from(self.settings.claim_bytes_max).unwrap_or(i64::MAX);
        let lease_ms = i64::from(self.settings.lease_ms);
        let routing_keys = routing_keys();
        let claim: [&(dyn ToSql + Sync); 4] =
            [&envelopes_max, &bytes_max, &lease_ms, &routing_keys.as_slice()];
        let rows = OUTBOX_CLAIM.query(client, &claim).await?;
        let mut envelopes: Vec<Envelope> = rows.iter().filter_map(envelope).collect();
        envelopes.sort_unstable_by_key(|envelope| envelope.id);
        Ok(envelopes)
    }

    /// Publishes a few envelopes at a time, in order of id, and separates the confirmed from the rest. Engagement is
    /// published as mandatory; an envelope that no queue took is not confirmed.
    async fn publish(&self, envelopes: Vec<Envelope>) -> (Vec<Uuid>, Vec<Uuid>) {
        let deadline = Instant::now() + Duration::from_millis(u64::from(self.settings.publish_timeout_ms));
        let sent = envelopes.into_iter().map(async |envelope| {
            let id = envelope.id.as_uuid();
            (id, self.publisher.publish_envelope(envelope, deadline).await)
        });
        let (mut published, mut unpublished) = (Vec::new(), Vec::new());
        let mut sent = stream::iter(sent).buffered(self.settings.publish_envelopes_max);
        while let Some((id, result)) = sent.next().await {
            match result {
                Ok(()) => published.push(id),
                Err(error) => {
                    tracing::debug!(%id, error = &error as &dyn std::error::Error, "could not publish an envelope");
                    unpublished.push(id);
                }
            }
        }
        (published, unpublished)
    }
}

/// Why a turn was incomplete.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("cannot read or write the outbox")]
    Database(#[from] Error),
    #[error("{0} envelopes were not confirmed; they will be sent again")]
    Unpublished(usize),
}

/// The routing keys that this release can publish.
fn routing_keys() -> [&'static str; 6] {
    let [published, unpublished, deleted] = BlogEventKind::ALL.map(BlogEventKind::event_type);
    let [followed, unfollowed] = FollowEventKind::ALL.map(FollowEventKind::event_type);
    [ENGAGEMENT, published, unpublished, deleted, followed, unfollowed]
}

/// The envelope in a row, if this release can read it. Otherwise it stays in the outbox under its lease.
fn envelope(row: &Row) -> Option<Envelope> {
    let id: Uuid = row.get("id");
    let wanted: &str = row.get("routing_key");
    let routing_key = routing_keys().into_iter().find(|&known| known == wanted)?;
    let events = usize::try_from(row.get::<_, i32>("events")).ok()?;
    match EnvelopeId::try_from(id) {
        Ok(id) => Some(Envelope {
            id,
            routing_key,
            events,
            body: row.get("body"),
            traceparent: row.get("traceparent"),
        }),
        Err(error) => {
            tracing::error!(%error, "cannot publish an envelope of the outbox");
            None
        }
    }
}

#[derive(Debug)]
struct Metrics {
    relayed: Counter,
    failures: Counter,
    envelopes: Gauge,
    oldest_age: Gauge<f64, AtomicU64>,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            relayed: Counter::default(),
            failures: Counter::default(),
            envelopes: Gauge::default(),
            oldest_age: Gauge::default(),
        };
        registry.register("outbox_relayed", "Envelopes published from the outbox", metrics.relayed.clone());
        registry.register("outbox_failures", "Relay turns that were incomplete", metrics.failures.clone());
        registry.register(
            "outbox_envelopes",
            "Envelopes in the outbox at the relay's last count; counted up to the outbox's limit",
            metrics.envelopes.clone(),
        );
        registry.register_with_unit(
            "outbox_oldest_age",
            "Age of the oldest waiting envelope at the relay's last count",
            Unit::Seconds,
            metrics.oldest_age.clone(),
        );
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_the_invalid_setting() {
        let settings = || Settings {
            poll_ms: 1000,
            pause_max_ms: 30_000,
            claim_envelopes_max: 100,
            claim_bytes_max: 1 << 20,
            publish_envelopes_max: 4,
            lease_ms: 30_000,
            publish_timeout_ms: 10_000,
        };
        settings().check().unwrap();
        let wrong = Settings { lease_ms: 19_999, ..settings() };
        assert!(wrong.check().unwrap_err().to_string().starts_with("relay.lease_ms"));
    }
}
