//! Errors of the database, and the one table that says what each SQLSTATE calls for.

use tokio_postgres::error::SqlState;

/// What went wrong, and in which statement. The message never holds a parameter's value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bound or an address in the settings is wrong; the sentence says what to change.
    #[error("{0}")]
    Settings(String),
    /// No connection could be had in time.
    #[error("getting a database connection")]
    Pool(#[source] deadpool_postgres::PoolError),
    /// A connection could not be made.
    #[error("connecting to the database")]
    Connect(#[source] tokio_postgres::Error),
    /// A statement failed.
    #[error("running {file}")]
    Statement {
        /// The statement's file.
        file: &'static str,
        /// What Postgres said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Beginning or ending a transaction failed.
    #[error("{doing} a transaction")]
    Transaction {
        /// `beginning`, `committing` or `rolling back`.
        doing: &'static str,
        /// What Postgres said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A migration failed.
    #[error("migrating the database")]
    Migration(#[source] Box<refinery::Error>),
    /// The role's connection limit is below what the settings allow its processes together.
    #[error(
        "role {role} may hold {limit} connections, but database.pool_max {pool_max} times \
         database.instances_max {instances_max} is more: lower one of them or raise the role's limit"
    )]
    ConnectionLimit {
        /// The role of the pool.
        role: String,
        /// Its limit in the cluster.
        limit: i32,
        /// The setting.
        pool_max: usize,
        /// The setting.
        instances_max: usize,
    },
}

/// What an error calls for. The classes are SQLSTATE classes; see the appendix "`PostgreSQL` Error Codes" of the
/// manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The database cannot take it now (connection lost, shutting down, out of connections, deadlock,
    /// serialization, lock or statement timeout): the same again later may succeed.
    Unavailable,
    /// No partition for a row: 23514 without a constraint's name. Never the row's fault.
    MissingPartition,
    /// A value that the database will never take: classes 22 and 23.
    BadValue,
    /// Anything else, such as a missing table or a refused permission: somebody must change something.
    Broken,
}

impl Error {
    /// What the error calls for.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Pool(deadpool_postgres::PoolError::Backend(source))
            | Self::Connect(source)
            | Self::Statement { source, .. }
            | Self::Transaction { source, .. } => fault(source),
            Self::Pool(_) => Fault::Unavailable,
            Self::Settings(_) | Self::Migration(_) | Self::ConnectionLimit { .. } => Fault::Broken,
        }
    }

    /// True when the same again later may succeed.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.fault() == Fault::Unavailable
    }

    /// The SQLSTATE, where Postgres gave one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Pool(deadpool_postgres::PoolError::Backend(source))
            | Self::Connect(source)
            | Self::Statement { source, .. }
            | Self::Transaction { source, .. } => source.code().map(SqlState::code),
            _ => None,
        }
    }

    /// The constraint that refused a row, where one did.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Statement { source, .. } => {
                source.as_db_error().and_then(tokio_postgres::error::DbError::constraint)
            }
            _ => None,
        }
    }
}

fn fault(error: &tokio_postgres::Error) -> Fault {
    let Some(error) = error.as_db_error() else {
        // No answer from the server: a value that cannot be written in the protocol, or the connection broke.
        return if is_encoding(error) { Fault::BadValue } else { Fault::Unavailable };
    };
    let code = error.code().code();
    match code.get(..2).unwrap_or_default() {
        _ if code == SqlState::CHECK_VIOLATION.code() && error.constraint().is_none() => {
            Fault::MissingPartition
        }
        "22" | "23" => Fault::BadValue,
        "08" | "40" | "53" | "55" | "57" => Fault::Unavailable,
        // Of "insufficient resources at start" and the like; a wrong password (28) is for somebody to mend.
        _ => Fault::Broken,
    }
}

fn is_encoding(error: &tokio_postgres::Error) -> bool {
    // tokio-postgres keeps its kinds to itself; its words for them are stable since 0.5.
    let words = error.to_string();
    words.starts_with("error serializing parameter") || words.starts_with("error deserializing column")
}
