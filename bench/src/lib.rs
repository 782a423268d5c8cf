//! What Commonplace is measured with: a load generator, the processes under load, and the proof that what was
//! accepted is what was counted.
//!
//! A measurement is a list of cells ([`paths`]). Each cell has a fresh database, a fresh vhost and services of
//! its own in processes of their own, all on one private Postgres and one private RabbitMQ. Cells are run
//! interleaved by round, so that a machine that slows down slows all of them. After each cell the tables
//! themselves are asked whether they agree with what the generator saw.

mod connection;
pub mod fan_out;
mod load;
pub mod paths;
mod process;
pub mod recommendations;
pub mod report;
mod spread;
mod tables;

pub use connection::{Answer, Broken, Connection};
pub use load::{Load, LoadError, Tally, WritePath};
pub use process::{Service, ServiceError, free_address};
pub use spread::Spread;
pub use tables::{Proof, Tables};
