//! The common parts of every process: settings, logs, traces, signals, health and metrics. All services and the command line
//! use this crate; it knows none of them.
//!
//! Only the subscribers of logs and traces and the allocator are global. Registries and health are passed in, because
//! several services share one process under `commonplace up`. The allocator is global so that every binary uses the one that
//! was measured.

pub mod health;
pub mod hosts;
pub mod http;
pub mod memory;
pub mod metrics;
pub mod open_files;
pub mod process;
pub mod service;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod traces;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
