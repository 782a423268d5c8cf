//! The load generator of the lab and of the console's button.
//!
//! [`Terms::run`] drives senders, each with one keep-alive [`Connection`] and one request at a time, at a shared [`Pace`]. A
//! [`Script`] creates a sender's requests and counts the responses. [`Load`] is the script for views and reads; chaos runs
//! have their own.

mod connection;
mod latencies;
mod senders;
mod spread;
mod turns;
mod views;

pub use connection::{Answer, Broken, Connection};
pub use latencies::Latencies;
pub use senders::{LoadError, Ran, Script, Sent, Terms};
pub use spread::{Draw, Spread};
pub use turns::Pace;
pub use views::{Ask, Load, Progress, Tally};
