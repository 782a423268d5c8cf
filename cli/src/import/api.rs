//! A client of the Blogs API that retries a request while the API cannot accept it.
//!
//! A retry is safe, because every event has a key and every new blog a path of its own. The import fails if the API has
//! accepted nothing for two minutes; run again, it continues where it stopped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use reqwest::header::RETRY_AFTER;
use reqwest::{Request, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::progress::Progress;

/// How to get a token.
pub(super) const TOKEN: &str = "an import needs a token with the scope import: `commonplace token --handle HANDLE --scope import` \
     prints one, which is valid for an hour; pass it with --token or as COMMONPLACE_TOKEN. An import that is run again continues \
     where it stopped";

/// Longer than the API's own request timeout.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
const TAKEN_WITHIN: Duration = Duration::from_secs(120);
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longest pause (Retry-After) that the client accepts.
const RETRY_AFTER_MAX_S: u64 = 60;

/// A view in a request.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    pub(super) r#type: &'static str,
    pub(super) blog_id: i64,
    pub(super) visitor: String,
    pub(super) occurred_at: jiff::Timestamp,
    pub(super) key: String,
}

/// The result of a batch.
#[derive(Debug, Deserialize)]
pub(super) struct BatchAnswer {
    pub(super) accepted: u64,
    /// None on the message path.
    pub(super) counted: Option<u64>,
    /// Events that repeat counted ones; none on the message path.
    pub(super) repeat: Option<u64>,
    pub(super) rejected: Vec<Rejected>,
}

/// An event that the API rejected.
#[derive(Debug, Deserialize)]
pub(super) struct Rejected {
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
struct SourceBlogs {
    items: Vec<SourceBlog>,
}

#[derive(Debug, Deserialize)]
struct SourceBlog {
    source_path: String,
    blog_id: i64,
}

#[derive(Debug, Deserialize)]
struct Blog {
    id: i64,
}

/// Tracks how long the API has accepted nothing.
#[derive(Debug)]
struct Patience {
    last_taken: Instant,
    /// The last reported reason for a retry.
    told: String,
}

/// The API to which the views are sent.
#[derive(Debug)]
pub(super) struct Api {
    http: reqwest::Client,
    url: String,
    token: SecretString,
    /// True while requests ask for the direct path.
    is_direct: AtomicBool,
    patience: Mutex<Patience>,
    progress: Progress,
}

impl Api {
    /// # Errors
    /// If the address is invalid.
    pub(super) fn new(
        url: &str,
        token: SecretString,
        is_direct: bool,
        progress: Progress,
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWERED_WITHIN).build()?;
        let parsed = Url::parse(url).with_context(|| format!("{url} is not the address of an API"))?;
        ensure!(
            parsed.scheme() == "http",
            "{url}: only http:// is supported; run the command on the machine of the Blogs API, or through a tunnel to it"
        );
        let url = url.trim_end_matches('/').to_owned();
        let patience = Mutex::new(Patience { last_taken: Instant::now(), told: String::new() });
        Ok(Self { http, url, token, is_direct: AtomicBool::new(is_direct), patience, progress })
    }

    /// The live blogs of these paths, at most 1000.
    ///
    /// # Errors
    /// The error of the API.
    pub(super) async fn blogs(&self, paths: &[String]) -> anyhow::Result<HashMap<String, i64>> {
        let answer = self.ask(self.post("/v1/source-paths").json(&json!({ "paths": paths }))).await?;
        let SourceBlogs { items } = answer.good("looking paths up")?;
        Ok(items.into_iter().map(|blog| (blog.source_path, blog.blog_id)).collect())
    }

    /// Makes and publishes the blog of a path. None if the path already has a blog, which may not be live.
    ///
    /// # Errors
    /// The error of the API.
    pub(super) async fn make_blog(&self, path: &str, title: &str, body: &str) -> anyhow::Result<Option<i64>> {
        let blog = json!({ "title": title, "body": body, "publish": true, "source_path": path });
        let answer = self.ask(self.post("/v1/blogs").json(&blog)).await?;
        if answer.status == StatusCode::CONFLICT {
            return Ok(None);
        }
        let Blog { id } = answer.good(&format!("making the blog of {path}"))?;
        Ok(Some(id))
    }

    /// Sends views. If the direct path is unavailable, this and later batches use the message path.
    ///
    /// # Errors
    /// The error of the API.
    pub(super) async fn engage(&self, events: &[Event]) -> anyhow::Result<BatchAnswer> {
        let request = || self.post("/v1/engagement").json(events);
        if self.is_direct.load(Ordering::Relaxed) {
            let answer = self.ask(request().header("X-Write-Path", "direct")).await?;
            if answer.status != StatusCode::BAD_REQUEST {
                let answer: BatchAnswer = answer.good("sending views")?;
                if answer.counted.is_none() {
                    self.not_direct("this API does not let a request choose its write path");
                }
                return Ok(answer);
            }
            self.not_direct(&answer.detail());
        }
        self.ask(request()).await?.good("sending views")
    }

    fn not_direct(&self, why: &str) {
        if self.is_direct.swap(false, Ordering::Relaxed) {
            self.progress.note(format_args!(
                "{why}; using the message path, which does not report how many views are counted and how many are \
                repeats"
            ));
        }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).bearer_auth(self.token.expose_secret())
    }

    /// Sends a request until its answer is final, that is, until a retry would not change it.
    async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let request = request.build().context("making a request; is the token valid?")?;
        let began = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let again = request.try_clone().context("the request cannot be copied")?;
            let (why, wait) = match self.once(again).await {
                Ok(answer) if answer.may_change() => (answer.why_not(), answer.retry_after),
                Ok(answer) => {
                    self.patience().last_taken = Instant::now();
                    answer.allowed()?;
                    return Ok(answer);
                }
                Err(error) => (format!("{:#}", anyhow::Error::from(error.without_url())), None),
            };
            self.not_taken(began, &why)?;
            tokio::time::sleep(wait.unwrap_or(pause)).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
    }

    async fn once(&self, request: Request) -> reqwest::Result<Answer> {
        let response = self.http.execute(request).await?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        Ok(Answer { status, retry_after, body: response.text().await? })
    }

    /// Fails if the API has accepted nothing for too long. Otherwise reports the reason for the retry, unless it was reported last.
    fn not_taken(&self, began: Instant, why: &str) -> anyhow::Result<()> {
        let mut patience = self.patience();
        if patience.last_taken.max(began).elapsed() > TAKEN_WITHIN {
            bail!(
                "the Blogs API at {} has accepted nothing for two minutes ({why}). What it accepted before is counted; \
                run the same command again to continue where this one stopped, without counting anything twice",
                self.url
            );
        }
        if patience.told != why {
            why.clone_into(&mut patience.told);
            self.progress.note(format_args!(
                "the Blogs API at {} cannot accept views now ({why}); retrying",
                self.url
            ));
        }
        Ok(())
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer of the API.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: String,
}

impl Answer {
    /// True for a status that a retry may change: too many requests, unavailable, or a proxy's status for an API that is down.
    fn may_change(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 502 | 503 | 504)
    }

    /// The answer, with a hint for the case that retries never help.
    fn why_not(&self) -> String {
        let hint = match self.status {
            StatusCode::TOO_MANY_REQUESTS => {
                "; a batch larger than the rate limit is never accepted: lower --batch"
            }
            _ => "",
        };
        format!("{self}{hint}")
    }

    fn allowed(&self) -> anyhow::Result<()> {
        if matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            bail!("the Blogs API answered {self}; {TOKEN}");
        }
        Ok(())
    }

    fn good<T: DeserializeOwned>(&self, doing: &str) -> anyhow::Result<T> {
        if !self.status.is_success() {
            bail!("{doing}: the Blogs API answered {self}");
        }
        serde_json::from_str(&self.body)
            .with_context(|| format!("{doing}: the Blogs API answered with {:?}", self.body))
    }

    /// The detail of the problem document, or the body if it is not one.
    fn detail(&self) -> String {
        let problem: Option<Value> = serde_json::from_str(&self.body).ok();
        let detail = problem.as_ref().and_then(|problem| problem.get("detail")).and_then(Value::as_str);
        detail.unwrap_or(self.body.trim()).to_owned()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status, self.detail())
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_requests_hints_at_a_smaller_batch() {
        let answer = |status| Answer { status, retry_after: None, body: r#"{"detail":"wait"}"#.to_owned() };
        let too_many = answer(StatusCode::TOO_MANY_REQUESTS);
        assert!(too_many.may_change() && too_many.why_not().contains("lower --batch"), "{too_many}");
        let away = answer(StatusCode::SERVICE_UNAVAILABLE);
        assert!(away.may_change() && away.why_not().ends_with(": wait"), "{away}");
    }
}
