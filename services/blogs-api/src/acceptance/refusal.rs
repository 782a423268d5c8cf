//! Why events were not taken on, as it is counted and as the client reads it.

use broker::PublishError;

use crate::problem::Problem;

/// Why events were not taken on. After any of them nothing was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many requests wait as may.
    Full,
    /// No confirm, or no commit, in time. They may be counted all the same.
    TimedOut,
    /// The confirm or the commit was lost on the way, or came for a part of them only. They may be counted all the same.
    OutcomeUnknown,
    /// The process is about to end.
    Closed,
    /// They do not fit into an envelope.
    TooLarge,
    /// The database cannot take them now.
    DatabaseAway,
    /// The database cannot take them, and will not before somebody mends it.
    DatabaseBroken,
    /// The database will never take this one.
    BadValue,
    /// This process's clock is known to be wrong.
    ClockSkew,
    /// The direct paths are not enabled.
    NotEnabled,
    /// Readers cannot see the blog, or there is none.
    NoSuchBlog,
    /// The client sent something that is not an event.
    Invalid,
}

impl Refusal {
    /// Every reason.
    pub(crate) const ALL: [Self; 12] = [
        Self::Full,
        Self::TimedOut,
        Self::OutcomeUnknown,
        Self::Closed,
        Self::TooLarge,
        Self::DatabaseAway,
        Self::DatabaseBroken,
        Self::BadValue,
        Self::ClockSkew,
        Self::NotEnabled,
        Self::NoSuchBlog,
        Self::Invalid,
    ];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TimedOut => "timed_out",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Closed => "closed",
            Self::TooLarge => "too_large",
            Self::DatabaseAway => "database_away",
            Self::DatabaseBroken => "database_broken",
            Self::BadValue => "bad_value",
            Self::ClockSkew => "clock_skew",
            Self::NotEnabled => "not_enabled",
            Self::NoSuchBlog => "no_such_blog",
            Self::Invalid => "invalid",
        }
    }

    /// What the client reads.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Full => "too many requests are waiting; nothing was promised, send it again",
            Self::TimedOut => {
                "it could not be confirmed in time; nothing was promised, send it again (with the same key, or it \
                 may count twice)"
            }
            Self::OutcomeUnknown => {
                "it is not known whether all of it was counted; nothing was promised, send it again (with the same \
                 key, or it may count twice)"
            }
            Self::Closed => "this process is about to end; nothing was promised, send it again",
            Self::TooLarge => "the events do not fit into an envelope",
            Self::DatabaseAway => {
                "the database is not available just now; nothing was promised, send it again"
            }
            Self::DatabaseBroken => {
                "the database does not take events; nothing was promised, and it has been logged"
            }
            Self::BadValue => "the database cannot hold a value of this event",
            Self::ClockSkew => "this process's clock is wrong; nothing was promised, send it again",
            Self::NotEnabled => "X-Write-Path: the direct paths are not enabled here",
            Self::NoSuchBlog => "there is no such blog",
            Self::Invalid => "this is not an event",
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let sentence = refusal.sentence();
        match refusal {
            Refusal::Full | Refusal::TimedOut | Refusal::Closed => Self::unavailable(sentence, 1),
            Refusal::DatabaseAway | Refusal::OutcomeUnknown | Refusal::ClockSkew => {
                Self::unavailable(sentence, 5)
            }
            Refusal::DatabaseBroken => Self::unavailable(sentence, 60),
            Refusal::TooLarge => Self::too_large(sentence),
            Refusal::NotEnabled => Self::bad_request(sentence),
            Refusal::NoSuchBlog => Self::not_found(sentence),
            Refusal::BadValue | Refusal::Invalid => Self::invalid("event", sentence),
        }
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Full => Self::Full,
            PublishError::TimedOut => Self::TimedOut,
            PublishError::Closed => Self::Closed,
            PublishError::TooLarge => Self::TooLarge,
        }
    }
}
