//! The exchanges and queues that the administrator's step creates ([`crate::administer`]) and the services use.
//!
//! Names are versioned, because the arguments of a queue cannot be changed. Every argument is given explicitly, so that
//! RabbitMQ 3.10 and 4 behave alike.
//!
//! ```text
//! commonplace.events (topic) ──engagement──► analytics.engagement.v1
//!                                                │ over its delivery limit, or rejected
//! commonplace.dead (direct) ──analytics.engagement.v1──► analytics.engagement.v1.dead
//! ```
//!
//! `notification.blogs.v1`, for the authors' changes to blogs, has the same structure.
//!
//! Services declare nothing, because their users may not. On connecting, each service checks that its exchange or queue
//! exists; a passive declaration needs no permission and changes nothing.

use events::{BlogEventKind, FollowEventKind};
use lapin::Channel;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use serde_json::{Map, Value, json};

use crate::error::{Doing, Error};

/// The exchange for all envelopes. The routing key tells what an envelope contains.
pub const EVENTS: &str = "commonplace.events";
/// The exchange for messages that the broker could not deliver.
pub(crate) const DEAD: &str = "commonplace.dead";
/// Every exchange and its type.
pub(crate) const EXCHANGES: [(&str, &str); 2] = [(DEAD, "direct"), (EVENTS, "topic")];

/// Maximum deliveries of one message before the broker dead-letters it. RabbitMQ 4's default is 20, which valid messages can
/// reach if a worker is killed repeatedly. Each version of RabbitMQ has another way to say "no limit", so this is a number
/// that no valid message reaches.
const DELIVERY_LIMIT: i32 = 1_000_000;

/// A queue that can be consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Queue {
    /// The engagement envelopes for Analytics.
    Engagement,
    /// Engagement envelopes that the broker has dead-lettered.
    EngagementDead,
    /// The authors' changes to blogs, for Notification.
    Blogs,
    /// Changes to blogs that were dead-lettered or could not be read.
    BlogsDead,
}

impl Queue {
    /// Every queue, each dead-letter queue before the queue that needs it.
    pub const ALL: [Self; 4] = [Self::EngagementDead, Self::Engagement, Self::BlogsDead, Self::Blogs];

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

    /// The arguments of its declaration.
    pub(crate) fn arguments(self) -> Map<String, Value> {
        let mut arguments = Map::new();
        arguments.insert("x-queue-type".to_owned(), json!("quorum"));
        arguments.insert("x-delivery-limit".to_owned(), json!(DELIVERY_LIMIT));
        if matches!(self, Self::Engagement | Self::Blogs) {
            arguments.insert("x-dead-letter-exchange".to_owned(), json!(DEAD));
            arguments.insert("x-dead-letter-routing-key".to_owned(), json!(self.name()));
            arguments.insert("x-dead-letter-strategy".to_owned(), json!("at-least-once"));
            // Without this argument the strategy silently falls back to at-most-once.
            arguments.insert("x-overflow".to_owned(), json!("reject-publish"));
        }
        arguments
    }

    /// The exchange it is bound to, and the routing keys.
    pub(crate) fn bindings(self) -> (&'static str, Vec<&'static str>) {
        match self {
            Self::Engagement => (EVENTS, vec![events::ENGAGEMENT]),
            Self::Blogs => (EVENTS, BlogEventKind::ALL.map(BlogEventKind::event_type).to_vec()),
            Self::EngagementDead => (DEAD, vec![Self::Engagement.name()]),
            Self::BlogsDead => (DEAD, vec![Self::Blogs.name()]),
        }
    }
}

/// The routing keys under which the Blogs API publishes.
pub(crate) fn published_keys() -> Vec<&'static str> {
    let mut keys = vec![events::ENGAGEMENT];
    keys.extend(BlogEventKind::ALL.map(BlogEventKind::event_type));
    keys.extend(FollowEventKind::ALL.map(FollowEventKind::event_type));
    keys
}

/// Checks that the exchange of events exists. The error says what to do if it is missing.
pub(crate) async fn exchange_is_there(channel: &Channel) -> Result<(), Error> {
    let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
    let kind = lapin::ExchangeKind::Topic;
    let looked = channel.exchange_declare(EVENTS.into(), kind, options, FieldTable::default()).await;
    looked.finding("exchange", EVENTS)
}

/// The number of messages in a queue that are ready for delivery. The error says what to do if the queue is missing.
pub(crate) async fn depth(channel: &Channel, queue: Queue) -> Result<u32, Error> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let looked = channel.queue_declare(queue.name().into(), options, FieldTable::default()).await;
    Ok(looked.finding("queue", queue.name())?.message_count())
}
