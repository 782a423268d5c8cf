//! A delivered envelope, which can be acked or rejected.

use std::fmt;
use std::time::Duration;

use events::WIRE_VERSION;
use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use uuid::Uuid;

use crate::error::{Doing, Error, bounded};
use crate::properties;

/// An envelope that is not acked yet. It owns what an ack needs, so a batch can be acked while the next one is read from the
/// [`crate::Consumer`].
pub struct Delivery {
    /// The envelope's id, if it has one that is a UUID.
    pub message_id: Option<Uuid>,
    /// The routing key. For a dead-lettered message, the name of the queue it came from.
    pub routing_key: String,
    /// The AMQP `type`: the routing key of the first publish.
    pub message_type: Option<String>,
    /// The version of the wire format that its publisher uses.
    pub wire_version: Option<i32>,
    /// The body as it was published.
    pub body: Vec<u8>,
    /// How often it was delivered before and returned to the queue.
    pub delivery_count: u32,
    /// Whether it may have been delivered before. This does not identify duplicates reliably.
    pub redelivered: bool,
    /// The W3C trace context.
    pub traceparent: Option<String>,
    /// Why the broker dead-lettered it (`rejected`, `delivery_limit`, …), if it did.
    pub death_reason: Option<String>,
    tag: u64,
    acker: Acker,
    answer_timeout: Duration,
}

impl Delivery {
    pub(crate) fn new(delivery: lapin::message::Delivery, answer_timeout: Duration) -> Self {
        let headers = properties::read(delivery.properties.headers().as_ref());
        let message_id = delivery.properties.message_id().as_ref();
        Self {
            message_id: message_id.and_then(|id| Uuid::try_parse(id.as_str()).ok()),
            routing_key: delivery.routing_key.to_string(),
            message_type: delivery.properties.kind().as_ref().map(ToString::to_string),
            wire_version: headers.wire_version,
            body: delivery.data,
            delivery_count: headers.delivery_count,
            redelivered: delivery.redelivered,
            traceparent: headers.traceparent,
            death_reason: headers.death_reason,
            tag: delivery.delivery_tag,
            acker: delivery.acker,
            answer_timeout,
        }
    }

    /// The version of its publisher's wire format, if it is newer than ours. Its body may then mean something else.
    #[must_use]
    pub fn newer_wire(&self) -> Option<i32> {
        self.wire_version.filter(|version| *version > WIRE_VERSION)
    }

    /// Acks this delivery and all earlier unacked deliveries of the same channel.
    ///
    /// # Errors
    /// The channel is closed: the epoch is over, and all of them are delivered again to some consumer.
    pub async fn ack_through(&self) -> Result<(), Error> {
        let answer = self.acker.ack(BasicAckOptions { multiple: true });
        self.answer("ack deliveries", answer).await
    }

    /// Rejects the message and returns it to the queue, which counts the delivery.
    ///
    /// # Errors
    /// The channel is gone: the epoch is over, and the message is delivered again.
    pub async fn reject(&self) -> Result<(), Error> {
        let answer = self.acker.reject(BasicRejectOptions { requeue: true });
        self.answer("reject a delivery", answer).await
    }

    /// Dead-letters the message. It stays in the dead-letter queue until a consumer takes it.
    ///
    /// # Errors
    /// The channel is gone: the epoch is over, and the message is delivered again.
    pub async fn give_up(&self) -> Result<(), Error> {
        let answer = self.acker.reject(BasicRejectOptions { requeue: false });
        self.answer("dead-letter a delivery", answer).await
    }

    async fn answer(
        &self,
        doing: &'static str,
        answer: impl Future<Output = lapin::Result<bool>>,
    ) -> Result<(), Error> {
        let taken = bounded(doing, self.answer_timeout, async { answer.await.doing(doing) }).await?;
        if taken { Ok(()) } else { Err(Error::channel_gone(doing)) }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("tag", &self.tag)
            .field("message_id", &self.message_id)
            .field("routing_key", &self.routing_key)
            .field("bytes", &self.body.len())
            .field("delivery_count", &self.delivery_count)
            .finish_non_exhaustive()
    }
}
