//! Requests to RabbitMQ's management API. They block.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::AdministerError;

const PATIENCE: Duration = Duration::from_secs(30);
/// More than any answer about one of our exchanges, queues or users takes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// What is repeated of RabbitMQ's reason for a refusal.
const REASON_CHARS_MAX: usize = 300;

pub(super) struct Management<'a> {
    agent: ureq::Agent,
    /// With the administrator's login in it, so it is never part of an error.
    url: &'a SecretString,
}

impl<'a> Management<'a> {
    pub(super) fn new(url: &'a SecretString) -> Result<Self, AdministerError> {
        let text = url.expose_secret();
        let is_complete = text.strip_prefix("http://").and_then(|rest| rest.split_once('@')).is_some();
        if !is_complete || ureq::http::Uri::try_from(text).is_err() {
            return Err(AdministerError::Address);
        }
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None);
        // RabbitMQ says in the body why it refuses.
        Ok(Self { agent: config.http_status_as_error(false).build().into(), url })
    }

    /// What is at a path, or `None`.
    pub(super) fn get(&self, path: &str) -> Result<Option<Value>, AdministerError> {
        self.answer(&format!("read {path}"), self.agent.get(self.at(path)).call())
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Result<(), AdministerError> {
        self.sent(&format!("write {path}"), self.agent.put(self.at(path)).send_json(body))
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<(), AdministerError> {
        self.sent(&format!("add to {path}"), self.agent.post(self.at(path)).send_json(body))
    }

    fn at(&self, path: &str) -> String {
        format!("{}/api/{path}", self.url.expose_secret().trim_end_matches('/'))
    }

    fn sent(&self, doing: &str, response: Response) -> Result<(), AdministerError> {
        let reason = || "there is no such thing: does the vhost exist?".to_owned();
        let refused = |reason| AdministerError::Refused { doing: doing.to_owned(), status: 404, reason };
        self.answer(doing, response)?.map(drop).ok_or_else(|| refused(reason()))
    }

    /// The body; nothing for a 404.
    fn answer(&self, doing: &str, response: Response) -> Result<Option<Value>, AdministerError> {
        let away = |source| AdministerError::Away { doing: doing.to_owned(), source: Box::new(source) };
        let mut response = response.map_err(away)?;
        let status = response.status().as_u16();
        if status == 404 {
            return Ok(None);
        }
        let text =
            response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(away)?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if response.status().is_success() {
            return Ok(Some(body));
        }
        let reason = body.get("reason").and_then(Value::as_str).unwrap_or("no reason given");
        let reason = reason.chars().take(REASON_CHARS_MAX).collect();
        Err(AdministerError::Refused { doing: doing.to_owned(), status, reason })
    }
}

type Response = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

/// What a URL may hold as it is anywhere.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A name as one segment of a path, or a password as part of an address.
pub(super) fn segment(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}
