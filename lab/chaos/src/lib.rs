//! Faults on real processes, and the exact account of what was accepted.
//!
//! A run starts private servers, two Blogs APIs and two workers, each a process of its own, with a TCP proxy on every
//! way between them. One generator, which is never killed, sends views, likes and shares and keeps for each request
//! whether it was accepted, refused, or neither is known. Meanwhile processes are killed, stopped and restarted, and
//! connections cut, reset, slowed and silenced, by a plan that follows from a seed. Then everything comes to rest and is
//! counted: an event with a blog of its own was counted exactly once if it was accepted, never if it was refused, and
//! at most once if neither is known; blogs that many events are about hold what was accepted and at most what is
//! unknown; ledger, series, outcomes and counters agree; queues and outbox are empty; nothing is parked.

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
