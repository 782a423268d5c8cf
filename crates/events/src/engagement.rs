//! What readers do with a blog: view, like, unlike, share.

use jiff::Timestamp;
use uuid::Uuid;

/// One act of engagement with one blog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngagementEvent {
    /// Unique id of the event, a `UUIDv7`.
    pub id: Uuid,
    /// The blog it is about.
    pub blog_id: i64,
    /// When the server accepted it; for an imported event, when it happened.
    pub time: Timestamp,
    /// What was done.
    pub action: Action,
    /// The event counts once for all events with this key: a hash over the client's `Idempotency-Key`, who
    /// sent it, what it is and which blog it is about.
    pub key: Option<Uuid>,
    /// Brought in from a past that this system did not see. Its key is never forgotten, and its views stand
    /// in the history, not among the partitions of recent days.
    pub imported: bool,
}

/// What was done, with what is needed to count it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Somebody looked at the blog.
    Viewed(Visitor),
    /// This account likes the blog.
    Liked {
        /// Who.
        account_id: i64,
    },
    /// This account no longer likes the blog.
    Unliked {
        /// Who.
        account_id: i64,
    },
    /// Somebody passed the blog on.
    Shared(Channel),
}

impl Action {
    /// The kind, without the particulars.
    #[must_use]
    pub fn kind(&self) -> EngagementKind {
        match self {
            Self::Viewed(_) => EngagementKind::View,
            Self::Liked { .. } => EngagementKind::Like,
            Self::Unliked { .. } => EngagementKind::Unlike,
            Self::Shared(_) => EngagementKind::Share,
        }
    }
}

/// The kinds of engagement, as they are accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngagementKind {
    /// `blog.viewed`
    View,
    /// `blog.liked`
    Like,
    /// `blog.unliked`
    Unlike,
    /// `blog.shared`
    Share,
}

impl EngagementKind {
    /// Every kind, in the order of their names in the tables.
    pub const ALL: [Self; 4] = [Self::View, Self::Like, Self::Unlike, Self::Share];

    /// The CloudEvents `type`.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::View => "blog.viewed",
            Self::Like => "blog.liked",
            Self::Unlike => "blog.unliked",
            Self::Share => "blog.shared",
        }
    }

    /// The name in the database and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Like => "like",
            Self::Unlike => "unlike",
            Self::Share => "share",
        }
    }
}

/// A visitor: a 64-bit keyed hash that changes every UTC day. It is all that is ever published or stored of
/// who looked at a blog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Visitor(pub u64);

impl Visitor {
    /// The same 64 bits as the database's signed integer.
    #[must_use]
    pub fn to_i64(self) -> i64 {
        self.0.cast_signed()
    }
}

/// Where a blog was shared to. A short fixed list, because it is a key of a shared table: an open one would
/// let anybody grow that table without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// A copied link.
    Link,
    /// E-mail.
    Email,
    /// A chat or messenger.
    Message,
    /// A social network.
    Social,
    /// Anything else.
    Other,
}

/// The name is none of the channels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown channel; one of link, email, message, social, other is expected")]
pub struct UnknownChannel;

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 5] = [Self::Link, Self::Email, Self::Message, Self::Social, Self::Other];

    /// The name on the wire, in the API and in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Email => "email",
            Self::Message => "message",
            Self::Social => "social",
            Self::Other => "other",
        }
    }
}

impl std::str::FromStr for Channel {
    type Err = UnknownChannel;

    fn from_str(name: &str) -> Result<Self, UnknownChannel> {
        Self::ALL.into_iter().find(|channel| channel.name() == name).ok_or(UnknownChannel)
    }
}
