//! The load generator of the lab and of the console's button.
//!
//! [`Terms::run`] drives senders, each with one keep-alive [`Connection`] and one request at a time, at a [`Pace`] that they
//! share. A [`Script`] says what a sender sends and keeps an account of the answers. [`Load`] is the script for views and
//! reads; chaos runs have their own.

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
