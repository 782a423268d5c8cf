//! The RabbitMQ user of each service, and its permissions.
//!
//! No user may configure anything, so none may delete anything. No user may write to the default exchange, which reaches
//! every queue. The narrowest permission on a queue is "read": a user that may consume a queue may also purge it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use secrecy::SecretString;
use serde::Deserialize;

use super::{AdministerError, Administration};
use crate::topology::{EVENTS, published_keys};

/// A pattern that no name matches.
const NOTHING: &str = "^$";

/// One service's user.
pub(super) struct User<'a> {
    pub(super) name: &'static str,
    pub(super) password: &'a SecretString,
    /// Its tag in the management API.
    pub(super) tags: &'static str,
    /// The exchanges it may publish to.
    pub(super) write: String,
    /// The queues it may consume.
    pub(super) read: String,
    /// The routing keys it may use on the exchange of events.
    pub(super) keys: String,
}

/// A block of `users.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    #[serde(default)]
    publishes: bool,
    #[serde(default)]
    consumes: Vec<String>,
    #[serde(default)]
    tags: String,
}

static BLOCKS: LazyLock<Result<BTreeMap<String, Block>, String>> =
    LazyLock::new(|| toml::from_str(include_str!("users.toml")).map_err(|error| error.to_string()));

/// All users by name. A service that does not use RabbitMQ has no user.
///
/// # Errors
/// `users.toml`, which is compiled in, cannot be parsed; or a user has no password.
pub(super) fn all(administration: &Administration) -> Result<Vec<User<'_>>, AdministerError> {
    let blocks = BLOCKS.as_ref().map_err(|reason| AdministerError::Users(reason.clone()))?;
    let user = |(name, block): (&'static String, &'static Block)| {
        let password = administration.passwords.get(name);
        Ok::<_, AdministerError>(User {
            name,
            password: password.ok_or(AdministerError::Password(name))?,
            tags: &block.tags,
            write: if block.publishes { any_of(&[EVENTS]) } else { NOTHING.to_owned() },
            read: any_of(&block.consumes),
            keys: if block.publishes { any_of(&published_keys()) } else { NOTHING.to_owned() },
        })
    };
    blocks.iter().map(user).collect()
}

/// The names of all users.
pub fn users() -> impl Iterator<Item = &'static str> {
    BLOCKS.iter().flat_map(BTreeMap::keys).map(String::as_str)
}

/// A pattern that matches exactly these names.
fn any_of<N: AsRef<str>>(names: &[N]) -> String {
    if names.is_empty() {
        return NOTHING.to_owned();
    }
    let escaped: Vec<_> = names.iter().map(|name| name.as_ref().replace('.', "\\.")).collect();
    format!("^({})$", escaped.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Queue;

    #[test]
    fn patterns_match_whole_names() {
        assert_eq!(any_of(&["commonplace.events"]), r"^(commonplace\.events)$");
        assert_eq!(any_of(&["a.v1", "a.v1.dead"]), r"^(a\.v1|a\.v1\.dead)$");
        assert_eq!(any_of::<&str>(&[]), NOTHING);
    }

    #[test]
    fn users_consume_queues_that_exist() {
        let blocks = BLOCKS.as_ref().unwrap();
        assert!(blocks.values().any(|block| block.publishes));
        for (name, block) in blocks {
            for queue in &block.consumes {
                assert!(Queue::ALL.iter().any(|known| known.name() == queue), "{name}: {queue}");
            }
        }
    }
}
