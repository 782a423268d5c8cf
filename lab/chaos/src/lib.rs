//! Injects faults into real processes and accounts for every accepted event.
//!
//! A run starts private servers, two Blogs APIs and two workers, each as a separate process, with a TCP proxy on every
//! connection between them. One generator, which is never killed, sends views, likes and shares and records for each
//! request whether it was accepted, refused, or neither is known. Meanwhile a plan, which follows from a seed, kills, stops
//! and restarts processes, and cuts, resets, slows and silences connections. Then the load stops, the system drains, and
//! the tables are checked. An event with a blog of its own must be counted exactly once if it was accepted, never if it was
//! refused, and at most once if neither is known. The total of a shared blog must be at least its accepted events and at
//! most those plus its unknown ones. Ledger, series, outcomes and counters must agree, queues and outbox must be empty, and
//! nothing may be parked.

mod account;
mod calm;
mod faults;
mod generator;
pub mod memory;
mod plan;
mod report;
mod request;
mod run;
mod slot;
mod system;
mod tally;
mod windows;

pub use account::Alone;
pub use faults::Done;
pub use plan::{Fault, Harm, Plan, Step, Target, Wire};
pub use report::{Outage, Report, Resumed};
pub use run::{Options, run};
pub use system::Control;
