//! Why a batch was not applied, and how to react to each error.

use database::Fault;

use crate::Applied;

/// Why a batch was not applied. None of it was applied, unless the error says that the outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("cannot apply engagement")]
    Database(#[from] database::Error),
    /// A COMMIT failed, or it was sent and got no reply.
    #[error("cannot commit engagement")]
    Committing {
        /// The error of the database or the connection.
        source: database::Error,
        /// The result of the batch, if it committed.
        applied: Box<Applied>,
    },
    /// A live blog has no counter row.
    #[error("a live blog has no row in blogs.blog_counter")]
    NoCounter,
    /// The partition of a day could not be created in time.
    #[error("another session is creating the partition of a day and did not finish in time; try again")]
    DayBusy,
    /// Another session redrives or drops the same parked event, or redrives its envelope.
    #[error("another session is changing this parked event; try again")]
    Changed,
    /// The connection broke before a COMMIT was answered, and the ledger could not be read afterwards.
    #[error("the connection broke during a COMMIT: the batch may or may not have been applied")]
    OutcomeUnknown(#[source] Box<Error>),
}

impl Error {
    /// Whether the same batch may succeed later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.fault() == Fault::Unavailable
    }

    /// The SQLSTATE, if Postgres returned one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Database(source) | Self::Committing { source, .. } => source.sqlstate(),
            Self::OutcomeUnknown(error) => error.sqlstate(),
            Self::NoCounter | Self::DayBusy | Self::Changed => None,
        }
    }

    /// How to react to the error.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Database(source) | Self::Committing { source, .. } => source.fault(),
            Self::OutcomeUnknown(error) => error.fault(),
            Self::NoCounter => Fault::BadValue,
            Self::DayBusy | Self::Changed => Fault::Unavailable,
        }
    }
}

/// Whether a COMMIT failed. Even if Postgres rejected the COMMIT ([`database::CommitOutcome`]), only the ledger decides
/// whether the batch was applied: asking it costs one more attempt, and a wrong assumption would break exactly-once counting.
pub(crate) fn is_commit(error: &Error) -> bool {
    matches!(error, Error::Committing { .. })
}
