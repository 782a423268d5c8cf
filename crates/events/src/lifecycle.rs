//! Events of blogs and follows, published through the outbox.

use jiff::Timestamp;
use uuid::Uuid;

/// A blog was published, withdrawn or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlogEvent {
    /// Unique id of the event, a `UUIDv7`; the envelope that carries it has the same id.
    pub id: Uuid,
    /// The blog.
    pub blog_id: i64,
    /// Its author.
    pub author_id: i64,
    /// When.
    pub time: Timestamp,
    /// What happened.
    pub kind: BlogEventKind,
}

/// What happened to a blog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlogEventKind {
    /// Readers can see it.
    Published,
    /// Readers can no longer see it, but it may be published again.
    Unpublished,
    /// It was deleted permanently.
    Deleted,
}

impl BlogEventKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Published, Self::Unpublished, Self::Deleted];

    /// The CloudEvents `type`, which is also the routing key.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Published => "blog.published",
            Self::Unpublished => "blog.unpublished",
            Self::Deleted => "blog.deleted",
        }
    }
}

/// An account began to follow another, or stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowEvent {
    /// Unique id of the event, a `UUIDv7`; the envelope that carries it has the same id.
    pub id: Uuid,
    /// The followed account.
    pub followee_id: i64,
    /// The follower.
    pub follower_id: i64,
    /// When.
    pub time: Timestamp,
    /// What happened.
    pub kind: FollowEventKind,
}

/// What happened between two accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FollowEventKind {
    /// The account follows the other.
    Followed,
    /// The account no longer follows the other.
    Unfollowed,
}

impl FollowEventKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Followed, Self::Unfollowed];

    /// The CloudEvents `type`, which is also the routing key.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Followed => "account.followed",
            Self::Unfollowed => "account.unfollowed",
        }
    }
}
