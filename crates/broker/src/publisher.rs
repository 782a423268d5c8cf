//! Many tasks publish; one task owns the channel.
//!
//! ```text
//! publish() ──bounded queue──► gather ──► envelope ──► channel ──► confirm ──► every publish() in it
//!                                ▲                                    │
//!                                └── fewer than unconfirmed_max ──────┘
//! ```
//!
//! Whenever fewer than `unconfirmed_max` envelopes are unconfirmed, the task takes everything that is waiting
//! into one envelope. There is no timer: at low load an event leaves alone and at once, under load envelopes
//! fill by themselves while the ones before them are being confirmed.
//!
//! One task per channel is not a matter of taste: `lapin` attributes confirms wrongly when several tasks publish
//! on a channel, and attributes returned messages wrongly even with one. So only a plain ack is success, and
//! anything else (a nack, a return, an error, silence) ends the *epoch*: connection and channel are dropped, and
//! every envelope of theirs that is unresolved goes out again, with the same bytes and the same id, on the next
//! ones, as long as somebody still waits for it. A consumer recognises the second copy by its id.
//!
//! A publish waits by holding the receiver of a oneshot channel, and stops waiting by dropping it: at its
//! deadline, or because its own caller went away. That is all that the task has to look at.
//!
//! Where somebody can keep envelopes in another way, those that are overdue are handed over to them ([`HandOver`]):
//! with half the time to its deadline gone, or at once when the broker is known to be away. The task then knows
//! no more about it than that a publish may have been answered by somebody else.

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
    /// Bytes that may still be put into the queue.
    room: Arc<Semaphore>,
    state: watch::Receiver<State>,
    waiting: Gauge,
}

/// Why a publish was not confirmed. Nothing is promised in any of these cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Too much is waiting already. Nothing was sent.
    #[error("too much is waiting to be published")]
    Full,
    /// There was no clean confirm by the deadline. It may have been sent.
    #[error("the broker did not confirm in time")]
    TimedOut,
    /// The publisher is shutting down. Nothing was sent.
    #[error("the publisher is shutting down")]
    Closed,
    /// No envelope can hold it. Nothing was sent.
    #[error("more than fits into one envelope")]
    TooLarge,
}

impl Publisher {
    /// Starts the publishing task on `tasks`. It needs no broker yet: it connects, and connects again after any
    /// failure, until `shutdown` fires. Then new publishes are [`PublishError::Closed`], what waits is sent
    /// until it is confirmed or its deadline has passed, the connection is closed and the task ends. It ends in
    /// the same way when every handle is dropped.
    ///
    /// # Errors
    /// A setting makes no sense.
    pub fn start(
        settings: &Settings,
        app_id: &'static str,
        metrics: &mut Registry,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, SettingsError> {
        Self::start_with(settings, app_id, (None, Clock::system()), metrics, tasks, shutdown)
    }

    /// Returns when the publishing task has ended: after a shutdown, or because it is lost.
    pub async fn ended(&self) {
        self.items.closed().await;
    }

    /// Like [`Publisher::start`], and hands over what is overdue. The task drops its end of the hand-over when it
    /// ends. The ids of envelopes come from `clock`.
    ///
    /// # Errors
    /// A setting makes no sense.
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

    /// Publishes events that travel together in one envelope, perhaps with others, and waits for its confirm, or
    /// for somebody to keep it. Returns the id of that envelope. It is overdue when half of the time to `deadline`
    /// has passed.
    ///
    /// # Errors
    /// [`PublishError`]; at `deadline` at the latest.
    pub async fn publish(
        &self,
        events: EncodedEvents,
        deadline: Instant,
    ) -> Result<EnvelopeId, PublishError> {
        let bytes = events.bytes().len();
        self.submit(Load::Events(events), bytes, deadline).await
    }

    /// Publishes a ready envelope as it is, under its own id and alone, and waits for its confirm. It is never
    /// handed over: whoever made it has it.
    ///
    /// # Errors
    /// [`PublishError`]; at `deadline` at the latest.
    pub async fn publish_envelope(&self, envelope: Envelope, deadline: Instant) -> Result<(), PublishError> {
        let bytes = envelope.body.len();
        if bytes > ENVELOPE_BYTES_MAX || envelope.events > ENVELOPE_EVENTS_MAX {
            return Err(PublishError::TooLarge);
        }
        self.submit(Load::Envelope(envelope), bytes, deadline).await.map(drop)
    }

    /// What the connection is doing, now and whenever it changes.
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
        // An answer that never comes means that the task was torn down with its runtime.
        let answer = tokio::time::timeout_at(deadline, answered).await;
        answer.ok().and_then(Result::ok).ok_or(PublishError::TimedOut)
    }
}

/// Counts a publish for as long as it waits, however it ends.
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
