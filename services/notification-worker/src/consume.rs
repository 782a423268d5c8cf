//! What authors do, from the queue to the fan-outs: epochs, retries, acks.
//!
//! An epoch is one connection. What has arrived is settled, blog by blog, and acked after that; a worker that dies in
//! between leaves it to be delivered again, and settling again changes nothing. A message that cannot be read is given up to
//! the queue of the dead, where it stays for a person to look at; what can be read of it is done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Consumer, Delivery, Queue};
use database::Pool;
use events::{WIRE_VERSION, codec};
use runtime::health::Health;
use runtime::traces;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::metrics::Metrics;
use crate::settings::{EventSettings, TRY_MAX};
use crate::settle::settle;

/// What the consuming task needs.
pub(crate) struct Consuming {
    pub(crate) broker: broker::Settings,
    pub(crate) settings: EventSettings,
    pub(crate) pool: Pool,
    /// To ring when something has been settled.
    pub(crate) bell: Arc<Notify>,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

/// Why an epoch ended.
#[derive(Debug, thiserror::Error)]
enum EpochEnd {
    #[error("the stream of deliveries ended")]
    Stream,
    #[error("consuming")]
    Broken(#[from] broker::Error),
    #[error("an event could not be settled for {0} s, it goes back into the queue")]
    GaveUp(u64),
    #[error("an event could not be settled before the end")]
    Drained,
    #[error(
        "a message speaks version {0} of the wire and this worker {WIRE_VERSION}: upgrade the workers first"
    )]
    NewerWire(i32),
}

impl Consuming {
    /// Consumes until shutdown.
    pub(crate) async fn run(self) {
        let mut pause = self.settings.first_pause();
        while !self.shutdown.is_cancelled() {
            let opened =
                Consumer::open(&self.broker, Queue::Blogs, self.settings.prefetch, "notification-worker");
            match opened.await {
                Ok(consumer) => {
                    self.health.report("rabbitmq", Ok(()));
                    pause = self.settings.first_pause();
                    let end = self.epoch(consumer).await;
                    if let EpochEnd::NewerWire(_) = end {
                        // Stay up, take nothing more, say why: whoever asks after readiness is told what to do.
                        tracing::error!("{end}");
                        self.health.report("wire", Err(end.to_string()));
                        return self.shutdown.cancelled().await;
                    }
                    if !self.shutdown.is_cancelled() {
                        self.metrics.epochs_ended.inc();
                        tracing::warn!(error = &end as &dyn std::error::Error, "an epoch of consuming ended");
                        self.health.report("rabbitmq", Err(end.to_string()));
                    }
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "cannot consume yet");
                    self.health.report("rabbitmq", Err(error.to_string()));
                }
            }
            self.rest(pause).await;
            pause = self.settings.next_pause(pause);
        }
    }

    async fn epoch(&self, mut consumer: Consumer) -> EpochEnd {
        let mut cancelled = false;
        loop {
            let first = tokio::select! {
                delivery = consumer.next() => match delivery {
                    Some(Ok(delivery)) => delivery,
                    Some(Err(error)) => return error.into(),
                    None => {
                        // In order, so that the last ack arrives before the connection's end.
                        if let Err(error) = consumer.close().await {
                            tracing::info!(%error, "the connection ended without a goodbye; what was acked last may come again");
                        }
                        return EpochEnd::Stream;
                    }
                },
                // Ends the stream; what has arrived still comes out of `next`, and then its end.
                () = self.shutdown.cancelled(), if !cancelled => {
                    cancelled = true;
                    if let Err(error) = consumer.cancel().await {
                        return error.into();
                    }
                    continue;
                }
            };
            let mut arrived = vec![first];
            arrived.extend(std::iter::from_fn(|| consumer.try_next()));
            let messages = arrived.iter();
            let messages = messages.map(|delivery| (delivery.traceparent.as_deref(), delivery.message_id));
            let span = traces::batch(Queue::Blogs.name(), messages);
            if let Err(end) = self.work_off(&arrived).instrument(span.clone()).await {
                traces::failed(&span);
                return end;
            }
        }
    }

    async fn work_off(&self, arrived: &[Delivery]) -> Result<(), EpochEnd> {
        let mut blogs = BTreeSet::new();
        let (mut good, mut unreadable) = (None, Vec::new());
        for delivery in arrived {
            if let Some(version) = delivery.wire_version.filter(|version| *version > WIRE_VERSION) {
                return Err(EpochEnd::NewerWire(version));
            }
            match read(delivery, &mut blogs) {
                Ok(()) => good = Some(delivery),
                Err(reason) => unreadable.push((delivery, reason)),
            }
        }
        for blog_id in blogs {
            self.until_settled(blog_id).await?;
            self.bell.notify_one();
        }
        // Before the ack, which takes in everything that came earlier and is not answered for.
        for (delivery, reason) in unreadable {
            self.metrics.unreadable.inc();
            tracing::error!(id = ?delivery.message_id, reason, "a message cannot be read; it is given up");
            delivery.give_up().await?;
        }
        if let Some(last) = good {
            last.ack_through().await?;
        }
        Ok(())
    }

    /// Settles, and tries again for as long as the database cannot.
    async fn until_settled(&self, blog_id: i64) -> Result<(), EpochEnd> {
        let began = Instant::now();
        let mut pause = self.settings.first_pause();
        loop {
            let Err(error) = database::within(TRY_MAX, settle(&self.pool, blog_id)).await else {
                self.metrics.settled.inc();
                self.health.report("events", Ok(()));
                return Ok(());
            };
            self.metrics.failures.inc();
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                blog_id,
                "an event cannot be settled yet"
            );
            self.health.report("events", Err(format!("an event cannot be settled: {error}")));
            if began.elapsed() >= Duration::from_secs(self.settings.give_up_after_s) {
                return Err(EpochEnd::GaveUp(self.settings.give_up_after_s));
            }
            if self.shutdown.is_cancelled() {
                return Err(EpochEnd::Drained);
            }
            self.rest(pause).await;
            pause = self.settings.next_pause(pause);
        }
    }

    /// Between half and all of the pause, so that workers do not knock together.
    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))) => {}
        }
    }
}

/// Adds the blogs that a delivery is about; the error is why it, or a part of it, cannot be read.
fn read(delivery: &Delivery, blogs: &mut BTreeSet<i64>) -> Result<(), String> {
    let events = codec::decode_blog(&delivery.body).map_err(|error| error.to_string())?;
    let mut malformed = None;
    for event in events {
        match event {
            Ok(event) => {
                blogs.insert(event.blog_id);
            }
            Err(error) => malformed = Some(error.reason),
        }
    }
    malformed.map_or(Ok(()), Err)
}
