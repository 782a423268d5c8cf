//! The environment of all measurements of a run: the servers, the blogs, and a separate place for each measurement.

use std::time::Duration;

use broker::Queue;
use database::{Session, Statement};
use rand::RngExt;
use secrecy::SecretString;
use stack::Stack;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};
use tokio_util::sync::CancellationToken;
use web::tokens::KeyPair;

use super::scenario::Path;
use super::{Error, Plan, TEMPLATE, bare};
use crate::process::Service;
use crate::servers::{amqp_url_of, blocking, broker_settings, make_vhost, url};
use crate::tables::Tables;

const OPEN_PAUSE: Duration = Duration::from_millis(50);

/// The servers, and everything that is the same for every measurement.
pub(super) struct Setting<'a> {
    pub(super) plan: &'a Plan,
    pub(super) stack: &'a mut Stack,
    pub(super) administrator: Config,
    /// Blog ids, the most popular first; the last one is for the probes.
    pub(super) blogs: Vec<i64>,
    pub(super) stop: &'a CancellationToken,
    /// Places made so far.
    pub(super) made: u32,
}

/// The database and the vhost of a measurement.
#[derive(Debug, Clone)]
pub(super) struct Place {
    name: String,
    pub(super) database: Config,
    pub(super) amqp_url: String,
    secret: String,
}

/// The processes under load.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) api: Service,
    pub(super) worker: Service,
    pub(super) bare: Option<Service>,
}

impl Setting<'_> {
    /// The blogs over which the views are spread.
    pub(super) fn viewed(&self) -> Vec<i64> {
        self.blogs.split_last().map(|(_, viewed)| viewed.to_vec()).unwrap_or_default()
    }

    /// The blog of the probes.
    pub(super) fn probed(&self) -> i64 {
        self.blogs.last().copied().unwrap_or_default()
    }

    /// Makes a copy of the database, and a vhost.
    pub(super) async fn place(&mut self) -> Result<Place, Error> {
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        self.made += 1;
        let name = format!("{TEMPLATE}_{}", self.made);
        let everywhere = Tables::open(&self.administrator).await?;
        everywhere.drop_database(&name).await?;
        everywhere.clone_database(&name, TEMPLATE).await?;
        let amqp_url = blocking(|| make_vhost(self.stack, &name, &self.plan.roles))?;
        let database = self.administrator.clone().dbname(&name).clone();
        let secret = rand::rng().random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Place { name, database, amqp_url, secret })
    }

    /// Removes what `place` made.
    pub(super) async fn remove(&mut self, place: &Place) -> Result<(), Error> {
        self.remove_database(place).await?;
        Ok(blocking(|| self.stack.delete_vhost(&place.name))?)
    }

    /// Removes what `place` made except for the vhost. In a node that has just restarted, deleting a queue can race with the
    /// start of its dead-letter worker; RabbitMQ 3.10 then accepts no more messages for any queue with such a worker.
    pub(super) async fn remove_database(&mut self, place: &Place) -> Result<(), Error> {
        Ok(Tables::open(&self.administrator).await?.drop_database(&place.name).await?)
    }

    pub(super) fn start_worker(&self, place: &Place, window_s: u32) -> Result<Service, Error> {
        let settings = self.settings(place, "analytics_worker", window_s);
        Ok(Service::start(&self.plan.executable, "analytics-worker", &settings, &self.plan.directory)?)
    }

    /// Starts the services of a path. The Blogs API and a worker always run, so that every path has the same processes.
    pub(super) async fn start_services(
        &self,
        place: &Place,
        path: Path,
        window_s: u32,
    ) -> Result<Services, Error> {
        let mut for_api = self.settings(place, "blogs_api", window_s);
        for_api.extend([
            ("COMMONPLACE__ENGAGEMENT__ALLOW_WRITE_PATH_HEADER", "true".to_owned()),
            ("COMMONPLACE__ENGAGEMENT__DIRECT_PATH", "true".to_owned()),
            ("COMMONPLACE__ENGAGEMENT__VISITOR_SECRET", place.secret.clone()),
            ("COMMONPLACE__TOKENS__SIGNING_KEYS", KeyPair::from_seed("bench", &rand::random()).signing),
            ("COMMONPLACE__RATE_LIMITS__ENABLED", "false".to_owned()),
        ]);
        let (executable, directory) = (&self.plan.executable, &self.plan.directory);
        let mut api = Service::start(executable, "blogs-api", &for_api, directory)?;
        let mut worker = self.start_worker(place, window_s)?;
        let bare = match path {
            Path::Bare => {
                let settings = self.settings(place, "blogs_api", window_s);
                Some(Service::start_command(executable, bare::NAME, &[bare::NAME], &settings, directory)?)
            }
            _ => None,
        };
        api.ready().await?;
        worker.ready().await?;
        let mut services = Services { api, worker, bare };
        if let Some(bare) = &mut services.bare {
            bare.ready().await?;
        }
        Ok(services)
    }

    fn settings(&self, place: &Place, role: &str, window_s: u32) -> Vec<(&'static str, String)> {
        let password: &SecretString = match role {
            "blogs_api" => self.plan.roles.password("blogs_api"),
            _ => self.plan.roles.password("analytics_worker"),
        };
        vec![
            ("DATABASE_URL", url(&place.database, role, password)),
            ("AMQP_URL", amqp_url_of(&place.amqp_url, role, password)),
            ("COMMONPLACE__ENGAGEMENT__VIEW_WINDOW_S", window_s.to_string()),
            ("COMMONPLACE__LOG__FILTER", "warn".to_owned()),
        ]
    }
}

impl Services {
    /// The address to which views are sent.
    pub(super) fn target(&self) -> std::net::SocketAddr {
        self.bare.as_ref().unwrap_or(&self.api).address()
    }

    /// The services whose cost is measured, with their processes.
    pub(super) fn processes(&self) -> Vec<(&'static str, u32)> {
        let named = [("API", Some(&self.api)), ("worker", Some(&self.worker)), ("API", self.bare.as_ref())];
        named.into_iter().filter_map(|(name, service)| Some((name, service?.pid()?))).collect()
    }

    /// Ends the services, the worker last.
    pub(super) async fn stop(self) -> Result<(), Error> {
        self.api.stop().await?;
        if let Some(bare) = self.bare {
            bare.stop().await?;
        }
        Ok(self.worker.stop().await?)
    }
}

impl Place {
    /// Envelopes in the queue that no worker has fetched.
    pub(super) async fn queued(&self) -> Result<u32, Error> {
        Ok(broker::queue_depth(&broker_settings(&self.amqp_url), Queue::Engagement).await?)
    }

    /// Repeats one query, and reopens its session as soon as possible, to observe an outage.
    pub(super) async fn asking(&self, statement: Statement) -> Asking {
        loop {
            let asking = async {
                let session = Session::open(&self.database).await?;
                let prepared = session.client.prepare(statement.sql).await;
                let prepared = prepared.map_err(database::Error::statement(statement.file))?;
                Ok::<_, database::Error>(Asking { session, prepared })
            };
            match asking.await {
                Ok(asking) => return asking,
                Err(_away) => tokio::time::sleep(OPEN_PAUSE).await,
            }
        }
    }
}

/// A session with one prepared statement.
pub(super) struct Asking {
    session: Session,
    prepared: tokio_postgres::Statement,
}

impl Asking {
    pub(super) async fn one(&self, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row, tokio_postgres::Error> {
        self.session.client.query_one(&self.prepared, parameters).await
    }
}
