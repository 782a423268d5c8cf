//! Errors of the database, and the one table that maps each SQLSTATE to a reaction.

use std::time::Duration;

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::contract::{Change, Refusal};

/// What failed, and in which statement. The message never contains a parameter's value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bound or an address in the settings is wrong. The message says what to change.
    #[error("{0}")]
    Settings(String),
    /// The pool could not provide a connection in time.
    #[error("cannot get a database connection")]
    Pool(#[source] deadpool_postgres::PoolError),
    /// The database did not answer in time. The request may or may not have been carried out.
    #[error("no answer from the database within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// The connection failed.
    #[error("cannot connect to the database")]
    Connect(#[source] Cause),
    /// A statement failed.
    #[error("the statement {file} failed")]
    Statement {
        /// The statement's file.
        file: &'static str,
        /// The error from Postgres.
        #[source]
        source: Cause,
    },
    /// A step of a transaction other than a statement or COMMIT failed. None of the transaction is committed.
    #[error("{step}")]
    Transaction {
        /// The step.
        step: TransactionStep,
        /// The error from Postgres.
        #[source]
        source: Cause,
    },
    /// A COMMIT failed.
    #[error("{outcome}")]
    Commit {
        /// What is known about the transaction.
        outcome: CommitOutcome,
        /// The error from Postgres or the driver.
        #[source]
        source: Cause,
    },
    /// A migration failed.
    #[error("cannot migrate the database")]
    Migration(#[source] Box<refinery::Error>),
    /// The migration history is from before the migrations were squashed, and does not include the last old one.
    #[error(
        "the newest migration of this database is {newest}, from before the migrations were squashed; only a database at \
         V43__exports can be taken over. Migrate it to V43__exports with the last release that contains these files, then \
         migrate it with this release:\n  git switch --detach \"$(git log -1 --format=%H -- migrations/V43__exports.sql)~1\" && cargo run --release -- migrate"
    )]
    OldHistory {
        /// For example `V42__deleted_accounts`.
        newest: String,
    },
    /// The migration history is complete up to the last old one, but the schema is not what the migrations created.
    #[error(
        "this database is at V43__exports, but its schema differs from what the migrations created, so nothing was changed. \
         Undo the manual changes, then migrate again:{}",
        Lines(.0)
    )]
    SchemaDiffers(Vec<String>),
    /// Migrations contain commands that must not run on a shared server. Nothing ran.
    #[error("refused before anything ran:{}", Lines(.0))]
    Refused(Vec<Refusal>),
    /// A migration failed in the rehearsal.
    #[error("the migration {migration} failed in the rehearsal")]
    Rehearsal {
        /// For example `V1__owners`.
        migration: String,
        /// The error from Postgres.
        #[source]
        source: Cause,
    },
    /// A migration ended the transaction that it ran in.
    #[error(
        "{migration} ends its own transaction, so the check stopped there; remove the command that ends it"
    )]
    EndedTransaction {
        /// For example `V1__owners`.
        migration: String,
    },
    /// A migration changed the state of the whole server. Its transaction was rolled back.
    #[error("{migration} changes the whole server; its transaction was rolled back completely:{}", Lines(.changes))]
    ChangesServer {
        /// For example `V1__owners`.
        migration: String,
        /// What it changed.
        changes: Vec<Change>,
    },
    /// The state of the whole server changed during the check.
    #[error(
        "the server's roles or settings changed during the check. If no other session changed them, restore the old values \
         with `alter role`, `grant`, `revoke`, `alter database` or `alter system`:{}",
        Lines(.0)
    )]
    ServerChanged(Vec<Change>),
    /// Another session held one of the application's locks for longer than this step waits.
    #[error(
        "{holder} holds the lock {name}: wait until that session ends, or end it with \
         `select pg_terminate_backend(<process>)`"
    )]
    Held {
        /// The lock.
        name: &'static str,
        /// The session.
        holder: String,
    },
    /// The settings allow the role's processes more connections in total than its limit.
    #[error(
        "role {role} may hold {limit} connections, but database.pool_max ({pool_max}) times database.instances_max \
         ({instances_max}) is more: lower one of them or raise the role's limit"
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

/// A step of a transaction. COMMIT is [`Error::Commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStep {
    /// BEGIN.
    Begin,
    /// ROLLBACK.
    RollBack,
    /// SAVEPOINT.
    Save,
    /// RELEASE SAVEPOINT.
    Release,
    /// ROLLBACK TO SAVEPOINT.
    RollBackTo,
}

impl std::fmt::Display for TransactionStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Begin => "cannot begin a transaction",
            Self::RollBack => "cannot roll back a transaction",
            Self::Save => "cannot set a savepoint",
            Self::Release => "cannot release a savepoint",
            Self::RollBackTo => "cannot roll back to a savepoint",
        })
    }
}

/// What is known about a transaction whose COMMIT failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Postgres refused it. Nothing is committed.
    Refused,
    /// Postgres did not answer, or its answer leaves the outcome open. The transaction may have committed.
    Unknown,
}

impl CommitOutcome {
    /// An error that Postgres raised in COMMIT means that it refused. A lost connection decides nothing. Neither does an
    /// error that ends the session (a shutdown, or a pooler that lost its server), an internal error, or an error that itself
    /// says that the outcome is unknown.
    fn of(failure: &tokio_postgres::Error) -> Self {
        let Some(said) = failure.as_db_error() else { return Self::Unknown };
        let code = said.code();
        let class = code.code().get(..2).unwrap_or_default();
        let is_answer = said.parsed_severity() == Some(Severity::Error)
            && !["08", "XX"].contains(&class)
            && *code != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN;
        if is_answer { Self::Refused } else { Self::Unknown }
    }
}

impl std::fmt::Display for CommitOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "Postgres refused to commit a transaction",
            Self::Unknown => "COMMIT failed, and the transaction may or may not have been committed",
        })
    }
}

/// Prints each item on a separate, indented line.
struct Lines<'a, T>(&'a [T]);

impl<T: std::fmt::Display> std::fmt::Display for Lines<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// How to react to an error. The classes are SQLSTATE classes; see the appendix "`PostgreSQL` Error Codes" of the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The database cannot do it now: connection lost, shutting down, out of connections, deadlock, serialization failure,
    /// lock or statement timeout, or read-only. A retry may succeed.
    Unavailable,
    /// There is no partition for a row: 23514 without a constraint's name. The row is not at fault.
    MissingPartition,
    /// The database will never accept the value: classes 22 and 23.
    BadValue,
    /// Any other error, such as a missing table or permission. An operator or developer must fix it.
    Broken,
}

/// An error of the driver. If Postgres raised it, only its code and message are shown: the detail quotes rows, which may
/// contain personal data.
#[derive(Debug)]
pub struct Cause(tokio_postgres::Error);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_db_error() {
            Some(said) => write!(f, "{} ({})", said.message(), said.code().code()),
            None => self.0.fmt(f),
        }
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if self.0.as_db_error().is_some() { None } else { std::error::Error::source(&self.0) }
    }
}

impl From<tokio_postgres::Error> for Cause {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(error)
    }
}

impl Error {
    /// For `map_err` after a statement of this file.
    pub fn statement(file: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |source| Self::Statement { file, source: source.into() }
    }

    /// For `map_err` after a step of a transaction. For COMMIT use [`commit`](crate::commit).
    pub fn transaction(step: TransactionStep) -> impl Fn(tokio_postgres::Error) -> Self {
        move |source| Self::Transaction { step, source: source.into() }
    }

    /// A COMMIT failed.
    pub(crate) fn commit(source: tokio_postgres::Error) -> Self {
        Self::Commit { outcome: CommitOutcome::of(&source), source: source.into() }
    }

    /// The error from Postgres or the driver, if there is one.
    fn cause(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Self::Pool(deadpool_postgres::PoolError::Backend(source)) => Some(source),
            Self::Connect(Cause(source))
            | Self::Statement { source: Cause(source), .. }
            | Self::Rehearsal { source: Cause(source), .. }
            | Self::Transaction { source: Cause(source), .. }
            | Self::Commit { source: Cause(source), .. } => Some(source),
            Self::Pool(_)
            | Self::NoAnswer(_)
            | Self::Settings(_)
            | Self::Migration(_)
            | Self::OldHistory { .. }
            | Self::SchemaDiffers(_)
            | Self::Refused(_)
            | Self::EndedTransaction { .. }
            | Self::ChangesServer { .. }
            | Self::ServerChanged(_)
            | Self::Held { .. }
            | Self::ConnectionLimit { .. } => None,
        }
    }

    /// How to react to the error.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match (self, self.cause()) {
            (Self::Statement { .. }, Some(cause)) if is_of_a_value(cause) => Fault::BadValue,
            (_, Some(cause)) => fault(cause),
            (Self::Pool(_) | Self::NoAnswer(_), None) => Fault::Unavailable,
            (_, None) => Fault::Broken,
        }
    }

    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.fault() == Fault::Unavailable
    }

    /// The SQLSTATE, if Postgres returned one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.cause()?.code().map(SqlState::code)
    }

    /// The constraint that rejected a row, if one did.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.cause()?.as_db_error()?.constraint()
    }
}

fn fault(error: &tokio_postgres::Error) -> Fault {
    let Some(error) = error.as_db_error() else {
        // The server did not answer: the connection broke or failed.
        return Fault::Unavailable;
    };
    let code = error.code().code();
    match code.get(..2).unwrap_or_default() {
        _ if code == SqlState::CHECK_VIOLATION.code() && error.constraint().is_none() => {
            Fault::MissingPartition
        }
        "22" | "23" => Fault::BadValue,
        // 25: the transaction was idle too long, or the server is read-only while it recovers or is demoted.
        "08" | "25" | "40" | "53" | "55" | "57" => Fault::Unavailable,
        // An operator or developer must fix all others, for example a wrong password (28).
        _ => Fault::Broken,
    }
}

/// Whether the driver could not encode a parameter or decode a column. The driver hides its error kinds, but among the
/// errors of a statement only these two have a cause that comes from neither the server nor the connection.
fn is_of_a_value(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error);
    cause.is_some_and(|cause| !cause.is::<DbError>() && !cause.is::<std::io::Error>())
}
