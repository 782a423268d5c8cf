//! The environment of a service test: a database of its own, and a vhost of its own on the RabbitMQ node that all tests
//! share. The node starts with the first test that needs a vhost.

use std::ops::Deref;
use std::sync::OnceLock;

use broker::Administration;
use stack::Postgres;
use test_servers::{Database, PASSWORD, rabbitmq};

/// One test's database and vhost.
pub struct World {
    database: Database,
    amqp_url: OnceLock<String>,
}

impl Deref for World {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}

impl From<Database> for World {
    fn from(database: Database) -> Self {
        Self { database, amqp_url: OnceLock::new() }
    }
}

impl World {
    /// See [`Database::new`]. The vhost is made on first use.
    pub async fn new() -> Self {
        Database::new().await.into()
    }

    /// See [`Database::empty`].
    pub async fn empty() -> Self {
        Database::empty().await.into()
    }

    /// See [`Database::on_its_own_server`].
    pub async fn on_its_own_server(name: &str) -> (Self, Postgres) {
        let (database, postgres) = Database::on_its_own_server(name).await;
        (database.into(), postgres)
    }

    /// See [`Database::twice`].
    pub async fn twice(self) -> (Self, Self) {
        let (one, other) = self.database.twice().await;
        (one.into(), other.into())
    }

    /// The vhost's address as the administrator, with the topology and the services' users in it. It stays until the run
    /// ends: when RabbitMQ 3.10 drops a quorum queue that is just being declared, it can lose the supervisor of all
    /// dead-lettering, and with it every such queue of the node.
    pub async fn amqp_url(&self) -> String {
        if let Some(url) = self.amqp_url.get() {
            return url.clone();
        }
        let name = self.name().to_owned();
        let made = tokio::task::spawn_blocking(move || rabbitmq().create_vhost(&name).unwrap());
        let made = made.await.unwrap();
        self.administer().await;
        self.amqp_url.get_or_init(|| made).clone()
    }

    /// Takes the administrator's step on the vhost.
    pub async fn administer(&self) {
        let (management_url, vhost) = self.management().await;
        let administered = tokio::task::spawn_blocking(move || {
            broker::administer(&administration(management_url, vhost)).unwrap()
        });
        assert_eq!(administered.await.unwrap().differences, Vec::<String>::new());
    }

    /// The vhost's address with a service's login.
    pub async fn amqp_url_of(&self, user: &str) -> String {
        broker::url_of(&self.amqp_url().await, user, &PASSWORD.into()).unwrap()
    }

    /// RabbitMQ's management address with its login, and the name of the vhost.
    pub async fn management(&self) -> (String, String) {
        let url = tokio::task::spawn_blocking(|| rabbitmq().management_url.clone()).await.unwrap();
        (url, self.name().to_owned())
    }
}

/// The settings of the administrator's step on RabbitMQ. Many tests share the users, so their connections are not counted.
fn administration(management_url: String, vhost: String) -> Administration {
    Administration {
        management_url: management_url.into(),
        vhost,
        passwords: broker::users().map(|user| (user.to_owned(), PASSWORD.into())).collect(),
        connections_max: 10_000,
    }
}
