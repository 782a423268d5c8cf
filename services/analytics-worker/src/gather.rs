//! Gathers deliveries into batches of limited size.
//!
//! After a quiet period, a delivery is applied at once. Under load, the next batch is due `worker.batch_interval_ms`
//! after the last one or when it is full: a commit costs the same for one event as for a thousand, and all batches
//! share the database and its disk.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use broker::{Batches, Consumer, Delivery, StreamEnd};
use engagement::{Incoming, ParkedBody};
use events::{EnvelopeId, codec};
use tokio::time::Instant;
use uuid::Uuid;

use crate::settings::{Settings, WorkerSettings};

/// Namespace for the ids of parked bodies without a usable id, so that a redelivery parks the same row.
const BODY_NAMESPACE: Uuid = Uuid::from_u128(0x5ab1_c8e2_94f0_4b53_a1d7_30c6_2d1e_8f4b);

/// Deliveries that are applied together, in the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) envelopes: Vec<Incoming>,
    pub(crate) unreadable: Vec<ParkedBody>,
    pub(crate) events: usize,
    /// The batch is this envelope alone; its body has not been read.
    pub(crate) suspect: Option<EnvelopeId>,
}

/// The content of a delivery.
pub(crate) enum Read {
    Envelope(Incoming),
    /// It was redelivered so often that it may be what kills workers; its body has not been read.
    Suspect(EnvelopeId),
    Unreadable(ParkedBody),
    NewerWire(i32),
}

/// The result of adding one more delivery to the batch.
enum Step {
    Taken,
    Full,
    NoneArrived,
}

/// Reads batches from one consumer.
pub(crate) struct Gather {
    consumer: Consumer,
    envelopes_max: usize,
    events_max: usize,
    suspect_after: u32,
    interval: Duration,
    /// When a batch that is not full is due.
    due: Instant,
    /// The deliveries of the next batch so far.
    batch: Batch,
    /// A delivery that was read but did not fit into the previous batch.
    carried: Option<(Delivery, Read)>,
}

impl Gather {
    pub(crate) fn new(consumer: Consumer, settings: &Settings) -> Self {
        let WorkerSettings { batch_envelopes_max: envelopes_max, batch_events_max: events_max, .. } =
            settings.worker;
        Self {
            consumer,
            envelopes_max,
            events_max,
            suspect_after: settings.poison.suspect_after_deliveries,
            interval: settings.worker.batch_interval(),
            due: Instant::now(),
            batch: Batch::default(),
            carried: None,
        }
    }

    /// Reads deliveries into the next batch, one after the other, until none is left or the batch is full; then waits
    /// for ever. This decodes the batch while the database applies the previous one. Dropping it loses nothing; the end
    /// of the stream is left for [`Batches::next`] to report.
    pub(crate) async fn read_ahead(&mut self) -> Infallible {
        while let Ok(Step::Taken) = self.step() {
            tokio::task::yield_now().await;
        }
        pending().await
    }

    /// Adds what has arrived to the batch. Returns true once the batch is complete.
    fn fill(&mut self) -> Result<bool, StreamEnd> {
        loop {
            match self.step()? {
                Step::Taken => {}
                Step::Full => return Ok(true),
                Step::NoneArrived => return Ok(false),
            }
        }
    }

    /// Adds one delivery to the batch. One that does not fit is kept for the next batch.
    fn step(&mut self) -> Result<Step, StreamEnd> {
        let Batch { deliveries, events, suspect, .. } = &self.batch;
        if suspect.is_some() || deliveries.len() >= self.envelopes_max || *events >= self.events_max {
            return Ok(Step::Full);
        }
        let Some((delivery, said)) = self.carried.take().or_else(|| self.arrived()) else {
            return Ok(Step::NoneArrived);
        };
        let newer = if let Read::NewerWire(version) = said { Some(version) } else { None };
        if newer.is_some() || !self.batch.has_room(&said, self.envelopes_max, self.events_max) {
            self.carried = Some((delivery, said));
            return match newer.filter(|_| self.batch.deliveries.is_empty()) {
                Some(version) => Err(StreamEnd::NewerWire(version)),
                None => Ok(Step::Full),
            };
        }
        self.batch.take(delivery, said);
        Ok(Step::Taken)
    }

    fn arrived(&mut self) -> Option<(Delivery, Read)> {
        let delivery = self.consumer.try_next()?;
        let said = read(&delivery, self.suspect_after);
        Some((delivery, said))
    }
}

impl Batches for Gather {
    type Batch = Batch;

    /// Returns the next batch: at least one delivery, and everything that has arrived when the batch is due or full or
    /// the stream ends. Dropping it while it waits loses nothing.
    async fn next(&mut self) -> Result<Batch, StreamEnd> {
        while !self.fill()? {
            let due = tokio::time::sleep_until(self.due);
            let next = tokio::select! {
                biased;
                next = self.consumer.next() => next,
                () = due, if !self.batch.deliveries.is_empty() => break,
            };
            match next {
                Some(delivery) => {
                    let delivery = delivery?;
                    let said = read(&delivery, self.suspect_after);
                    self.carried = Some((delivery, said));
                }
                None if self.batch.deliveries.is_empty() => return Err(StreamEnd::Ended),
                None => break,
            }
        }
        self.due = Instant::now() + self.interval;
        Ok(std::mem::take(&mut self.batch))
    }

    fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    fn into_consumer(self) -> Consumer {
        self.consumer
    }
}

impl Batch {
    fn has_room(&self, said: &Read, envelopes_max: usize, events_max: usize) -> bool {
        let events = match said {
            Read::Envelope(incoming) => incoming.events.len(),
            Read::Suspect(_) => return self.deliveries.is_empty(),
            Read::Unreadable(_) | Read::NewerWire(_) => 0,
        };
        self.deliveries.is_empty()
            || (self.suspect.is_none()
                && self.deliveries.len() < envelopes_max
                && self.events + events <= events_max)
    }

    fn take(&mut self, delivery: Delivery, said: Read) {
        match said {
            Read::Envelope(incoming) => {
                self.events += incoming.events.len();
                self.envelopes.push(incoming);
            }
            Read::Suspect(id) => self.suspect = Some(id),
            Read::Unreadable(body) => self.unreadable.push(body),
            Read::NewerWire(_) => return,
        }
        self.deliveries.push(delivery);
    }
}

impl Batch {
    /// Reads the body of a suspect.
    pub(crate) fn read_suspect(&mut self) {
        let (Some(id), Some(delivery)) = (self.suspect, self.deliveries.first()) else { return };
        match decode(delivery, id) {
            Read::Envelope(incoming) => {
                self.events += incoming.events.len();
                self.envelopes.push(incoming);
            }
            Read::Unreadable(body) => self.unreadable.push(body),
            Read::Suspect(_) | Read::NewerWire(_) => {}
        }
    }
}

fn read(delivery: &Delivery, suspect_after: u32) -> Read {
    #[cfg(feature = "fail-points")]
    fail::fail_point!("worker-after-receive");
    if let Some(version) = delivery.newer_wire() {
        return Read::NewerWire(version);
    }
    let id = match delivery.message_id.map(EnvelopeId::try_from) {
        Some(Ok(id)) => id,
        Some(Err(error)) => return Read::Unreadable(whole(delivery, error.to_string())),
        None => {
            return Read::Unreadable(whole(delivery, "the message id is missing or not a UUID".to_owned()));
        }
    };
    if delivery.delivery_count >= suspect_after { Read::Suspect(id) } else { decode(delivery, id) }
}

fn decode(delivery: &Delivery, id: EnvelopeId) -> Read {
    match codec::decode_engagement(&delivery.body) {
        Ok(events) => Read::Envelope(Incoming { id, traceparent: delivery.traceparent.clone(), events }),
        Err(error) => Read::Unreadable(whole(delivery, describe(&error))),
    }
}

/// A delivery that is parked unread.
pub(crate) fn whole(delivery: &Delivery, reason: String) -> ParkedBody {
    let derived = || Uuid::new_v5(&BODY_NAMESPACE, &delivery.body);
    ParkedBody {
        envelope_id: delivery.message_id.unwrap_or_else(derived),
        reason,
        body: delivery.body.clone(),
        traceparent: delivery.traceparent.clone(),
        attempts: 1,
        unfit: true,
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
