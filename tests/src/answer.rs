//! Requests to a Blogs API, and their answers.

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::services::Running;

/// The password of every account that [`Running::account`] makes.
pub const PASSWORD: &str = "correct horse battery";

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON; null if it is empty, a string if it is not JSON.
    pub body: Value,
}

impl Answer {
    /// Sends a request and reads its answer to the end.
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        Self { status, headers, body }
    }

    /// A header's value, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts this status, whatever the body.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Asserts that it is a complete problem document with this status and the required headers.
    #[track_caller]
    pub fn refused(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.body["type"], "about:blank", "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        let title = StatusCode::from_u16(status).unwrap().canonical_reason();
        assert_eq!(self.body["title"].as_str(), title, "{self:?}");
        assert!(!self.detail().is_empty(), "{self:?}");
        let retry_after = self.header("retry-after").map(|seconds| seconds.parse::<u64>().unwrap());
        assert_eq!(retry_after.is_some_and(|seconds| seconds > 0), [429, 503].contains(&status), "{self:?}");
        assert_eq!(self.header("www-authenticate"), (status == 401).then_some("Bearer"), "{self:?}");
        assert_eq!(self.headers.contains_key("allow"), status == 405, "{self:?}");
        self
    }

    /// Asserts a problem document of this status that names exactly these fields, each with a reason.
    #[track_caller]
    pub fn names(self, status: u16, fields: &[&str]) -> Self {
        let answer = self.refused(status);
        let errors = answer.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named: Vec<&str> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{answer:?}");
        assert!(errors.iter().all(|error| !error["detail"].as_str().unwrap().is_empty()), "{answer:?}");
        answer
    }

    /// The detail of a problem document.
    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    /// The id of the object that was made or read.
    pub fn id(&self) -> i64 {
        self.body["id"].as_i64().unwrap_or_else(|| panic!("no id: {self:?}"))
    }

    /// A time in the body.
    pub fn time(&self, field: &str) -> Timestamp {
        self.body[field].as_str().unwrap().parse().unwrap()
    }

    /// Views, likes and shares, if the answer has them.
    pub fn totals(&self) -> [i64; 3] {
        totals(&self.body)
    }
}

impl Running {
    /// A request with or without an account.
    pub fn call(&self, method: Method, path: &str, token: Option<&str>) -> RequestBuilder {
        let request = self.request(method, path);
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// A GET.
    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        Answer::to(self.call(Method::GET, path, token)).await
    }

    /// A DELETE without a body.
    pub async fn delete(&self, path: &str, token: Option<&str>) -> Answer {
        Answer::to(self.call(Method::DELETE, path, token)).await
    }

    /// A POST without a body.
    pub async fn post(&self, path: &str, token: Option<&str>) -> Answer {
        Answer::to(self.call(Method::POST, path, token)).await
    }

    /// A POST.
    pub async fn post_json(&self, path: &str, token: Option<&str>, body: Value) -> Answer {
        Answer::to(self.call(Method::POST, path, token).json(&body)).await
    }

    /// A PATCH.
    pub async fn patch(&self, path: &str, token: Option<&str>, body: Value) -> Answer {
        Answer::to(self.call(Method::PATCH, path, token).json(&body)).await
    }

    /// Signs in.
    pub async fn sign_in(&self, handle: &str, password: &str) -> Answer {
        self.post_json("/v1/sessions", None, json!({"handle": handle, "password": password})).await
    }

    /// Makes a draft.
    pub async fn draft(&self, token: &str, title: &str) -> i64 {
        self.post_json("/v1/blogs", Some(token), json!({"title": title, "body": ""})).await.is(201).id()
    }

    /// A view of a visitor that the client names, by the `direct` path.
    pub async fn view(&self, blog: i64, visitor: &str) -> Answer {
        let view = self.request(Method::POST, &format!("/v1/blogs/{blog}/views"));
        Answer::to(view.header("X-Write-Path", "direct").json(&json!({"visitor": visitor}))).await
    }

    /// The totals of a live blog, as readers see them.
    pub async fn totals(&self, blog: i64) -> [i64; 3] {
        self.get(&format!("/v1/blogs/{blog}"), None).await.is(200).totals()
    }
}

/// Views, likes and shares.
pub fn totals(body: &Value) -> [i64; 3] {
    ["total_views", "total_likes", "total_shares"]
        .map(|name| body[name].as_i64().unwrap_or_else(|| panic!("{name} is not there: {body}")))
}
