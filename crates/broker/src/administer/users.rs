//! The user of each service, and what RabbitMQ lets it do.
//!
//! No user may configure anything, which includes to delete it; none may write to the default exchange, through which
//! any queue could be reached. RabbitMQ has no narrower right to a queue than "read": a user that may consume one may
//! also purge it.

use secrecy::SecretString;

use super::Administration;
use crate::topology::{EVENTS, Queue, published_keys};

/// A pattern that no name matches.
const NOTHING: &str = "^$";

/// One service's user.
pub(super) struct User<'a> {
    pub(super) name: &'static str,
    pub(super) password: &'a SecretString,
    /// What it may do in the management API.
    pub(super) tags: &'static str,
    /// The exchanges that it may publish to.
    pub(super) write: String,
    /// The queues that it may consume.
    pub(super) read: String,
    /// The routing keys under which it may publish to the exchange of events.
    pub(super) keys: String,
}

/// Every user. The Recommendation API has none: it does not use RabbitMQ.
pub(super) fn all(administration: &Administration) -> [User<'_>; 4] {
    let nothing = || NOTHING.to_owned();
    let user = |name, password| User {
        name,
        password,
        tags: "",
        write: nothing(),
        read: nothing(),
        keys: nothing(),
    };
    [
        User {
            write: any_of(&[EVENTS]),
            keys: any_of(&published_keys()),
            ..user("blogs_api", &administration.blogs_api_password)
        },
        User {
            read: any_of(&[Queue::Engagement.name(), Queue::EngagementDead.name()]),
            ..user("analytics_worker", &administration.analytics_worker_password)
        },
        User {
            read: any_of(&[Queue::Blogs.name()]),
            ..user("notification_worker", &administration.notification_worker_password)
        },
        // Asking how deep a queue is needs no right to it.
        User { tags: "monitoring", ..user("console", &administration.console_password) },
    ]
}

/// A pattern that matches these names and no others.
fn any_of(names: &[&str]) -> String {
    let escaped: Vec<_> = names.iter().map(|name| name.replace('.', "\\.")).collect();
    format!("^({})$", escaped.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        assert_eq!(any_of(&["commonplace.events"]), r"^(commonplace\.events)$");
        assert_eq!(any_of(&["a.v1", "a.v1.dead"]), r"^(a\.v1|a\.v1\.dead)$");
    }
}
