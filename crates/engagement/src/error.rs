//! Why a batch was not applied, and what each error calls for.

use database::Fault;

use crate::Applied;

/// Why a batch was not applied. Nothing of it was, unless the error says that this is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("applying engagement")]
    Database(#[from] database::Error),
    /// A COMMIT failed, or was sent and not answered.
    #[error("committing engagement")]
    Committing {
        /// What the database or the connection said.
        source: database::Error,
        /// What the batch comes to if it was committed.
        applied: Box<Applied>,
    },
    /// A live blog has no row of counters.
    #[error("a live blog has no row in blogs.blog_counter")]
    NoCounter,
    /// The partition of a day could not be made in time.
    #[error("the partition of a day is being made by somebody else and did not appear in time")]
    DayBusy,
    /// Somebody else redrives the same parked event, or its envelope, or gives it up.
    #[error("somebody else is at the same parked event")]
    Changed,
    /// The connection broke while a COMMIT was waited for, and the ledger could not be asked.
    #[error("it is not known whether a batch was applied")]
    OutcomeUnknown(#[source] Box<Error>),
}

impl Error {
    /// True when the same batch may be applied later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.fault() == Fault::Unavailable
    }

    /// The SQLSTATE, where Postgres gave one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Database(source) | Self::Committing { source, .. } => source.sqlstate(),
            Self::OutcomeUnknown(error) => error.sqlstate(),
            Self::NoCounter | Self::DayBusy | Self::Changed => None,
        }
    }

    /// What the error calls for.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Database(source) | Self::Committing { source, .. } => source.fault(),
            Self::OutcomeUnknown(error) => error.fault(),
            Self::NoCounter => Fault::BadValue,
            Self::DayBusy | Self::Changed => Fault::Unavailable,
        }
    }
}

/// A COMMIT failed. Even one that Postgres refused ([`database::CommitOutcome`]) is looked up in the ledger: that costs an attempt,
/// while an answer that promises too much would break exactly-once.
pub(crate) fn is_commit(error: &Error) -> bool {
    matches!(error, Error::Committing { .. })
}
