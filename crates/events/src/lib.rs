//! The wire format: the messages that services exchange, independent of their transport.
//!
//! An [`EngagementEvent`] is a fact in the past tense ("this visitor viewed that blog"). An [`Envelope`] is one AMQP
//! message with one or more events; its id is the idempotency key of the whole message path. On the wire an envelope is a
//! CloudEvents 1.0 JSON batch ([`codec`]). These types are used only on the wire. They are neither rows of the database nor
//! bodies of the HTTP API; code at those boundaries converts them. This crate does no IO. [`WritePath`] is here because all
//! code that sends, accepts or shows engagement uses it.

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
/// Version of the wire format. A consumer that receives a newer version stops and reports it: upgrade workers first.
pub const WIRE_VERSION: i32 = 1;
/// Media type of an envelope's body.
pub const CONTENT_TYPE: &str = "application/cloudevents-batch+json";
/// Maximum number of events in an envelope.
pub const ENVELOPE_EVENTS_MAX: usize = 512;
/// Maximum size of an envelope's body, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 32 * 1024;
