//! The list of services: the one place, besides their own crates, that names them all in Rust.
//!
//! `commonplace`, the lab and the tests start, check and list services through it. A new service is one line here and one in
//! `Cargo.toml`; what else has to name it (roles, RabbitMQ's users, containers, Prometheus) is data, and
//! `cli/tests/compose/services.rs` says what is missing.

mod entry;

use std::path::Path;

use anyhow::Context;
use runtime::settings::{Defaults, Loader};

pub use entry::{Entry, Started};

/// Every service, in the order in which `up` starts them: a service follows those that apply what it accepts, and the console,
/// which looks at the others, is the last. They end in the opposite order.
pub static SERVICES: [Entry; 5] = [
    Entry::of::<analytics_worker::Service>(),
    Entry::of::<notification_worker::Service>(),
    Entry::of::<recommendation_api::Service>(),
    Entry::of::<blogs_api::Service>(),
    Entry::of::<console::Service>(),
];

/// The defaults of every service: processes share one environment, and each passes over what only another one knows.
pub fn defaults() -> impl Iterator<Item = Defaults> {
    SERVICES.iter().map(|service| service.defaults)
}

/// The service of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Entry> {
    SERVICES.iter().find(|service| service.name == name)
}

/// Runs a service in this process, as its own binary does, until SIGINT or SIGTERM. Variables that only other services or these
/// commands know are passed over.
///
/// # Errors
/// No service has this name; settings that make no sense; or what the service failed with.
pub async fn serve(name: &str, config: Option<&Path>, commands: &[Defaults]) -> anyhow::Result<()> {
    let service = named(name).with_context(|| format!("there is no service {name}"))?;
    service.serve(service.loader(commands).file(config)).await
}

/// [`Entry::loader`] of any defaults.
pub fn loader(of: Defaults, commands: &[Defaults]) -> Loader {
    let every: Vec<_> = defaults().collect();
    Loader::new(of).neighbours(&every).neighbours(commands)
}
