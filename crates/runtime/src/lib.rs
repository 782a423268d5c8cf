//! The process, not the product: where its settings come from, how it logs, when it ends, and how it tells
//! others how it is. Every service and the command line start with this crate; it knows none of them.
//!
//! Nothing here is global but what listens to logs and traces: registries and health are passed in, since several services
//! share one process under `commonplace up`. And the allocator, so that every binary runs with the one that is measured.

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
