//! Engagement of readers with a blog: view, like, unlike, share.

use jiff::Timestamp;
use uuid::Uuid;

/// One act of engagement with one blog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngagementEvent {
    /// Unique id of the event, a `UUIDv7`.
    pub id: Uuid,
    /// The blog.
    pub blog_id: i64,
    /// When the server accepted it; for an imported event, when it happened.
    pub time: Timestamp,
    /// The action.
    pub action: Action,
    /// All events with this key count once. The key is a hash of the client's `Idempotency-Key`, the sender, the action and
    /// the blog.
    pub key: Option<Uuid>,
    /// Whether it was imported from a time before this system. The key of an imported event is never forgotten, and its views
    /// are stored in the history instead of the partitions of recent days.
    pub imported: bool,
}

/// An action, with the data needed to count it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// A visitor viewed the blog.
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
    /// The blog was shared.
    Shared(Channel),
}

impl Action {
    /// The kind of the action.
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

/// The kinds of engagement, as they are recorded.
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

/// A visitor: a 64-bit keyed hash that changes every UTC day. Nothing else about a blog's viewers is published or stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Visitor(pub u64);

impl Visitor {
    /// The same 64 bits as the database's signed integer.
    #[must_use]
    pub fn to_i64(self) -> i64 {
        self.0.cast_signed()
    }
}

/// Where a blog was shared. The list is short and fixed, because the channel is part of a shared table's key: with free text
/// any client could make that table grow without limit.
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

/// The name is not a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown channel; use one of link, email, message, social, other")]
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
