//! Requests to RabbitMQ's management API.

use std::time::Duration;

use serde::Deserialize;

use super::configuration::USER;
use crate::error::Error;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Management {
    agent: ureq::Agent,
    /// The URL, with the credentials.
    url: String,
}

/// The node's description of itself.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Overview {
    pub(crate) rabbitmq_version: String,
    pub(crate) erlang_version: String,
}

#[derive(Debug, Deserialize)]
struct Vhost {
    name: String,
}

impl Management {
    pub(crate) fn new(url: String) -> Self {
        // No proxy: the node is on this machine.
        let agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None).build().into();
        Self { agent, url }
    }

    pub(crate) fn overview(&self) -> Result<Overview, Error> {
        let read = || self.agent.get(format!("{}/api/overview", self.url)).call()?.body_mut().read_json();
        read().map_err(failed("read the overview"))
    }

    pub(crate) fn create_vhost(&self, name: &str) -> Result<(), Error> {
        let path = encode(name);
        let everything = serde_json::json!({ "configure": ".*", "write": ".*", "read": ".*" });
        self.put(&format!("vhosts/{path}"), &serde_json::json!({}))
            .and_then(|()| self.put(&format!("permissions/{path}/{USER}"), &everything))
            .map_err(failed(&format!("create the vhost {name}")))
    }

    pub(crate) fn delete_vhost(&self, name: &str) -> Result<(), Error> {
        let url = format!("{}/api/vhosts/{}", self.url, encode(name));
        self.agent.delete(url).call().map(drop).map_err(failed(&format!("delete the vhost {name}")))
    }

    /// The names of all vhosts.
    pub(crate) fn vhosts(&self) -> Result<Vec<String>, Error> {
        let read = || self.agent.get(format!("{}/api/vhosts", self.url)).call()?.body_mut().read_json();
        let vhosts: Vec<Vhost> = read().map_err(failed("list the vhosts"))?;
        Ok(vhosts.into_iter().map(|vhost| vhost.name).collect())
    }

    fn put(&self, path: &str, body: &serde_json::Value) -> Result<(), ureq::Error> {
        self.agent.put(format!("{}/api/{path}", self.url)).send_json(body).map(drop)
    }
}

fn failed(doing: &str) -> impl FnOnce(ureq::Error) -> Error {
    let doing = doing.to_owned();
    |source| Error::Management { doing, source: Box::new(source) }
}

/// Percent-encodes a vhost's name for use as one segment of a path.
pub(crate) fn encode(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_one_segment() {
        assert_eq!(encode("/"), "%2F");
        assert_eq!(encode("test-1_a.b"), "test-1_a.b");
        assert_eq!(encode("a b/ü"), "a%20b%2F%C3%BC");
    }
}
