//! The administrator's step on RabbitMQ: creates the topology, and a user for each service that uses RabbitMQ.
//!
//! It can be repeated. It creates missing objects and sets passwords and permissions. It deletes nothing. It reports objects
//! that differ from what this release expects, without changing them. It uses the management API, because only that API can
//! create users and show how an existing queue was declared.

mod management;
mod users;

use std::collections::BTreeMap;

use configuration::{Bound, bound};
use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::topology::{EVENTS, EXCHANGES, Queue};
use management::{Address, Management, segment};
pub use users::users;

/// Bounds of the `[rabbitmq]` section.
pub const ADMINISTRATION_BOUNDS: &[Bound] = &[bound("rabbitmq.connections_max", 1..=65_535)];

/// The `[rabbitmq]` section of the administrator's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Section")]
pub struct Administration {
    /// `http://user:password@host:15672` of an administrator of RabbitMQ. If empty, the step is skipped.
    pub management_url: SecretString,
    /// The vhost for exchanges and queues. It must exist.
    pub vhost: String,
    /// The users' passwords, from the keys `USER_password`.
    pub passwords: BTreeMap<String, SecretString>,
    /// Maximum connections of one user, and maximum channels.
    pub connections_max: u32,
}

/// The section as it appears in the file.
#[derive(Deserialize)]
struct Section {
    management_url: SecretString,
    vhost: String,
    connections_max: u32,
    #[serde(flatten)]
    passwords: BTreeMap<String, SecretString>,
}

impl TryFrom<Section> for Administration {
    type Error = String;

    fn try_from(section: Section) -> Result<Self, String> {
        let Section { management_url, vhost, connections_max, passwords } = section;
        let passwords = passwords.into_iter().map(|(key, password)| {
            let user = key.strip_suffix("_password").filter(|user| users().any(|known| known == *user));
            let user =
                user.ok_or_else(|| format!("{key} does not belong to any RabbitMQ user in users.toml"))?;
            Ok::<_, String>((user.to_owned(), password))
        });
        let passwords = passwords.collect::<Result<_, _>>()?;
        Ok(Self { management_url, vhost, passwords, connections_max })
    }
}

/// The result of the step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Administered {
    /// Exchanges, queues and bindings that it created.
    pub made: Vec<String>,
    /// Objects that differ from what this release expects and were left unchanged. Services may not work with them.
    pub differences: Vec<String>,
    /// Bindings that this release does not use, such as those of an earlier release.
    pub leftovers: Vec<String>,
}

/// The administrator's step failed; it can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum AdministerError {
    /// The address is invalid. It contains a password, so the message does not quote it.
    #[error(
        "rabbitmq.management_url is not an address such as http://administrator:password@host:15672. Percent-encode all \
         characters of the password except letters and digits, for example %2F for a slash"
    )]
    Address,
    /// The address asks for TLS.
    #[error("rabbitmq.management_url begins with https://, which is not supported yet: use http://")]
    Tls,
    /// A user would have no password.
    #[error("rabbitmq.{0}_password is empty: set a password for the RabbitMQ user {0}")]
    Password(&'static str),
    /// The list of users, which is compiled in, cannot be parsed.
    #[error("cannot parse crates/broker/src/administer/users.toml: {0}")]
    Users(String),
    /// The management API cannot be reached.
    #[error(
        "cannot {doing}: RabbitMQ's management API does not answer. Is RabbitMQ running with the management plugin enabled?"
    )]
    Away {
        /// The request.
        doing: String,
        /// The HTTP client's error.
        source: Box<ureq::Error>,
    },
    /// The management API refused the request.
    #[error("RabbitMQ's management API refused to {doing}: {status}, {reason}")]
    Refused {
        /// The request.
        doing: String,
        /// The HTTP status.
        status: u16,
        /// RabbitMQ's reason.
        reason: String,
    },
}

impl Administration {
    /// Whether the settings contain an address, so that the step must run.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.management_url.expose_secret().is_empty()
    }

    /// The first user with the administrator's password.
    #[must_use]
    pub fn with_administrators_password(&self) -> Option<&'static str> {
        let Address { password, .. } = Address::of(&self.management_url).ok()?;
        let users = users::all(self).ok()?;
        users
            .into_iter()
            .find(|user| user.password.expose_secret() == password.expose_secret())
            .map(|user| user.name)
    }
}

/// The address of the same vhost with another login. `None` if `url` is not an AMQP address with a login.
#[must_use]
pub fn url_of(url: &str, user: &str, password: &SecretString) -> Option<String> {
    url.parse::<AMQPUri>().ok()?;
    let (scheme, rest) = url.split_once("://")?;
    let (_login, place) = rest.rsplit_once('@')?;
    Some(format!("{scheme}://{user}:{}@{place}", segment(password.expose_secret())))
}

/// The vhost of an AMQP address. `None` if it is not an AMQP address.
#[must_use]
pub fn vhost_of(url: &str) -> Option<String> {
    Some(url.parse::<AMQPUri>().ok()?.vhost)
}

/// Creates exchanges, queues, bindings and users. It blocks: in asynchronous code call it where blocking is allowed.
///
/// # Errors
/// The management API does not answer or refuses a request, or a setting is invalid. Objects created before that stay.
pub fn administer(administration: &Administration) -> Result<Administered, AdministerError> {
    let users = users::all(administration)?;
    if let Some(user) = users.iter().find(|user| user.password.expose_secret().is_empty()) {
        return Err(AdministerError::Password(user.name));
    }
    let management = Management::new(&administration.management_url)?;
    let step = Step { management, vhost: segment(&administration.vhost) };
    let mut report = Administered::default();
    for (name, kind) in EXCHANGES {
        step.exchange(name, kind, &mut report)?;
    }
    for queue in Queue::ALL {
        step.queue(queue, &mut report)?;
        step.bindings(queue, &mut report)?;
    }
    for user in &users {
        step.user(user, administration.connections_max)?;
    }
    Ok(report)
}

struct Step<'a> {
    management: Management<'a>,
    /// The vhost as a path segment.
    vhost: String,
}

impl Step<'_> {
    fn exchange(&self, name: &str, kind: &str, report: &mut Administered) -> Result<(), AdministerError> {
        let wanted = json!({ "type": kind, "durable": true, "auto_delete": false, "internal": false, "arguments": {} });
        self.make(
            &format!("exchanges/{}/{}", self.vhost, segment(name)),
            &format!("exchange {name}"),
            &wanted,
            report,
        )
    }

    fn queue(&self, queue: Queue, report: &mut Administered) -> Result<(), AdministerError> {
        let (name, arguments) = (queue.name(), queue.arguments());
        let wanted = json!({ "durable": true, "auto_delete": false, "arguments": arguments });
        self.make(
            &format!("queues/{}/{}", self.vhost, segment(name)),
            &format!("queue {name}"),
            &wanted,
            report,
        )
    }

    /// Creates the object if it is missing; otherwise reports the properties that differ.
    fn make(
        &self,
        path: &str,
        what: &str,
        wanted: &Value,
        report: &mut Administered,
    ) -> Result<(), AdministerError> {
        let Some(found) = self.management.get(path)? else {
            self.management.put(path, wanted)?;
            report.made.push(what.to_owned());
            return Ok(());
        };
        for (property, value) in wanted.as_object().into_iter().flatten() {
            let is = found.get(property).unwrap_or(&Value::Null);
            if is != value {
                report.differences.push(format!("{what}: {property} is {is} but should be {value}"));
            }
        }
        Ok(())
    }

    fn bindings(&self, queue: Queue, report: &mut Administered) -> Result<(), AdministerError> {
        let (vhost, name) = (&self.vhost, segment(queue.name()));
        let found = self.management.get(&format!("queues/{vhost}/{name}/bindings"))?.unwrap_or_default();
        let text =
            |binding: &Value, key| binding.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut found: Vec<(String, String)> = found
            .as_array()
            .into_iter()
            .flatten()
            .map(|binding| (text(binding, "source"), text(binding, "routing_key")))
            // RabbitMQ binds every queue to the default exchange.
            .filter(|(source, _)| !source.is_empty())
            .collect();
        let (exchange, keys) = queue.bindings();
        for key in keys {
            let before = found.len();
            found.retain(|(source, bound)| (source.as_str(), bound.as_str()) != (exchange, key));
            if found.len() == before {
                let body = json!({ "routing_key": key, "arguments": {} });
                self.management.post(&format!("bindings/{vhost}/e/{}/q/{name}", segment(exchange)), &body)?;
                report.made.push(format!("binding {exchange} --{key}--> {}", queue.name()));
            }
        }
        let leftover = |(source, key)| format!("binding {source} --{key}--> {}", queue.name());
        report.leftovers.extend(found.into_iter().map(leftover));
        Ok(())
    }

    fn user(&self, user: &users::User<'_>, connections_max: u32) -> Result<(), AdministerError> {
        let (vhost, name) = (&self.vhost, user.name);
        let login = json!({ "password": user.password.expose_secret(), "tags": user.tags });
        let path = format!("users/{name}");
        if let Err(error) = self.management.put(&path, &login) {
            // RabbitMQ checks whether the user exists and then creates or updates it. If another administrator's step creates the
            // user in between, RabbitMQ refuses the creation. Now the user exists, so the same request updates it.
            if !matches!(error, AdministerError::Refused { status: 400, .. })
                || self.management.get(&path)?.is_none()
            {
                return Err(error);
            }
            self.management.put(&path, &login)?;
        }
        // Set the allowed routing keys first: without them every key is allowed.
        let keys = json!({ "exchange": EVENTS, "write": user.keys, "read": "^$" });
        self.management.put(&format!("topic-permissions/{vhost}/{name}"), &keys)?;
        let rights = json!({ "configure": "^$", "write": user.write, "read": user.read });
        self.management.put(&format!("permissions/{vhost}/{name}"), &rights)?;
        for limit in ["max-connections", "max-channels"] {
            self.management
                .put(&format!("user-limits/{name}/{limit}"), &json!({ "value": connections_max }))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn administration(management_url: &str) -> Administration {
        Administration {
            management_url: management_url.into(),
            vhost: "/".to_owned(),
            passwords: users().map(|user| (user.to_owned(), "hidden".into())).collect(),
            connections_max: 16,
        }
    }

    #[test]
    fn a_login_is_replaced_in_an_address() {
        let of = |url: &str| url_of(url, "blogs_api", &"a/b".into());
        assert_eq!(
            of("amqp://root:x@127.0.0.1:5672/test").as_deref(),
            Some("amqp://blogs_api:a%2Fb@127.0.0.1:5672/test")
        );
        assert_eq!(of("amqp://127.0.0.1:5672"), None);
        assert_eq!(of("nonsense"), None);
    }

    #[test]
    fn administrators_password_is_recognised_when_it_is_percent_encoded() {
        let mut administration = administration("http://root:a%2Fb@127.0.0.1:1");
        assert_eq!(administration.with_administrators_password(), None);
        administration.passwords.insert("console".to_owned(), "a/b".into());
        assert_eq!(administration.with_administrators_password(), Some("console"));
    }

    #[test]
    fn a_missing_setting_is_named_and_a_password_is_not_repeated() {
        let whole = administration("http://root:hidden@127.0.0.1:1");
        type Change = fn(&mut Administration);
        let changes: [(Change, &str); 6] = [
            (|a| *a.passwords.get_mut("console").unwrap() = "".into(), "rabbitmq.console_password is empty"),
            (|a| drop(a.passwords.remove("console")), "rabbitmq.console_password is empty"),
            (
                |a| a.management_url = "root:hidden@127.0.0.1".into(),
                "rabbitmq.management_url is not an address",
            ),
            (|a| a.management_url = "http://ro ot:hidden@127.0.0.1".into(), "rabbitmq.management_url is not"),
            (
                |a| a.management_url = "https://root:hidden@127.0.0.1".into(),
                "https://, which is not supported yet",
            ),
            (|_| (), "does not answer"),
        ];
        for (change, expected) in changes {
            let mut changed = whole.clone();
            change(&mut changed);
            let error = administer(&changed).unwrap_err();
            let (sentence, all) = (error.to_string(), format!("{error:?}"));
            assert!(sentence.contains(expected), "{sentence}");
            assert!(!sentence.contains("hidden") && !all.contains("hidden"), "a password is in {all:?}");
        }
    }
}
