//! A connection outside any pool, for setting up a cluster or a database.

use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls, Transaction};

use crate::{Error, TransactionStep};

/// A connection and the task that drives it; both end together.
pub struct Session {
    /// The connection.
    pub client: Client,
    _driver: JoinSet<()>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let (client, connection) =
            config.connect(NoTls).await.map_err(|source| Error::Connect(source.into()))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a database session ended with an error"
                );
            }
        });
        Ok(Self { client, _driver: driver })
    }

    /// Runs SQL text without parameters. `file` names it in an error.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn run(&self, file: &'static str, text: &str) -> Result<(), Error> {
        self.client.batch_execute(text).await.map_err(Error::statement(file))
    }

    /// Begins a read-only transaction.
    ///
    /// # Errors
    /// [`Error::Transaction`].
    pub async fn read_only(&mut self) -> Result<Transaction<'_>, Error> {
        let builder = self.client.build_transaction().read_only(true);
        builder.start().await.map_err(Error::transaction(TransactionStep::Begin))
    }
}
