//! A statement and its file. Every error names the file, so a log line leads to the SQL.

use deadpool_postgres::GenericClient;
use futures_util::{Stream, TryStreamExt};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::Error;

/// One SQL statement of a service, from that service's `sql/` folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// The file's name.
    pub file: &'static str,
    /// Its text.
    pub sql: &'static str,
}

/// A [`Statement`] from a file in the calling crate's `sql/` folder.
#[macro_export]
macro_rules! statement {
    ($file:literal) => {
        $crate::Statement {
            file: $file,
            sql: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $file)),
        }
    };
}

impl Statement {
    /// Runs it and returns its rows. It is prepared once per connection.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn query<C: GenericClient + Sync>(
        &self,
        client: &C,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let prepared = client.prepare_cached(self.sql).await.map_err(Error::statement(self.file))?;
        client.query(&prepared, parameters).await.map_err(Error::statement(self.file))
    }

    /// Runs it and streams its rows, for results that may not fit into memory.
    ///
    /// # Errors
    /// [`Error::Statement`], from this call or in place of a row.
    pub async fn stream<C: GenericClient + Sync>(
        &self,
        client: &C,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<impl Stream<Item = Result<Row, Error>> + use<C>, Error> {
        let failed = Error::statement(self.file);
        let prepared = client.prepare_cached(self.sql).await.map_err(&failed)?;
        let rows = client.query_raw(&prepared, parameters.iter().copied()).await.map_err(&failed)?;
        Ok(rows.map_err(failed))
    }

    /// Runs it and returns its only row.
    ///
    /// # Errors
    /// [`Error::Statement`], also if there is no row or more than one.
    pub async fn query_one<C: GenericClient + Sync>(
        &self,
        client: &C,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        let prepared = client.prepare_cached(self.sql).await.map_err(Error::statement(self.file))?;
        client.query_one(&prepared, parameters).await.map_err(Error::statement(self.file))
    }

    /// Runs it and returns its row, if there is one.
    ///
    /// # Errors
    /// [`Error::Statement`], also if there are several rows.
    pub async fn query_opt<C: GenericClient + Sync>(
        &self,
        client: &C,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let prepared = client.prepare_cached(self.sql).await.map_err(Error::statement(self.file))?;
        client.query_opt(&prepared, parameters).await.map_err(Error::statement(self.file))
    }

    /// Runs it and returns the number of affected rows.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn execute<C: GenericClient + Sync>(
        &self,
        client: &C,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let prepared = client.prepare_cached(self.sql).await.map_err(Error::statement(self.file))?;
        client.execute(&prepared, parameters).await.map_err(Error::statement(self.file))
    }

    /// Prepares it on this connection if necessary, so that running it later needs no extra round trip.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn prepare<C: GenericClient + Sync>(&self, client: &C) -> Result<(), Error> {
        client.prepare_cached(self.sql).await.map_err(Error::statement(self.file))?;
        Ok(())
    }
}
