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
//!
//! `notification.blogs.v1`, for what authors do with blogs, is made alike.

use events::BlogEventKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

/// Where envelopes are published; the routing key says what they carry.
pub const EVENTS: &str = "commonplace.events";
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
    /// What authors do with blogs, for Notification.
    Blogs,
    /// What of that the broker has given up, or could not be read.
    BlogsDead,
}

impl Queue {
    /// The name on the broker.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Engagement => "analytics.engagement.v1",
            Self::EngagementDead => "analytics.engagement.v1.dead",
            Self::Blogs => "notification.blogs.v1",
            Self::BlogsDead => "notification.blogs.v1.dead",
        }
    }
}

/// Declares everything. It changes nothing that is there already, and fails when something of another shape
/// bears one of the names.
pub(crate) async fn declare(channel: &Channel) -> lapin::Result<()> {
    exchange(channel, DEAD, ExchangeKind::Direct).await?;
    exchange(channel, EVENTS, ExchangeKind::Topic).await?;
    consumable(channel, Queue::Engagement, Queue::EngagementDead, &[events::ENGAGEMENT]).await?;
    let blogs = BlogEventKind::ALL.map(BlogEventKind::event_type);
    consumable(channel, Queue::Blogs, Queue::BlogsDead, &blogs).await
}

/// A queue for these routing keys, and the one that takes what the broker gives up of it.
async fn consumable(channel: &Channel, of: Queue, dead: Queue, keys: &[&str]) -> lapin::Result<()> {
    queue(channel, dead, quorum()).await?;
    bind(channel, dead, DEAD, of.name()).await?;
    let mut arguments = quorum();
    text(&mut arguments, "x-dead-letter-exchange", DEAD);
    text(&mut arguments, "x-dead-letter-routing-key", of.name());
    text(&mut arguments, "x-dead-letter-strategy", "at-least-once");
    // Without it the strategy falls back to at-most-once, silently.
    text(&mut arguments, "x-overflow", "reject-publish");
    queue(channel, of, arguments).await?;
    for key in keys {
        bind(channel, of, EVENTS, key).await?;
    }
    Ok(())
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
