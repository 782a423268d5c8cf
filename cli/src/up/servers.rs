//! The Postgres and the RabbitMQ of an `up`; each is either private or an existing server.

use anyhow::{Context, bail};
use stack::{Options, Postgres, RabbitMq, Stack};

use super::Arguments;
use super::place::Place;
use crate::terminal::Progress;

/// The name of the database in the private cluster. An existing server's database is the one in its URL.
const DATABASE: &str = "commonplace";

/// Running servers. Dropping it stops the private ones.
pub(super) struct Servers {
    /// An administrator's URL of the database; the database may not exist yet.
    pub(super) administrator_url: String,
    /// RabbitMQ.
    pub(super) amqp_url: String,
    /// RabbitMQ's management pages and API, with an administrator's login.
    pub(super) management_url: String,
    /// Whether RabbitMQ is private; only then may `up` print the login of its management pages.
    pub(super) shows_management: bool,
    private: Private,
}

/// The servers that this process must stop.
enum Private {
    Both(Box<Stack>),
    Postgres(Box<Postgres>),
    RabbitMq(Box<RabbitMq>),
    Neither,
}

impl Servers {
    /// Starts the servers for which there is no URL.
    ///
    /// # Errors
    /// The error of `crates/stack`: a missing program, or the last lines of a server's log.
    pub(super) async fn start(
        arguments: &Arguments,
        place: &Place,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let options = Options { fresh: arguments.fresh, ..Options::new(place.servers()) };
        let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
        let database_url = given(&arguments.database_url);
        let rabbitmq = match (given(&arguments.amqp_url), given(&arguments.management_url)) {
            (Some(amqp_url), Some(management_url)) => Some((amqp_url, management_url)),
            (None, None) => None,
            _ => bail!(
                "an existing RabbitMQ needs both AMQP_URL and RABBITMQ_MANAGEMENT_URL (http://administrator:password@host:15672): \
                `up` makes its exchanges, queues and users through the management API"
            ),
        };
        let progress = progress.clone();
        progress.now("looking for PostgreSQL and RabbitMQ");
        blocking(move || start(database_url, rabbitmq, &options, &progress)).await
    }

    /// Stops the private servers; their data stays.
    ///
    /// # Errors
    /// If one of their processes could not be stopped.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let private = self.private;
        blocking(move || {
            match private {
                Private::Both(stack) => stack.stop(),
                Private::Postgres(postgres) => postgres.stop(),
                Private::RabbitMq(rabbitmq) => rabbitmq.stop(),
                Private::Neither => Ok(()),
            }
            .context("stopping the servers")
        })
        .await
    }
}

fn start(
    database_url: Option<String>,
    rabbitmq: Option<(String, String)>,
    options: &Options,
    progress: &Progress,
) -> anyhow::Result<Servers> {
    let mut say = |line: &str| progress.now(line);
    let servers = match (database_url, rabbitmq) {
        (Some(administrator_url), Some((amqp_url, management_url))) => Servers {
            administrator_url,
            amqp_url,
            management_url,
            shows_management: false,
            private: Private::Neither,
        },
        (None, Some((amqp_url, management_url))) => {
            let postgres = Postgres::start(options, &mut say)?;
            progress.done(format_args!("PostgreSQL {}", postgres.version()));
            Servers {
                administrator_url: in_database(&postgres.url()),
                amqp_url,
                management_url,
                shows_management: false,
                private: Private::Postgres(Box::new(postgres)),
            }
        }
        (Some(administrator_url), None) => {
            let rabbitmq = RabbitMq::start(options, &mut say)?;
            progress.done(format_args!("RabbitMQ {}", rabbitmq.version()));
            Servers {
                administrator_url,
                amqp_url: rabbitmq.amqp_url(),
                management_url: rabbitmq.management_url(),
                shows_management: true,
                private: Private::RabbitMq(Box::new(rabbitmq)),
            }
        }
        (None, None) => {
            let stack = Stack::start(options, &mut say)?;
            let versions = stack.versions();
            progress.done(format_args!(
                "PostgreSQL {}, RabbitMQ {} on Erlang {}",
                versions.postgres, versions.rabbitmq, versions.erlang
            ));
            Servers {
                administrator_url: in_database(&stack.postgres_url()),
                amqp_url: stack.amqp_url(),
                management_url: stack.management_url(),
                shows_management: true,
                private: Private::Both(Box::new(stack)),
            }
        }
    };
    Ok(servers)
}

/// The superuser's URL, with the name of its database replaced by ours.
fn in_database(url: &str) -> String {
    match url.rsplit_once('/') {
        Some((server, _)) => format!("{server}/{DATABASE}"),
        None => url.to_owned(),
    }
}

/// Runs blocking work on a thread where blocking is allowed, and waits for the result.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("the thread that starts or stops the servers ended early")?
}
