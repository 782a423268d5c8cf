//! RabbitMQ, and nothing above it: the topology and its users, a publisher of envelopes, a consumer of them.
//!
//! This is the only crate that knows `lapin`; none of its types is part of the interface. `lapin` is never
//! asked to recover anything. A connection with its one channel is an *epoch*: when anything on it fails, it is
//! over, and the next one is made from nothing. Publishing and consuming never share a
//! connection, because RabbitMQ stops reading from publishers when it runs short of memory or disk.
//!
//! - [`Publisher`]: many tasks publish, one task owns the channel. `Ok` means confirmed and routed; or kept by
//!   whoever takes what is [`Overdue`].
//! - [`Consumer`]: one epoch of deliveries with manual, multiple acks.
//! - [`consume`]: epoch after epoch for a [`Worker`], which settles the deliveries and acks them.
//! - [`Settings`]: the bounds of both.
//! - [`administer`]: the administrator's step, which makes the exchanges, the queues and the services' users. Services
//!   declare nothing.

mod administer;
mod backoff;
mod consumer;
mod delivery;
mod epochs;
mod error;
mod link;
mod probe;
mod properties;
mod publisher;
mod settings;
mod topology;

pub use administer::{
    ADMINISTRATION_BOUNDS, AdministerError, Administered, Administration, administer, url_of, users, vhost_of,
};
pub use backoff::Backoff;
pub use consumer::Consumer;
pub use delivery::Delivery;
pub use epochs::{Batches, ConsumerState, EpochEnd, StreamEnd, Subscription, Worker, consume};
pub use error::Error;
pub use probe::{Probe, queue_depth};
pub use publisher::{EncodedEvents, HandOver, Overdue, PublishError, Publisher, State};
pub use settings::{BOUNDS, Settings, SettingsError};
pub use topology::{EVENTS as EXCHANGE, Queue};
