//! Envelopes that wait in the database to be published. The [relay] publishes them under the ids
//! that they have here.
//!
//! An author's change and the message that tells of it cannot be committed together in two systems. So the
//! message is a row of `blogs.outbox`, in the transaction of the change. The other rows are envelopes of
//! engagement that RabbitMQ did not confirm in time ([`crate::acceptance::Spill`]).

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

/// The door to the outbox, the bell that wakes this process's relay, and what is known of how the outbox is.
/// Clones share all of it.
#[derive(Debug, Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bell: Notify,
    /// With so many in it nothing is spilled.
    envelopes_max: u32,
    /// How many there were at the last look.
    envelopes: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Outbox {
    /// An outbox that nobody waits at yet, and that takes spilled envelopes up to this number.
    #[must_use]
    pub fn new(envelopes_max: u32) -> Self {
        let (bell, envelopes, trouble) = (Notify::new(), AtomicU64::new(0), Mutex::new(None));
        Self { shared: Arc::new(Shared { bell, envelopes_max, envelopes, trouble }) }
    }

    /// Writes what happened to a blog into the caller's transaction. It is told of once that commits; then call
    /// [`Outbox::wake`].
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn put_blog(&self, transaction: &Transaction<'_>, event: &BlogEvent) -> Result<(), Error> {
        put(transaction, event.id, event.kind.event_type(), &codec::encode_blog(event)).await
    }

    /// Writes a follow, or its end, into the caller's transaction, as [`Outbox::put_blog`] does.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn put_follow(&self, transaction: &Transaction<'_>, event: &FollowEvent) -> Result<(), Error> {
        put(transaction, event.id, event.kind.event_type(), &codec::encode_follow(event)).await
    }

    /// Keeps envelopes as they are, all of them or none, in a transaction of their own.
    pub(crate) async fn spill(&self, client: &Object, envelopes: &[&Envelope]) -> Result<(), Error> {
        let ids: Vec<Uuid> = envelopes.iter().map(|envelope| envelope.id.as_uuid()).collect();
        let keys: Vec<&str> = envelopes.iter().map(|envelope| envelope.routing_key).collect();
        // An envelope holds 512 events at most.
        let events: Vec<i32> =
            envelopes.iter().map(|envelope| i32::try_from(envelope.events).unwrap_or(i32::MAX)).collect();
        let bodies: Vec<&[u8]> = envelopes.iter().map(|envelope| envelope.body.as_slice()).collect();
        let traces: Vec<Option<&str>> =
            envelopes.iter().map(|envelope| envelope.traceparent.as_deref()).collect();
        OUTBOX_SPILL.execute(client, &[&ids, &keys, &events, &bodies, &traces]).await?;
        Ok(())
    }

    /// Tells the relay of this process that there is something to do. A call while it is busy is not lost.
    pub fn wake(&self) {
        self.shared.bell.notify_one();
    }

    /// Waits until somebody calls [`Outbox::wake`], or has since the last wait.
    pub(crate) async fn woken(&self) {
        self.shared.bell.notified().await;
    }

    /// Up to where it is worth counting how many envelopes wait.
    pub(crate) fn envelopes_max(&self) -> u32 {
        self.shared.envelopes_max
    }

    /// So many envelopes wait, as the relay has just counted; no more than [`Outbox::envelopes_max`].
    pub(crate) fn counted(&self, envelopes: u64) {
        self.shared.envelopes.store(envelopes, Ordering::Relaxed);
    }

    /// Did as many wait as may, when the relay last looked?
    pub(crate) fn is_full(&self) -> bool {
        self.shared.envelopes.load(Ordering::Relaxed) >= u64::from(self.shared.envelopes_max)
    }

    /// Whoever spills says how it went: why not, or that it did.
    pub(crate) fn report(&self, trouble: Option<String>) {
        *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why nothing could be spilled since this was last asked, unless something was after that.
    pub(crate) fn take_trouble(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An envelope of one event, which has the event's id, and the trace of the request that it comes of.
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
