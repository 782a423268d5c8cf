//! Where everything is, for people and for services.

use std::fmt::Write;

use anyhow::Context;
use comfy_table::{Cell, Table, presets};
use tokio_postgres::Config;

use super::place::Credentials;
use super::servers::Servers;
use crate::demo::Demo;
use crate::running::Running;
use crate::schema;

/// Where a service is, as base URLs.
pub(super) struct ServiceAddress {
    pub(super) name: &'static str,
    pub(super) url: String,
    /// For `/readyz` and `/metrics`.
    pub(super) operations: String,
}

/// RabbitMQ's addresses.
pub(super) struct Amqp {
    pub(super) blogs_api: String,
    pub(super) analytics_worker: String,
    pub(super) notification_worker: String,
    pub(super) console: String,
}

/// Addresses with logins in them.
pub(super) struct Urls {
    /// Postgres as the role of the Blogs API.
    pub(super) blogs_api: String,
    /// Postgres as the role of the Analytics workers.
    pub(super) analytics_worker: String,
    /// Postgres as the role of the notification workers.
    pub(super) notification_worker: String,
    /// Postgres as the role of the Recommendation API.
    pub(super) recommendation_api: String,
    /// Postgres as the role of the console.
    pub(super) console: String,
    /// RabbitMQ as the user of each service that uses it.
    pub(super) amqp: Amqp,
    /// RabbitMQ as its administrator.
    administrator_amqp: String,
    operator: String,
    management: Option<String>,
}

impl Urls {
    pub(super) fn new(
        administrator: &Config,
        credentials: &Credentials,
        servers: &Servers,
    ) -> anyhow::Result<Self> {
        let url = |role, password| schema::url(administrator, role, password);
        let amqp = |user, password: &str| {
            broker::url_of(&servers.amqp_url, user, &password.into())
                .context("AMQP_URL is not an address such as amqp://user:password@host:5672/vhost")
        };
        Ok(Self {
            blogs_api: url("blogs_api", &credentials.blogs_api_password),
            analytics_worker: url("analytics_worker", &credentials.analytics_worker_password),
            notification_worker: url("notification_worker", &credentials.notification_worker_password),
            recommendation_api: url("recommendation_api", &credentials.recommendation_api_password),
            console: url("console", &credentials.console_password),
            operator: url("operator", &credentials.operator_password),
            amqp: Amqp {
                blogs_api: amqp("blogs_api", &credentials.blogs_api_password)?,
                analytics_worker: amqp("analytics_worker", &credentials.analytics_worker_password)?,
                notification_worker: amqp("notification_worker", &credentials.notification_worker_password)?,
                console: amqp("console", &credentials.console_password)?,
            },
            administrator_amqp: servers.amqp_url.clone(),
            management: servers.shows_management.then(|| servers.management_url.clone()),
        })
    }

    /// What the operator's commands need to know.
    pub(super) fn running(&self, api: &str, import_signing_keys: &str, view_window_s: u32) -> Running {
        Running {
            api: api.to_owned(),
            database_url: self.operator.clone(),
            import_signing_keys: import_signing_keys.to_owned(),
            view_window_s,
        }
    }

    /// What `up` prints when everything runs.
    pub(super) fn table(
        &self,
        api: &ServiceAddress,
        console: &ServiceAddress,
        workers: &[ServiceAddress],
        demo: &Demo,
        demo_password: &str,
    ) -> String {
        let operations = |place: &ServiceAddress| format!("{0}/readyz  {0}/metrics", place.operations);
        let mut rows = vec![
            ("to read and write", format!("{}/", api.url)),
            ("to watch (console)", format!("{}/", console.url)),
            ("Blogs API", api.url.clone()),
            ("its documentation", format!("{}/docs", api.url)),
            ("its description", format!("{}/openapi.json", api.url)),
        ];
        if let Some(ServiceAddress { url, .. }) =
            workers.iter().find(|place| place.name == "recommendation-api")
        {
            rows.push(("Recommendation API", format!("{url}/v1/trending  {url}/docs")));
        }
        rows.extend([api, console].into_iter().chain(workers).map(|place| (place.name, operations(place))));
        rows.push(("Postgres (operator)", self.operator.clone()));
        rows.push(("RabbitMQ", self.administrator_amqp.clone()));
        if let Some((url, login)) = self.management.as_deref().and_then(without_login) {
            rows.push(("RabbitMQ's pages", format!("{url}  login {login}")));
        }
        if let Some(author) = &demo.author {
            rows.push(("demo account", format!("{author}  password {demo_password}")));
        }
        // No borders: a line that is longer than the terminal stays whole and can be copied.
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for (what, address) in rows {
            table.add_row([Cell::new(what), Cell::new(address)]);
        }
        let mut text = format!("\n{table}\n\nTry it:\n");
        for command in trials(&api.url, demo) {
            // Writing to a string does not fail.
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

/// `http://user:password@host` as `http://host` and `user password`.
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
    fn a_login_is_taken_out_of_an_address() {
        assert_eq!(
            without_login("http://root:x1@127.0.0.1:15672"),
            Some(("http://127.0.0.1:15672".to_owned(), "root / x1".to_owned()))
        );
        assert_eq!(without_login("http://127.0.0.1:15672"), None);
    }
}
