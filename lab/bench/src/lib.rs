//! Measures Commonplace: the processes under load, the meters, and the proof that exactly the accepted events were
//! counted. The load generator is the crate `load`.
//!
//! [`contrast`] compares the message path with direct writes, [`fan_out`] compares notifying a million followers from
//! the shared tables with doing it through APIs, and [`digest`] compares a digest from the shared tables with one
//! through APIs. Each runs on one private Postgres and one private RabbitMQ, with services as separate processes,
//! interleaved by round, so that a machine that slows down affects all of them. After each measurement the tables are
//! compared with the generator's results.

mod author;
pub mod contrast;
pub mod digest;
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
pub use servers::{PrepareError, VhostError, amqp_url_of, make_vhost};
pub use tables::{Proof, Tables};

/// Timeout of a request, after which its outcome is unknown.
const ANSWER_MAX: Duration = Duration::from_secs(60);
