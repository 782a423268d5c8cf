//! What Commonplace is measured with: a load generator, the processes under load, and the proof that what was
//! accepted is what was counted.
//!
//! [`contrast`] holds the message path against direct writes, [`fan_out`] the telling of a million followers against
//! doing it through others' APIs. Both run on one private Postgres and one private RabbitMQ, with services in processes
//! of their own, interleaved by round, so that a machine that slows down slows all of it. After each measurement the
//! tables themselves are asked whether they agree with what the generator saw.

mod connection;
pub mod contrast;
pub mod fan_out;
mod load;
mod process;
mod processes;
pub mod recommendations;
pub mod report;
mod servers;
mod spread;
mod tables;

pub use connection::{Answer, Broken, Connection};
pub use load::{Ask, Load, LoadError, Pace, Tally};
pub use process::{Service, ServiceError, free_address};
pub use processes::Usage;
pub use servers::{VhostError, amqp_url_of, make_vhost};
pub use spread::Spread;
pub use tables::{Proof, Tables};
