//! The wire: what the services say to each other, and nothing about how it travels.
//!
//! An [`EngagementEvent`] is a fact in the past tense ("this visitor viewed that blog"). An [`Envelope`] is one AMQP
//! message that carries one or more events; its id is the idempotency key of the whole message path. On the
//! wire an envelope is a CloudEvents 1.0 JSON batch ([`codec`]). The types here are the wire's own: they are
//! neither the rows of the database nor the bodies of the HTTP API, and each of those converts at its border.
//! This crate does no IO. [`WritePath`] is here because every part that sends, accepts or shows engagement names one.

pub mod clock;
pub mod codec;
mod engagement;
mod envelope;
mod lifecycle;
pub mod traceparent;
mod write_path;

pub use clock::Clock;
pub use codec::{Malformed, Unreadable};
pub use engagement::{Action, Channel, EngagementEvent, EngagementKind, UnknownChannel, Visitor};
pub use envelope::{Envelope, EnvelopeId, NotTimeOrdered};
pub use lifecycle::{BlogEvent, BlogEventKind, FollowEvent, FollowEventKind};
pub use write_path::{UnknownWritePath, WritePath};

/// The `AMQP type` and routing key of an envelope of engagement events.
pub const ENGAGEMENT: &str = "engagement";
/// Version of the wire. A consumer that meets a newer one stops and says so: workers upgrade first.
pub const WIRE_VERSION: i32 = 1;
/// Media type of an envelope's body.
pub const CONTENT_TYPE: &str = "application/cloudevents-batch+json";
/// Most events in one envelope.
pub const ENVELOPE_EVENTS_MAX: usize = 512;
/// Most bytes in one envelope's body.
pub const ENVELOPE_BYTES_MAX: usize = 32 * 1024;
