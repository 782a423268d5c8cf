//! Envelopes stored in the database until they are published. The [relay] publishes them under their stored ids.
//!
//! An author's change and the message that announces it cannot be committed together in two systems. The message is
//! therefore a row of `blogs.outbox`, written in the transaction of the change. The other rows are engagement envelopes
//! that RabbitMQ did not confirm in time ([`crate::acceptance::Spill`]).

pub(crate) mod relay;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use database::{Error, Statement, statement};
use deadpool_postgres::{Object, Transaction};
use events::{BlogEvent, Envelope, FollowEvent, codec};
use runtime::traces;
use tokio::sync::Notify;
use tracing::Span;
use uuid::Uuid;

const OUTBOX_PUT: Statement = statement!("outbox_put.sql");
const OUTBOX_SPILL: Statement = statement!("outbox_spill.sql");

/// Access to the outbox, the signal that wakes this process's relay, and the outbox's last known state. Clones share
/// all of it.
#[derive(Debug, Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bell: Notify,
    /// Nothing is spilled while the outbox holds this many envelopes.
    envelopes_max: u32,
    /// The number of envelopes at the last count.
    envelopes: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Outbox {
    /// Creates the state of an outbox that accepts spilled envelopes up to this number.
    #[must_use]
    pub fn new(envelopes_max: u32) -> Self {
        let (bell, envelopes, trouble) = (Notify::new(), AtomicU64::new(0), Mutex::new(None));
        Self { shared: Arc::new(Shared { bell, envelopes_max, envelopes, trouble }) }
    }

    /// Writes an event about a blog into the caller's transaction. It is published after the commit; call
    /// [`Outbox::wake`] then.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn put_blog(&self, transaction: &Transaction<'_>, event: &BlogEvent) -> Result<(), Error> {
        put(transaction, event.id, event.kind.event_type(), &codec::encode_blog(event)).await
    }

    /// Writes a follow or unfollow into the caller's transaction, as [`Outbox::put_blog`] does.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn put_follow(&self, transaction: &Transaction<'_>, event: &FollowEvent) -> Result<(), Error> {
        put(transaction, event.id, event.kind.event_type(), &codec::encode_follow(event)).await
    }

    /// Stores envelopes unchanged, all of them or none, in a transaction of their own.
    pub(crate) async fn spill(&self, client: &Object, envelopes: &[&Envelope]) -> Result<(), Error> {
        let ids: Vec<Uuid> = envelopes.iter().map(|envelope| envelope.id.as_uuid()).collect();
        let keys: Vec<&str> = envelopes.iter().map(|envelope| envelope.routing_key).collect();
        // An envelope holds at most 512 events.
        let events: Vec<i32> =
            envelopes.iter().map(|envelope| i32::try_from(envelope.events).unwrap_or(i32::MAX)).collect();
        let bodies: Vec<&[u8]> = envelopes.iter().map(|envelope| envelope.body.as_slice()).collect();
        let traces: Vec<Option<&str>> =
            envelopes.iter().map(|envelope| envelope.traceparent.as_deref()).collect();
        OUTBOX_SPILL.execute(client, &[&ids, &keys, &events, &bodies, &traces]).await?;
        Ok(())
    }

    /// Wakes this process's relay. A call while the relay is busy is not lost.
    pub fn wake(&self) {
        self.shared.bell.notify_one();
    }

    /// Waits for a call of [`Outbox::wake`]; a call since the last wait counts.
    pub(crate) async fn woken(&self) {
        self.shared.bell.notified().await;
    }

    /// The number up to which envelopes need to be counted.
    pub(crate) fn envelopes_max(&self) -> u32 {
        self.shared.envelopes_max
    }

    /// Records the relay's count, which is at most [`Outbox::envelopes_max`].
    pub(crate) fn counted(&self, envelopes: u64) {
        self.shared.envelopes.store(envelopes, Ordering::Relaxed);
    }

    /// Whether the outbox was full at the last count.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.envelopes.load(Ordering::Relaxed) >= u64::from(self.shared.envelopes_max)
    }

    /// Records the result of a spill: a failure's reason, or success.
    pub(crate) fn report(&self, trouble: Option<String>) {
        *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Takes the reason of the last failed spill, unless one has succeeded since.
    pub(crate) fn take_trouble(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Builds an envelope with one event; it has the event's id and the trace of the request.
async fn put(
    transaction: &Transaction<'_>,
    id: Uuid,
    routing_key: &'static str,
    encoded: &[u8],
) -> Result<(), Error> {
    let body = codec::join([encoded]);
    let traceparent = traces::traceparent(&Span::current());
    OUTBOX_PUT.execute(transaction, &[&id, &routing_key, &1_i32, &body, &traceparent]).await?;
    Ok(())
}
