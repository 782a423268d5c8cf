//! An entry in the list of services, independent of the service's type.

use std::pin::Pin;

use anyhow::Context;
use runtime::process;
use runtime::service::{Address, Service, Statements, UpContext};
use runtime::settings::{Defaults, Loader};
use tokio_util::sync::CancellationToken;

type Work = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;
/// A future that stays on the thread that awaits it.
type Local<T> = Pin<Box<dyn Future<Output = anyhow::Result<T>>>>;

/// A service as data and functions. The trait [`Service`] documents the fields.
#[derive(Debug)]
pub struct Entry {
    /// The name of its binary, its image and its container.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Its role in Postgres, and its user on RabbitMQ.
    pub role: &'static str,
    /// Whether it has a user on RabbitMQ.
    pub uses_rabbitmq: bool,
    /// Its file in `config/`.
    pub defaults: Defaults,
    /// The statements it may send.
    pub statements: &'static [Statements],
    /// The offset of its port under `commonplace up` from the Blogs API's port. `None`: any free port, because no person opens it.
    pub port: Option<u16>,
    check: fn(Loader) -> anyhow::Result<()>,
    serve: fn(Loader) -> Local<()>,
    start: fn(Loader) -> Local<Started>,
    settings_in_up: fn(Loader, &UpContext<'_>) -> Loader,
    links: fn(&str) -> Vec<(&'static str, String)>,
}

/// A service that has bound its ports and is ready to run.
pub struct Started {
    /// Its addresses.
    pub address: Address,
    run: Box<dyn FnOnce(CancellationToken) -> Work + Send>,
}

impl Entry {
    /// Creates the entry of a service.
    #[must_use]
    pub(crate) const fn of<S: Service>() -> Self {
        Self {
            name: S::NAME,
            about: S::ABOUT,
            role: S::ROLE,
            uses_rabbitmq: S::USES_RABBITMQ,
            defaults: S::DEFAULTS,
            statements: S::STATEMENTS,
            port: S::PORT,
            check: check::<S>,
            serve: |loader| Box::pin(process::serve::<S>(loader)),
            start: |loader| Box::pin(start::<S>(loader)),
            settings_in_up: S::settings_in_up,
            links: S::links,
        }
    }

    /// A loader of its settings. The environment may also contain variables of the other services and of `commands`.
    #[must_use]
    pub fn loader(&self, commands: &[Defaults]) -> Loader {
        crate::loader(self.defaults, commands)
    }

    /// Loads the settings and checks them as a start would, without starting anything.
    ///
    /// # Errors
    /// A message that says what to change.
    pub fn check(&self, loader: Loader) -> anyhow::Result<()> {
        (self.check)(loader)
    }

    /// Runs it in this process, with logs and signals, until it ends.
    ///
    /// # Errors
    /// Invalid settings, or the error of the service.
    pub async fn serve(&self, loader: Loader) -> anyhow::Result<()> {
        (self.serve)(loader).await
    }

    /// Loads its settings and binds its ports. It starts working when it is [run](Started::run).
    ///
    /// # Errors
    /// An invalid setting, or a port in use.
    pub async fn start(&self, loader: Loader) -> anyhow::Result<Started> {
        (self.start)(loader).await.with_context(|| format!("cannot start the {}", self.name))
    }

    /// Adds the settings that it needs under `commonplace up`, except the addresses that all services have.
    #[must_use]
    pub fn settings_in_up(&self, loader: Loader, up: &UpContext<'_>) -> Loader {
        (self.settings_in_up)(loader, up)
    }

    /// The links to print for it at this base URL.
    #[must_use]
    pub fn links(&self, url: &str) -> Vec<(&'static str, String)> {
        (self.links)(url)
    }
}

impl Started {
    /// Runs until `shutdown`, then drains and returns.
    ///
    /// # Errors
    /// The error of the service.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        (self.run)(shutdown).await
    }
}

fn check<S: Service>(loader: Loader) -> anyhow::Result<()> {
    S::validate(&loader.load()?)
}

async fn start<S: Service>(loader: Loader) -> anyhow::Result<Started> {
    let service = S::start(loader.load()?).await?;
    let address = Address {
        name: S::NAME,
        role: S::ROLE,
        public: service.address(),
        operations: service.operations_address(),
    };
    Ok(Started { address, run: Box::new(|shutdown| Box::pin(service.run(shutdown))) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::SERVICES;

    #[test]
    fn services_have_names_roles_and_ports_of_their_own() {
        let names: BTreeSet<_> = SERVICES.iter().map(|service| service.name).collect();
        let roles: BTreeSet<_> = SERVICES.iter().map(|service| service.role).collect();
        assert_eq!([names.len(), roles.len()], [SERVICES.len(); 2]);
        let ports: Vec<_> = SERVICES.iter().filter_map(|service| service.port).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
    }

    #[test]
    fn check_applies_the_services_rules_between_settings() {
        let api = crate::named("blogs-api").unwrap();
        let loader = || api.loader(&[]).environment([]);
        api.check(loader()).unwrap();
        assert!(api.check(loader().set("engagement.accept_timeout_ms", 300_000)).is_err());
    }
}
