//! The exchanges and queues: what the administrator's step makes ([`crate::administer`]) and the services expect.
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
//!
//! Services declare nothing: their users may not. Each looks, when it connects, for the exchange or the queue that it
//! uses; a passive declaration needs no right and changes nothing.

use events::{BlogEventKind, FollowEventKind};
use lapin::Channel;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use serde_json::{Map, Value, json};

use crate::error::{Doing, Error};

/// Where envelopes are published; the routing key says what they carry.
pub const EVENTS: &str = "commonplace.events";
/// Where the broker sends what it cannot deliver.
pub(crate) const DEAD: &str = "commonplace.dead";
/// Every exchange and its type.
pub(crate) const EXCHANGES: [(&str, &str); 2] = [(DEAD, "direct"), (EVENTS, "topic")];

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

    /// What it is declared with.
    pub(crate) fn arguments(self) -> Map<String, Value> {
        let mut arguments = Map::new();
        arguments.insert("x-queue-type".to_owned(), json!("quorum"));
        arguments.insert("x-delivery-limit".to_owned(), json!(DELIVERY_LIMIT));
        if matches!(self, Self::Engagement | Self::Blogs) {
            arguments.insert("x-dead-letter-exchange".to_owned(), json!(DEAD));
            arguments.insert("x-dead-letter-routing-key".to_owned(), json!(self.name()));
            arguments.insert("x-dead-letter-strategy".to_owned(), json!("at-least-once"));
            // Without it the strategy falls back to at-most-once, silently.
            arguments.insert("x-overflow".to_owned(), json!("reject-publish"));
        }
        arguments
    }

    /// The exchange that it is bound to, and the routing keys.
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

/// Fails with a sentence that says what to do when the exchange of events is missing.
pub(crate) async fn exchange_is_there(channel: &Channel) -> Result<(), Error> {
    let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
    let kind = lapin::ExchangeKind::Topic;
    let looked = channel.exchange_declare(EVENTS.into(), kind, options, FieldTable::default()).await;
    looked.finding("exchange", EVENTS)
}

/// Deliveries that wait in a queue. Fails with a sentence that says what to do when it is missing.
pub(crate) async fn depth(channel: &Channel, queue: Queue) -> Result<u32, Error> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let looked = channel.queue_declare(queue.name().into(), options, FieldTable::default()).await;
    Ok(looked.finding("queue", queue.name())?.message_count())
}
