//! The reasons for refusing events, as metrics count them and as clients read them.

use broker::PublishError;

use crate::problem::Problem;

/// Why events were refused. None of these promises that an event counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The maximum number of requests is already waiting.
    Full,
    /// No confirm or commit in time. The events may count nevertheless.
    TimedOut,
    /// The confirm or the commit was lost, or covers only some of the events. They may count nevertheless.
    OutcomeUnknown,
    /// The process is shutting down.
    Closed,
    /// The events do not fit into an envelope.
    TooLarge,
    /// The database is unavailable.
    DatabaseAway,
    /// The database rejects events, and will continue to until an operator intervenes.
    DatabaseBroken,
    /// The database will never accept this value.
    BadValue,
    /// This process's clock is known to be wrong.
    ClockSkew,
    /// The direct paths are disabled.
    NotEnabled,
    /// The blog does not exist or is not visible to readers.
    NoSuchBlog,
    /// The client sent something that is not an event.
    Invalid,
}

impl Refusal {
    /// All reasons.
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

    /// The reason's name in metrics.
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

    /// The text that the client reads. The load generator recognises "nothing was promised" and "it may count twice".
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Full => "too many requests are waiting; nothing was promised, so send the request again",
            Self::TimedOut => {
                "the event was not confirmed in time; nothing was promised, so send the request again (with the \
                 same key, or it may count twice)"
            }
            Self::OutcomeUnknown => {
                "it is not known whether all events were counted; nothing was promised, so send the request again \
                 (with the same key, or it may count twice)"
            }
            Self::Closed => "this process is shutting down; nothing was promised, so send the request again",
            Self::TooLarge => "the events do not fit into an envelope",
            Self::DatabaseAway => {
                "the database is not available; nothing was promised, so send the request again"
            }
            Self::DatabaseBroken => {
                "the database rejects events; nothing was promised, and the error has been logged"
            }
            Self::BadValue => "the database cannot store a value of this event",
            Self::ClockSkew => {
                "this process's clock is wrong; nothing was promised, so send the request again"
            }
            Self::NotEnabled => "X-Write-Path: the direct paths are disabled on this server",
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
