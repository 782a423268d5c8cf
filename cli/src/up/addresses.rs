//! The addresses of servers and services, for people and for the services themselves.

use std::fmt::Write;

use anyhow::Context;
use comfy_table::{Cell, Table, presets};
use runtime::service::Address;
use tokio_postgres::Config;

use super::place::{Credentials, OPERATOR};
use super::servers::Servers;
use crate::demo::Demo;
use crate::running::Running;
use crate::schema;

/// Addresses that contain logins.
pub(super) struct Urls<'a> {
    administrator: &'a Config,
    credentials: &'a Credentials,
    servers: &'a Servers,
}

impl<'a> Urls<'a> {
    pub(super) fn new(administrator: &'a Config, credentials: &'a Credentials, servers: &'a Servers) -> Self {
        Self { administrator, credentials, servers }
    }

    /// Postgres with this role's login.
    pub(super) fn database(&self, role: &str) -> String {
        schema::url(self.administrator, role, self.credentials.password(role))
    }

    /// RabbitMQ with this user's login.
    ///
    /// # Errors
    /// If the administrator's address is invalid.
    pub(super) fn amqp(&self, user: &str) -> anyhow::Result<String> {
        broker::url_of(&self.servers.amqp_url, user, &self.credentials.password(user).into())
            .context("AMQP_URL is not an address such as amqp://user:password@host:5672/vhost")
    }

    /// What the operator's commands need to reach this system.
    pub(super) fn running(&self, api: String, view_window_s: u32) -> Running {
        Running {
            api,
            database_url: self.database(OPERATOR),
            import_signing_keys: self.credentials.import_keys().signing,
            view_window_s,
        }
    }

    /// What `up` prints when everything runs. The addresses that people need most come first, so the services are in reverse order.
    pub(super) fn table(&self, services: &[Address], api: &str, demo: &Demo) -> String {
        let newest_first = || services.iter().rev();
        let links = |service: &Address| {
            let entry = services::named(service.name);
            entry.map(|entry| entry.links(&service.url())).unwrap_or_default()
        };
        let operations =
            |service: &Address| (service.name, format!("{0}/readyz  {0}/metrics", service.operations_url()));
        let mut rows: Vec<_> = newest_first().flat_map(links).collect();
        rows.extend(newest_first().map(operations));
        rows.push(("Postgres (operator)", self.database(OPERATOR)));
        rows.push(("RabbitMQ", self.servers.amqp_url.clone()));
        let management = self.servers.shows_management.then_some(self.servers.management_url.as_str());
        if let Some((url, login)) = management.and_then(without_login) {
            rows.push(("RabbitMQ's pages", format!("{url}  login {login}")));
        }
        if let Some(author) = &demo.author {
            let password = &self.credentials.demo_password;
            rows.push(("demo account", format!("{author}  password {password}")));
        }
        // No borders, so that a line longer than the terminal can still be copied whole.
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for (what, address) in rows {
            table.add_row([Cell::new(what), Cell::new(address)]);
        }
        let mut text = format!("\n{table}\n\nTry it:\n");
        for command in trials(api, demo) {
            // Writing to a string cannot fail.
            let _infallible = writeln!(text, "  {command}");
        }
        text.push_str("\nCtrl-C stops everything and keeps the data.");
        text
    }
}

fn trials(api: &str, demo: &Demo) -> Vec<String> {
    let list = format!("curl -s '{api}/v1/blogs?sort=newest&limit=3'");
    match demo.blog_id {
        Some(id) => vec![
            list,
            format!(
                "curl -s -X POST {api}/v1/blogs/{id}/views -H 'content-type: application/json' -d '{{}}'"
            ),
            format!("curl -s {api}/v1/blogs/{id}"),
        ],
        None => vec![list],
    }
}

/// Splits `http://user:password@host` into `http://host` and `user / password`.
fn without_login(url: &str) -> Option<(String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let (login, host) = rest.split_once('@')?;
    let (user, password) = login.split_once(':')?;
    Some((format!("{scheme}://{host}"), format!("{user} / {password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_is_split_from_an_address() {
        assert_eq!(
            without_login("http://root:x1@127.0.0.1:15672"),
            Some(("http://127.0.0.1:15672".to_owned(), "root / x1".to_owned()))
        );
        assert_eq!(without_login("http://127.0.0.1:15672"), None);
    }
}
