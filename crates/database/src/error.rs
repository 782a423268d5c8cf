//! Errors of the database, and the one table that says what each SQLSTATE calls for.

use std::time::Duration;

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::contract::{Change, Refusal};

/// What went wrong, and in which statement. The message never holds a parameter's value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bound or an address in the settings is wrong; the sentence says what to change.
    #[error("{0}")]
    Settings(String),
    /// No connection could be had in time.
    #[error("getting a database connection")]
    Pool(#[source] deadpool_postgres::PoolError),
    /// What was asked of the database was not done in time. Whether it will be, or was, is not known.
    #[error("no answer from the database within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// A connection could not be made.
    #[error("connecting to the database")]
    Connect(#[source] Cause),
    /// A statement failed.
    #[error("running {file}")]
    Statement {
        /// The statement's file.
        file: &'static str,
        /// What Postgres said.
        #[source]
        source: Cause,
    },
    /// A step of a transaction failed, other than a statement or COMMIT. Nothing of the transaction is committed.
    #[error("{step}")]
    Transaction {
        /// The step.
        step: TransactionStep,
        /// What Postgres said.
        #[source]
        source: Cause,
    },
    /// A COMMIT failed.
    #[error("{outcome}")]
    Commit {
        /// What is known of the transaction.
        outcome: CommitOutcome,
        /// What Postgres or the driver said.
        #[source]
        source: Cause,
    },
    /// A migration failed.
    #[error("migrating the database")]
    Migration(#[source] Box<refinery::Error>),
    /// The history of the migrations has numbers from before they were squashed, and does not reach the last of them.
    #[error(
        "the newest migration of this database is {newest}, one from before the migrations were squashed; only a database at \
         V43__exports can be taken over. Bring it there with the last release that has these files, and then migrate it with \
         this one:\n  git switch --detach \"$(git log -1 --format=%H -- migrations/V43__exports.sql)~1\" && cargo run --release -- migrate"
    )]
    OldHistory {
        /// As `V42__deleted_accounts`.
        newest: String,
    },
    /// The history is the last from before the migrations were squashed, and the schema is not the one they made.
    #[error(
        "this database is at V43__exports, but its schema is not the one that the migrations made, so nothing was changed. Undo \
         what was changed by hand, then migrate again:{}",
        Lines(.0)
    )]
    SchemaDiffers(Vec<String>),
    /// Migrations contain commands that are not run on a server that others use. Nothing ran.
    #[error("refused before anything ran:{}", Lines(.0))]
    Refused(Vec<Refusal>),
    /// A migration does not run in the rehearsal.
    #[error("rehearsing {migration}")]
    Rehearsal {
        /// As `V1__owners`.
        migration: String,
        /// What Postgres said.
        #[source]
        source: Cause,
    },
    /// A migration ended the transaction that it ran in.
    #[error("{migration} ends the transaction that it runs in; the check has stopped there")]
    EndedTransaction {
        /// As `V1__owners`.
        migration: String,
    },
    /// A migration changed what belongs to the whole server. Its transaction was rolled back.
    #[error("{migration} changes the whole server; that was rolled back, and nothing of it is left:{}", Lines(.changes))]
    ChangesServer {
        /// As `V1__owners`.
        migration: String,
        /// What it changed.
        changes: Vec<Change>,
    },
    /// What belongs to the whole server is not what it was before the check.
    #[error(
        "the server is not what it was before the check. If no other session changed it, put the old values back with \
         `alter role`, `grant`, `revoke`, `alter database` or `alter system`:{}",
        Lines(.0)
    )]
    ServerChanged(Vec<Change>),
    /// Another session held a lock of the application for longer than this step waits.
    #[error(
        "the lock {name} is held by {holder}: wait until it ends, or end it with \
         `select pg_terminate_backend(<process>)`"
    )]
    Held {
        /// The lock.
        name: &'static str,
        /// The session.
        holder: String,
    },
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
            Self::Begin => "beginning a transaction",
            Self::RollBack => "rolling a transaction back",
            Self::Save => "setting a savepoint",
            Self::Release => "releasing a savepoint",
            Self::RollBackTo => "rolling back to a savepoint",
        })
    }
}

/// What is known of a transaction whose COMMIT failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Postgres refused it: nothing is committed.
    Refused,
    /// No answer, or none that says: it may be committed.
    Unknown,
}

impl CommitOutcome {
    /// An error that Postgres raised in COMMIT is its answer. A lost connection is none. Neither is an error that ends the
    /// session (a shutdown, or a pooler that lost its server), an internal one, or one that says itself that it does not know.
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
            Self::Unknown => "it is not known whether a transaction was committed",
        })
    }
}

/// Each on a line of its own, indented.
struct Lines<'a, T>(&'a [T]);

impl<T: std::fmt::Display> std::fmt::Display for Lines<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// What an error calls for. The classes are SQLSTATE classes; see the appendix "`PostgreSQL` Error Codes" of the
/// manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The database cannot take it now (connection lost, shutting down, out of connections, deadlock,
    /// serialization, lock or statement timeout, read only): the same again later may succeed.
    Unavailable,
    /// No partition for a row: 23514 without a constraint's name. Never the row's fault.
    MissingPartition,
    /// A value that the database will never take: classes 22 and 23.
    BadValue,
    /// Anything else, such as a missing table or a refused permission: somebody must change something.
    Broken,
}

/// What the driver said. Where that is an answer of Postgres only its code and message are shown: the detail quotes
/// rows, and rows hold what belongs to people.
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
    /// For `map_err` behind a statement of this file.
    pub fn statement(file: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |source| Self::Statement { file, source: source.into() }
    }

    /// For `map_err` behind a step of a transaction. The step COMMIT is [`commit`](crate::commit).
    pub fn transaction(step: TransactionStep) -> impl Fn(tokio_postgres::Error) -> Self {
        move |source| Self::Transaction { step, source: source.into() }
    }

    /// A COMMIT failed.
    pub(crate) fn commit(source: tokio_postgres::Error) -> Self {
        Self::Commit { outcome: CommitOutcome::of(&source), source: source.into() }
    }

    /// What Postgres or the driver said, where it came to that.
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

    /// What the error calls for.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match (self, self.cause()) {
            (Self::Statement { .. }, Some(cause)) if is_of_a_value(cause) => Fault::BadValue,
            (_, Some(cause)) => fault(cause),
            (Self::Pool(_) | Self::NoAnswer(_), None) => Fault::Unavailable,
            (_, None) => Fault::Broken,
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
        self.cause()?.code().map(SqlState::code)
    }

    /// The constraint that refused a row, where one did.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.cause()?.as_db_error()?.constraint()
    }
}

fn fault(error: &tokio_postgres::Error) -> Fault {
    let Some(error) = error.as_db_error() else {
        // No answer from the server: the connection broke, or could not be made.
        return Fault::Unavailable;
    };
    let code = error.code().code();
    match code.get(..2).unwrap_or_default() {
        _ if code == SqlState::CHECK_VIOLATION.code() && error.constraint().is_none() => {
            Fault::MissingPartition
        }
        "22" | "23" => Fault::BadValue,
        // 25: a transaction that was idle too long, or a server that is read only while it recovers or is demoted.
        "08" | "25" | "40" | "53" | "55" | "57" => Fault::Unavailable,
        // Of "insufficient resources at start" and the like; a wrong password (28) is for somebody to mend.
        _ => Fault::Broken,
    }
}

/// Whether the driver could not write a parameter of a statement, or read a column. It keeps its kinds to itself, but of what a
/// statement can fail with, these two alone have a cause that is neither the server's answer nor the connection's.
fn is_of_a_value(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error);
    cause.is_some_and(|cause| !cause.is::<DbError>() && !cause.is::<std::io::Error>())
}
