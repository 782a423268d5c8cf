//! How fast a queue drains, and what limits it: the number of events per envelope, the broker, or the database.
//!
//! The worker is the real one, as a separate process. The queue is full before it starts, and its time runs from the first
//! event that it counts. For comparison, this process decodes and applies the same envelopes from memory, in batches of the
//! worker's size: the difference is RabbitMQ. It also consumes the same envelopes and discards them, acknowledging as many
//! together as the worker may: the difference is the database.

use std::time::{Duration, Instant};

use broker::{Consumer, Publisher, Queue};
use database::Pool;
use engagement::{Engagement, Incoming, OnBadEvent};
use events::{
    Action, ENVELOPE_BYTES_MAX, ENVELOPE_EVENTS_MAX, EngagementEvent, Envelope, EnvelopeId, Visitor, codec,
};
use jiff::Timestamp;
use load::{Draw, Spread};
use prometheus_client::registry::Registry;
use rand::RngExt;
use serde::{Serialize, Serializer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Error;
use super::meters::Meters;
use super::setting::{Place, Setting};
use crate::servers::{broker_settings, url};
use crate::tables::Tables;

/// `worker.batch_envelopes_max` and `worker.batch_events_max` of the worker's defaults, and its `prefetch`.
const BATCH_ENVELOPES: usize = 64;
const BATCH_EVENTS: usize = 4096;
const PREFETCH: u16 = 128;
/// Every view counts and no row of it is kept, which leaves the least work for a worker.
const WINDOW_S: u32 = 0;
/// Events per second of a cell's load.
const FULL_PER_S: f64 = 150_000.0;
const ALONE_PER_S: f64 = 4000.0;
const PUBLISHERS: usize = 32;
const CONFIRM_MAX: Duration = Duration::from_secs(60);
const DRAIN_MAX: Duration = Duration::from_secs(300);
/// Pause between two queries, each of which sums up every counter while the worker's batches run.
const POLL: Duration = Duration::from_millis(20);

/// How a queue is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the worker, full envelopes.
    WorkerFull,
    /// By the worker, one event in each envelope.
    WorkerAlone,
    /// The same full envelopes, from memory.
    MemoryFull,
    /// Full envelopes, consumed and discarded.
    RawFull,
    /// One event in each envelope, consumed and discarded.
    RawAlone,
}

impl Way {
    /// Every way.
    pub const ALL: [Self; 5] =
        [Self::WorkerFull, Self::MemoryFull, Self::RawFull, Self::WorkerAlone, Self::RawAlone];

    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WorkerFull => "worker, full envelopes",
            Self::WorkerAlone => "worker, one event an envelope",
            Self::MemoryFull => "the same full envelopes from memory",
            Self::RawFull => "raw consume, full envelopes, no database",
            Self::RawAlone => "raw consume, one event an envelope, no database",
        }
    }

    fn is_alone(self) -> bool {
        matches!(self, Self::WorkerAlone | Self::RawAlone)
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A queue that was drained.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Drained {
    /// How it was drained.
    pub way: Way,
    /// Counted from 1.
    pub round: u32,
    /// The number of events in the queue.
    pub events: u64,
    /// The number of envelopes.
    pub envelopes: usize,
    /// How long it took, from the first event that was processed.
    pub elapsed_s: f64,
    /// Events per second.
    pub events_per_s: f64,
    /// Events that were not counted; 0 if this way counts nothing.
    pub lost: u64,
    /// Events that were counted twice.
    pub double: u64,
    /// Writing transactions of the whole cluster per 1000 events.
    pub commits_per_1000: f64,
    /// WAL of the cluster per event.
    pub wal_bytes_per_event: f64,
}

/// Processed events, with the start and the end.
#[derive(Debug, Clone, Copy)]
struct Span {
    events: u64,
    began: Instant,
    ended: Instant,
}

impl Setting<'_> {
    pub(super) async fn drain(&mut self, way: Way, round: u32) -> Result<Drained, Error> {
        let place = self.place().await?;
        let drained = self.drain_in(&place, way, round).await;
        let removed = self.remove(&place).await;
        let drained = drained?;
        removed?;
        Ok(drained)
    }

    async fn drain_in(&self, place: &Place, way: Way, round: u32) -> Result<Drained, Error> {
        let per_s = if way.is_alone() { ALONE_PER_S } else { FULL_PER_S };
        let events = (per_s * self.plan.duration.as_secs_f64()).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds times some thousand"
        )]
        let envelopes = envelopes(&self.viewed(), events as u64, way.is_alone());
        let events = count(&envelopes);
        let of_them = envelopes.len();
        let tables = Tables::open(&place.database).await?;
        if way != Way::MemoryFull {
            publish(place, &envelopes).await?;
        }
        tables.checkpoint().await?;
        let before = Meters::read(&tables).await?;
        let span = match way {
            Way::WorkerFull | Way::WorkerAlone => self.by_worker(place, &tables, events).await?,
            Way::MemoryFull => self.apply_from_memory(place, &envelopes).await?,
            Way::RawFull | Way::RawAlone => consume(place, &envelopes).await?,
        };
        let after = Meters::read(&tables).await?;
        let counted = u64::try_from(tables.views_counted().await?).unwrap_or_default();
        let expected = if matches!(way, Way::RawFull | Way::RawAlone) { 0 } else { events };
        let elapsed_s = (span.ended - span.began).as_secs_f64();
        Ok(Drained {
            way,
            round,
            events,
            envelopes: of_them,
            elapsed_s,
            events_per_s: span.events as f64 / elapsed_s.max(f64::MIN_POSITIVE),
            lost: expected.saturating_sub(counted),
            double: counted.saturating_sub(expected),
            commits_per_1000: (after.transactions - before.transactions) as f64 / (events as f64 / 1000.0),
            wal_bytes_per_event: (after.wal_bytes - before.wal_bytes) as f64 / events as f64,
        })
    }

    async fn by_worker(&self, place: &Place, tables: &Tables, events: u64) -> Result<Span, Error> {
        let mut worker = self.start_worker(place, WINDOW_S)?;
        let started = Instant::now();
        let mut first: Option<(Instant, u64)> = None;
        let span = loop {
            let counted = u64::try_from(tables.views_counted().await?).unwrap_or_default();
            let now = Instant::now();
            if counted > 0 {
                // The rate excludes events counted before the first query, and their time.
                let (began, before) = *first.get_or_insert((now, counted));
                if counted >= events {
                    break Span { events: counted - before, began, ended: now };
                }
            }
            if started.elapsed() > DRAIN_MAX || self.stop.is_cancelled() {
                let after_s = started.elapsed().as_secs();
                return Err(Error::NotDrained { left: events.saturating_sub(counted), of: events, after_s });
            }
            worker.check()?;
            tokio::time::sleep(POLL).await;
        };
        worker.stop().await?;
        Ok(span)
    }

    async fn apply_from_memory(&self, place: &Place, envelopes: &[Envelope]) -> Result<Span, Error> {
        let settings = database::Settings {
            url: url(&place.database, "analytics_worker", self.plan.roles.password("analytics_worker"))
                .into(),
            pool_max: 1,
            instances_max: 1,
            connect_timeout_ms: 5000,
            wait_timeout_ms: 60_000,
        };
        let pool = Pool::new(&settings, "bench from memory")?;
        let engagement = Engagement::new(pool, &engagement::Settings { view_window_s: WINDOW_S })?;
        // The time to connect is not measured, as for the worker.
        let mut batches = batches(envelopes).into_iter();
        let first = batches.next().unwrap_or_default();
        engagement.apply(&decode(&first), OnBadEvent::Park).await?;
        let began = Instant::now();
        let mut events = 0;
        for batch in batches {
            events += batch.iter().map(|envelope| envelope.events as u64).sum::<u64>();
            engagement.apply(&decode(&batch), OnBadEvent::Park).await?;
        }
        Ok(Span { events, began, ended: Instant::now() })
    }
}

/// Views of these blogs by new visitors.
fn envelopes(blogs: &[i64], events: u64, alone: bool) -> Vec<Envelope> {
    let draw = Draw::new(Spread::Zipf(1.1), blogs.len());
    let mut random = rand::rng();
    let mut view = || {
        codec::encode_engagement(&EngagementEvent {
            id: uuid::Uuid::now_v7(),
            blog_id: blogs.get(draw.draw(&mut random)).copied().unwrap_or_default(),
            time: Timestamp::now(),
            action: Action::Viewed(Visitor(random.random())),
            key: None,
            imported: false,
        })
    };
    let mut envelopes = Vec::new();
    let mut filling: Vec<Vec<u8>> = Vec::new();
    let mut bytes = 2;
    for _ in 0..events {
        let event = view();
        let is_full = filling.len() == ENVELOPE_EVENTS_MAX || bytes + event.len() + 1 > ENVELOPE_BYTES_MAX;
        if !filling.is_empty() && (alone || is_full) {
            envelopes.push(seal(&filling));
            filling.clear();
            bytes = 2;
        }
        bytes += event.len() + 1;
        filling.push(event);
    }
    if !filling.is_empty() {
        envelopes.push(seal(&filling));
    }
    envelopes
}

fn seal(events: &[Vec<u8>]) -> Envelope {
    Envelope {
        id: EnvelopeId::now(),
        routing_key: events::ENGAGEMENT,
        events: events.len(),
        body: codec::join(events.iter().map(Vec::as_slice)),
        traceparent: None,
    }
}

fn count(envelopes: &[Envelope]) -> u64 {
    envelopes.iter().map(|envelope| envelope.events as u64).sum()
}

/// Batches as the worker would gather them.
fn batches(envelopes: &[Envelope]) -> Vec<Vec<&Envelope>> {
    let mut batches: Vec<Vec<&Envelope>> = Vec::new();
    let mut events = 0;
    for envelope in envelopes {
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_ENVELOPES && events + envelope.events <= BATCH_EVENTS => {
                batch.push(envelope);
                events += envelope.events;
            }
            _ => {
                batches.push(vec![envelope]);
                events = envelope.events;
            }
        }
    }
    batches
}

fn decode(batch: &[&Envelope]) -> Vec<Incoming> {
    let incoming = |envelope: &&Envelope| Incoming {
        id: envelope.id,
        traceparent: None,
        // These bytes were made here; an unreadable envelope would be missing from the counts.
        events: codec::decode_engagement(&envelope.body).unwrap_or_default(),
    };
    batch.iter().map(incoming).collect()
}

/// Publishes them to the queue while no consumer runs.
async fn publish(place: &Place, envelopes: &[Envelope]) -> Result<(), Error> {
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let settings = broker_settings(&place.amqp_url);
    let publisher = Publisher::start(&settings, "bench", &mut Registry::default(), &tasks, shutdown.clone())?;
    let mut publishing = JoinSet::new();
    for share in envelopes.chunks(envelopes.len().div_ceil(PUBLISHERS).max(1)) {
        let (publisher, share) = (publisher.clone(), share.to_vec());
        publishing.spawn(async move {
            for envelope in share {
                let deadline = tokio::time::Instant::now() + CONFIRM_MAX;
                publisher.publish_envelope(envelope, deadline).await?;
            }
            Ok::<_, broker::PublishError>(())
        });
    }
    while let Some(published) = publishing.join_next().await {
        published?.map_err(|source| {
            let state = publisher.state().borrow().clone();
            Error::Publish { state: format!("{state:?}"), source }
        })?;
    }
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Consumes the whole queue without decoding it, and acknowledges as many messages together as a worker may.
async fn consume(place: &Place, envelopes: &[Envelope]) -> Result<Span, Error> {
    let mut consumer =
        Consumer::open(&broker_settings(&place.amqp_url), Queue::Engagement, PREFETCH, "bench").await?;
    let mut taken = 0;
    let mut began = None;
    while taken < envelopes.len() {
        let Some(delivery) = consumer.next().await else { break };
        let delivery = delivery?;
        began.get_or_insert_with(Instant::now);
        taken += 1;
        if taken % BATCH_ENVELOPES == 0 || taken == envelopes.len() {
            delivery.ack_through().await?;
        }
    }
    let ended = Instant::now();
    consumer.close().await?;
    let began = began.unwrap_or(ended);
    if taken < envelopes.len() {
        let left = (envelopes.len() - taken) as u64;
        return Err(Error::NotDrained { left, of: envelopes.len() as u64, after_s: 0 });
    }
    Ok(Span { events: count(envelopes), began, ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_full_or_hold_one_event() {
        let full = envelopes(&[1, 2, 3], 1000, false);
        assert_eq!(count(&full), 1000);
        let (last, before) = full.split_last().unwrap();
        assert!(!before.is_empty() && last.events <= before[0].events);
        for envelope in before {
            assert!(
                envelope.body.len() <= ENVELOPE_BYTES_MAX && envelope.body.len() > ENVELOPE_BYTES_MAX - 1024
            );
            let events = codec::decode_engagement(&envelope.body).unwrap();
            assert_eq!(events.len(), envelope.events);
            assert!(events.iter().all(Result::is_ok));
        }
        let alone = envelopes(&[1, 2, 3], 10, true);
        assert_eq!((alone.len(), count(&alone)), (10, 10));
    }

    #[test]
    fn batches_from_memory_are_as_large_as_a_workers() {
        let envelopes = envelopes(&[1], 20_000, false);
        let batches = batches(&envelopes);
        assert!(batches.len() > 2);
        for batch in &batches {
            let events: usize = batch.iter().map(|envelope| envelope.events).sum();
            assert!(batch.len() <= BATCH_ENVELOPES && events <= BATCH_EVENTS, "{} {events}", batch.len());
        }
        assert_eq!(batches.iter().flatten().count(), envelopes.len());
    }
}
