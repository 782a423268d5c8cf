//! The exchanges and queues, declared by code at the start of every epoch.
//!
//! Names are versioned, because the arguments of a queue cannot be changed. Every argument is written out, so
//! that RabbitMQ 3.10 and 4 behave alike.
//!
//! ```text
//! commonplace.events (topic) ──engagement──► analytics.engagement.v1
//!                                                │ over its delivery limit, or rejected
//! commonplace.dead (direct) ──analytics.engagement.v1──► analytics.engagement.v1.dead
//! ```

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

/// Where envelopes are published; the routing key says what they carry.
pub(crate) const EVENTS: &str = "commonplace.events";
/// Where the broker sends what it cannot deliver.
const DEAD: &str = "commonplace.dead";

/// Deliveries of one message before the broker gives it up. RabbitMQ 4 would do so after 20, which a worker
/// that keeps being killed reaches with good messages; "no limit" is spelled differently in every version.
const DELIVERY_LIMIT: i32 = 1_000_000;

/// A queue that can be consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Queue {
    /// The engagement envelopes for Analytics.
    Engagement,
    /// Those of them that the broker has given up.
    EngagementDead,
}

impl Queue {
    /// The name on the broker.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Engagement => "analytics.engagement.v1",
            Self::EngagementDead => "analytics.engagement.v1.dead",
        }
    }
}

/// Declares everything. It changes nothing that is there already, and fails when something of another shape
/// bears one of the names.
pub(crate) async fn declare(channel: &Channel) -> lapin::Result<()> {
    exchange(channel, DEAD, ExchangeKind::Direct).await?;
    queue(channel, Queue::EngagementDead, quorum()).await?;
    bind(channel, Queue::EngagementDead, DEAD, Queue::Engagement.name()).await?;

    exchange(channel, EVENTS, ExchangeKind::Topic).await?;
    let mut arguments = quorum();
    text(&mut arguments, "x-dead-letter-exchange", DEAD);
    text(&mut arguments, "x-dead-letter-routing-key", Queue::Engagement.name());
    text(&mut arguments, "x-dead-letter-strategy", "at-least-once");
    // Without it the strategy falls back to at-most-once, silently.
    text(&mut arguments, "x-overflow", "reject-publish");
    queue(channel, Queue::Engagement, arguments).await?;
    bind(channel, Queue::Engagement, EVENTS, events::ENGAGEMENT).await
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    text(&mut arguments, "x-queue-type", "quorum");
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    arguments
}

fn text(arguments: &mut FieldTable, name: &'static str, value: &'static str) {
    arguments.insert(name.into(), AMQPValue::LongString(value.into()));
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await
}

async fn queue(channel: &Channel, queue: Queue, arguments: FieldTable) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.name().into(), options, arguments).await.map(drop)
}

async fn bind(channel: &Channel, queue: Queue, exchange: &str, key: &str) -> lapin::Result<()> {
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.name().into(), exchange.into(), key.into(), options, arguments).await
}
