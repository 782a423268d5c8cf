//! Publishes envelopes: many tasks publish, one task owns the channel.
//!
//! ```text
//! publish() ──bounded queue──► gather ──► envelope ──► channel ──► confirm ──► every publish() in it
//!                                ▲                                    │
//!                                └── fewer than unconfirmed_max ──────┘
//! ```
//!
//! Whenever fewer than `unconfirmed_max` envelopes are unconfirmed, the task puts all waiting items into one envelope. There
//! is no timer: at low load an event is sent alone and at once; under load an envelope fills while earlier ones wait for
//! their confirms.
//!
//! A single task must own the channel: `lapin` attributes confirms wrongly if several tasks publish on a channel, and
//! attributes returned messages wrongly even with one. So only a plain ack counts as success. Anything else (a nack, a
//! return, an error, a timeout) ends the *epoch*: connection and channel are dropped. Every unresolved envelope that still
//! has a waiting caller is published again on the next connection, with the same bytes and the same id. A consumer
//! recognizes the second copy by its id.
//!
//! A publish waits by holding the receiver of a oneshot channel. It stops waiting by dropping the receiver, at its deadline
//! or because its own caller has gone. The task needs to check nothing else.
//!
//! If the service can store envelopes in another way, the publisher hands overdue envelopes over ([`HandOver`]): when half
//! of the time to the deadline has passed, or at once if the broker is known to be down. After that the receiver of
//! the hand-over may answer a publish before the task does.

mod backlog;
mod epoch;
mod events_encoded;
mod gather;
mod in_flight;
mod metrics;
mod outgoing;
mod overdue;
mod state;
mod task;

use std::sync::Arc;

use events::{Clock, ENVELOPE_BYTES_MAX, ENVELOPE_EVENTS_MAX, Envelope, EnvelopeId};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::backlog::Backlog;
pub use self::events_encoded::EncodedEvents;
use self::metrics::Metrics;
use self::outgoing::{Item, Load, Waiter};
use self::overdue::Lender;
pub use self::overdue::{HandOver, Overdue};
pub use self::state::State;
use crate::{Settings, SettingsError};

/// A handle to the publishing task. Clones share it.
#[derive(Debug, Clone)]
pub struct Publisher {
    items: mpsc::Sender<Item>,
    /// The remaining bytes that the queue accepts.
    room: Arc<Semaphore>,
    state: watch::Receiver<State>,
    waiting: Gauge,
}

/// Why a publish was not confirmed. In none of these cases may the caller report the events as accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The queue is full. Nothing was sent.
    #[error("the publisher's queue is full; try again later")]
    Full,
    /// There was no clean confirm by the deadline. The events may have been sent.
    #[error("RabbitMQ did not confirm in time")]
    TimedOut,
    /// The publisher is shutting down. Nothing was sent.
    #[error("the publisher is shutting down")]
    Closed,
    /// The events do not fit into one envelope. Nothing was sent.
    #[error("the events do not fit into one envelope; send fewer at a time")]
    TooLarge,
}

impl Publisher {
    /// Starts the publishing task on `tasks`. The broker need not be running yet: the task connects, and reconnects after
    /// each failure, until `shutdown` fires. From then on new publishes are [`PublishError::Closed`]. The task sends the
    /// waiting items until they are confirmed or their deadlines have passed, closes the connection and ends. It ends in the
    /// same way if all handles are dropped.
    ///
    /// # Errors
    /// A setting is invalid.
    pub fn start(
        settings: &Settings,
        app_id: &'static str,
        metrics: &mut Registry,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, SettingsError> {
        Self::start_with(settings, app_id, (None, Clock::system()), metrics, tasks, shutdown)
    }

    /// Returns when the publishing task has ended, after a shutdown or a failure.
    pub async fn ended(&self) {
        self.items.closed().await;
    }

    /// Like [`Publisher::start`], but also hands over overdue envelopes. The task drops its end of the hand-over when it
    /// ends. The ids of envelopes come from `clock`.
    ///
    /// # Errors
    /// A setting is invalid.
    pub fn start_handing_over(
        settings: &Settings,
        app_id: &'static str,
        hand_over: HandOver,
        clock: Clock,
        metrics: &mut Registry,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, SettingsError> {
        Self::start_with(settings, app_id, (Some(hand_over), clock), metrics, tasks, shutdown)
    }

    fn start_with(
        settings: &Settings,
        app_id: &'static str,
        (hand_over, clock): (Option<HandOver>, Clock),
        metrics: &mut Registry,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, SettingsError> {
        settings.validate()?;
        let (items, queue) = mpsc::channel(settings.waiting_max);
        let metrics = Metrics::register(metrics);
        let waiting = metrics.waiting.clone();
        let lender = hand_over.map(|hand_over| Lender::new(hand_over, metrics.handed_over.clone()));
        let backlog = Backlog::new(queue, lender, clock, shutdown);
        let (task, state) = task::Task::new(settings.clone(), app_id, backlog, metrics);
        tasks.spawn(task.run());
        Ok(Self { items, room: Arc::new(Semaphore::new(settings.waiting_bytes_max)), state, waiting })
    }

    /// Publishes events together in one envelope, possibly with other events, and waits until RabbitMQ confirms it or the
    /// receiver of overdue envelopes stores it. Returns the id of that envelope. The envelope is overdue when half of the
    /// time to `deadline` has passed.
    ///
    /// # Errors
    /// [`PublishError`], at `deadline` at the latest.
    pub async fn publish(
        &self,
        events: EncodedEvents,
        deadline: Instant,
    ) -> Result<EnvelopeId, PublishError> {
        let bytes = events.bytes().len();
        self.submit(Load::Events(events), bytes, deadline).await
    }

    /// Publishes a complete envelope unchanged and alone, under its own id, and waits for its confirm. It is never handed
    /// over, because the caller has already stored it.
    ///
    /// # Errors
    /// [`PublishError`], at `deadline` at the latest.
    pub async fn publish_envelope(&self, envelope: Envelope, deadline: Instant) -> Result<(), PublishError> {
        let bytes = envelope.body.len();
        if bytes > ENVELOPE_BYTES_MAX || envelope.events > ENVELOPE_EVENTS_MAX {
            return Err(PublishError::TooLarge);
        }
        self.submit(Load::Envelope(envelope), bytes, deadline).await.map(drop)
    }

    /// Watches the state of the connection.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    async fn submit(&self, load: Load, bytes: usize, deadline: Instant) -> Result<EnvelopeId, PublishError> {
        if self.items.is_closed() {
            return Err(PublishError::Closed);
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(PublishError::TimedOut);
        }
        let overdue_at = match &load {
            Load::Events(_) => Some(now + (deadline - now) / 2),
            Load::Envelope(_) => None,
        };
        let bytes = u32::try_from(bytes).map_err(|_| PublishError::TooLarge)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| PublishError::Full)?;
        let (answer, answered) = oneshot::channel();
        let item = Item { load, waiter: Waiter::new(answer, room), overdue_at };
        self.items.try_send(item).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => PublishError::Full,
            mpsc::error::TrySendError::Closed(_) => PublishError::Closed,
        })?;
        #[cfg(feature = "fail-points")]
        fail::fail_point!("api-after-enqueue");
        let _waiting = Waiting::new(&self.waiting);
        // If the task ended with its runtime, the sender was dropped without an answer. That counts as a timeout.
        let answer = tokio::time::timeout_at(deadline, answered).await;
        answer.ok().and_then(Result::ok).ok_or(PublishError::TimedOut)
    }
}

/// Counts a publish as waiting until it ends, however it ends.
struct Waiting<'gauge>(&'gauge Gauge);

impl<'gauge> Waiting<'gauge> {
    fn new(gauge: &'gauge Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
