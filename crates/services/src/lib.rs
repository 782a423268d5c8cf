//! The list of services: the only Rust code, apart from the services' own crates, that names them all.
//!
//! `commonplace`, the lab and the tests start, check and list services through it. A new service is one line here and one in
//! `Cargo.toml`. All other places that name it (roles, RabbitMQ users, containers, Prometheus) are data, and
//! `cli/tests/compose/services.rs` reports missing entries.

mod entry;

use std::path::Path;

use anyhow::Context;
use runtime::settings::{Defaults, Loader};

pub use entry::{Entry, Started};

/// All services in the order in which `up` starts them. A service starts after the workers that process its events, and the
/// console, which observes the others, starts last. They stop in the opposite order.
pub static SERVICES: [Entry; 6] = [
    Entry::of::<analytics_worker::Service>(),
    Entry::of::<notification_worker::Service>(),
    Entry::of::<recommendation_api::Service>(),
    Entry::of::<digest_api::Service>(),
    Entry::of::<blogs_api::Service>(),
    Entry::of::<console::Service>(),
];

/// The defaults of all services. Processes share one environment, and each ignores variables that only another one knows.
pub fn defaults() -> impl Iterator<Item = Defaults> {
    SERVICES.iter().map(|service| service.defaults)
}

/// The service with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Entry> {
    SERVICES.iter().find(|service| service.name == name)
}

/// Runs a service in this process like its own binary, until SIGINT or SIGTERM. Ignores variables that only other services
/// or these commands know.
///
/// # Errors
/// No service has this name, its settings are invalid, or the service failed.
pub async fn serve(name: &str, config: Option<&Path>, commands: &[Defaults]) -> anyhow::Result<()> {
    let service = named(name).with_context(|| format!("there is no service {name}"))?;
    service.serve(service.loader(commands).file(config)).await
}

/// Like [`Entry::loader`], for any defaults.
pub fn loader(of: Defaults, commands: &[Defaults]) -> Loader {
    let every: Vec<_> = defaults().collect();
    Loader::new(of).neighbours(&every).neighbours(commands)
}
