//! Blocking requests to RabbitMQ's management API.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use ureq::RequestBuilder;
use ureq::http::header::AUTHORIZATION;
use ureq::http::{HeaderValue, Uri};

use super::AdministerError;

const PATIENCE: Duration = Duration::from_secs(30);
/// Larger than any answer about one of our exchanges, queues or users.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// The maximum length of RabbitMQ's reason in an error.
const REASON_CHARS_MAX: usize = 300;

/// An address split into host and login. The HTTP client would send the login without decoding it, and quote it in errors.
pub(super) struct Address<'a> {
    /// For example `host:15672`.
    place: &'a str,
    user: String,
    pub(super) password: SecretString,
}

impl<'a> Address<'a> {
    pub(super) fn of(url: &'a SecretString) -> Result<Self, AdministerError> {
        let text = url.expose_secret();
        if text.starts_with("https://") {
            return Err(AdministerError::Tls);
        }
        let parts = || {
            Uri::try_from(text).ok()?;
            let (login, place) = text.strip_prefix("http://")?.rsplit_once('@')?;
            let (user, password) = login.split_once(':')?;
            let decoded = |part| Some(percent_decode_str(part).decode_utf8().ok()?.into_owned());
            Some(Self { place, user: decoded(user)?, password: decoded(password)?.into() })
        };
        parts().ok_or(AdministerError::Address)
    }
}

pub(super) struct Management<'a> {
    agent: ureq::Agent,
    place: &'a str,
    authorization: HeaderValue,
}

impl<'a> Management<'a> {
    pub(super) fn new(url: &'a SecretString) -> Result<Self, AdministerError> {
        let Address { place, user, password } = Address::of(url)?;
        let login = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
        let mut authorization = HeaderValue::try_from(format!("Basic {login}"))
            .map_err(|_it_is_base64| AdministerError::Address)?;
        authorization.set_sensitive(true);
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None);
        // Without this setting an error status would be an `Err` without the body, which contains RabbitMQ's reason.
        Ok(Self { agent: config.http_status_as_error(false).build().into(), place, authorization })
    }

    /// Reads the object at a path; `None` if there is none.
    pub(super) fn get(&self, path: &str) -> Result<Option<Value>, AdministerError> {
        self.answer(&format!("read {path}"), self.with_login(self.agent.get(self.at(path))).call())
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Result<(), AdministerError> {
        self.sent(&format!("write {path}"), self.with_login(self.agent.put(self.at(path))).send_json(body))
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<(), AdministerError> {
        self.sent(&format!("add to {path}"), self.with_login(self.agent.post(self.at(path))).send_json(body))
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}/api/{path}", self.place.trim_end_matches('/'))
    }

    fn with_login<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        request.header(AUTHORIZATION, &self.authorization)
    }

    fn sent(&self, doing: &str, response: Response) -> Result<(), AdministerError> {
        let reason = || "not found: does the vhost exist?".to_owned();
        let refused = |reason| AdministerError::Refused { doing: doing.to_owned(), status: 404, reason };
        self.answer(doing, response)?.map(drop).ok_or_else(|| refused(reason()))
    }

    /// The body; None for a 404.
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

/// Characters that need no encoding anywhere in a URL.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Encodes a name as one path segment, or a password as part of an address.
pub(super) fn segment(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}
