//! Access to RabbitMQ: the topology and its users, a publisher and a consumer of envelopes.
//!
//! Only this crate uses `lapin`, and its interface exposes no `lapin` types. It does not use `lapin`'s recovery. A
//! connection with its single channel is an *epoch*: any failure ends the epoch, and the next one starts with a new
//! connection. Publishing and consuming use separate connections, because RabbitMQ stops reading from publishers when it
//! runs low on memory or disk.
//!
//! - [`Publisher`]: many tasks publish, one task owns the channel. `Ok` means that the broker confirmed and routed the
//!   envelope, or that the receiver of [`Overdue`] envelopes stored it.
//! - [`Consumer`]: one epoch of deliveries with manual, multiple acks.
//! - [`consume`]: runs epochs for a [`Worker`], which settles and acks the deliveries.
//! - [`Settings`]: the limits of both.
//! - [`administer`]: the administrator's step, which creates the exchanges, the queues and the services' users. Services
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
