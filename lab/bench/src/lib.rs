//! What Commonplace is measured with: the processes under load, the meters, and the proof that what was accepted is what
//! was counted. The load generator is the crate `load`.
//!
//! [`contrast`] holds the message path against direct writes, [`fan_out`] the telling of a million followers against
//! doing it through others' APIs. Both run on one private Postgres and one private RabbitMQ, with services in processes
//! of their own, interleaved by round, so that a machine that slows down slows all of it. After each measurement the
//! tables themselves are asked whether they agree with what the generator saw.

pub mod contrast;
pub mod fan_out;
mod process;
mod processes;
pub mod recommendations;
pub mod report;
mod servers;
mod tables;

use std::time::Duration;

pub use process::{Service, ServiceError, free_address};
pub use processes::Usage;
pub use servers::{VhostError, amqp_url_of, make_vhost};
pub use tables::{Proof, Tables};

/// After this time without an answer a request is given up as unknown.
const ANSWER_MAX: Duration = Duration::from_secs(60);
