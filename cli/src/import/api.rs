//! The Blogs API as an import uses it: it is asked again, with the same request, while it cannot take one.
//!
//! That is safe, since every event has a key and every made blog a path of its own. When nothing at all has been
//! taken for two minutes the import fails; run again, it goes on where it stopped.

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

/// How to come by a token.
pub(super) const TOKEN: &str = "an import needs a token with the scope import: `commonplace token --handle HANDLE --scope import` \
     prints one, which is good for an hour; give it with --token or as COMMONPLACE_TOKEN. An import that is run again goes on \
     where it stopped";

/// Longer than the API takes to give up by itself.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
const TAKEN_WITHIN: Duration = Duration::from_secs(120);
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longest pause that the API may ask for.
const RETRY_AFTER_MAX_S: u64 = 60;

/// A view on its way.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    pub(super) r#type: &'static str,
    pub(super) blog_id: i64,
    pub(super) visitor: String,
    pub(super) occurred_at: jiff::Timestamp,
    pub(super) key: String,
}

/// What became of a batch.
#[derive(Debug, Deserialize)]
pub(super) struct BatchAnswer {
    pub(super) accepted: u64,
    /// Not known on the message path.
    pub(super) counted: Option<u64>,
    /// As `counted`.
    pub(super) repeat: Option<u64>,
    pub(super) rejected: Vec<Rejected>,
}

/// An event that the API does not take.
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

/// How long nothing has been taken.
#[derive(Debug)]
struct Patience {
    last_taken: Instant,
    /// Why it was tried again, as it was last told.
    told: String,
}

/// Where the views go.
#[derive(Debug)]
pub(super) struct Api {
    http: reqwest::Client,
    url: String,
    token: SecretString,
    /// Ask for the direct path.
    is_direct: AtomicBool,
    patience: Mutex<Patience>,
    progress: Progress,
}

impl Api {
    /// # Errors
    /// When the address cannot be one of the API.
    pub(super) fn new(
        url: &str,
        token: SecretString,
        is_direct: bool,
        progress: Progress,
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWERED_WITHIN).build()?;
        let parsed = Url::parse(url).with_context(|| format!("{url} is no address of an API"))?;
        ensure!(
            parsed.scheme() == "http",
            "{url}: only http:// is spoken here; run this where the Blogs API listens, or through a tunnel to it"
        );
        let url = url.trim_end_matches('/').to_owned();
        let patience = Mutex::new(Patience { last_taken: Instant::now(), told: String::new() });
        Ok(Self { http, url, token, is_direct: AtomicBool::new(is_direct), patience, progress })
    }

    /// The live blogs of these paths, at most 1000.
    ///
    /// # Errors
    /// What the API said.
    pub(super) async fn blogs(&self, paths: &[String]) -> anyhow::Result<HashMap<String, i64>> {
        let answer = self.ask(self.post("/v1/source-paths").json(&json!({ "paths": paths }))).await?;
        let SourceBlogs { items } = answer.good("looking paths up")?;
        Ok(items.into_iter().map(|blog| (blog.source_path, blog.blog_id)).collect())
    }

    /// Makes the blog of a path and shows it to readers. None if the path has one, which may not be live.
    ///
    /// # Errors
    /// What the API said.
    pub(super) async fn make_blog(&self, path: &str, title: &str, body: &str) -> anyhow::Result<Option<i64>> {
        let blog = json!({ "title": title, "body": body, "publish": true, "source_path": path });
        let answer = self.ask(self.post("/v1/blogs").json(&blog)).await?;
        if answer.status == StatusCode::CONFLICT {
            return Ok(None);
        }
        let Blog { id } = answer.good(&format!("making the blog of {path}"))?;
        Ok(Some(id))
    }

    /// Sends views. Where the direct path is not to be had, they go by the message path from then on.
    ///
    /// # Errors
    /// What the API said.
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
                "{why}; going on by the message path, where it is not known at once how many views are counted and \
                 how many repeat others"
            ));
        }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).bearer_auth(self.token.expose_secret())
    }

    /// Sends a request until there is an answer that asking again would not change.
    async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let request = request.build().context("making a request; is the token one?")?;
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

    /// Fails when that has gone on for too long; says why it is tried again, unless that is what was last said.
    fn not_taken(&self, began: Instant, why: &str) -> anyhow::Result<()> {
        let mut patience = self.patience();
        if patience.last_taken.max(began).elapsed() > TAKEN_WITHIN {
            bail!(
                "the Blogs API at {} has taken nothing for two minutes ({why}). What it has taken is counted; running \
                 the same command again goes on where this one stopped, and counts nothing twice",
                self.url
            );
        }
        if patience.told != why {
            why.clone_into(&mut patience.told);
            self.progress.note(format_args!(
                "the Blogs API at {} does not take this just now ({why}); trying again",
                self.url
            ));
        }
        Ok(())
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the API said.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: String,
}

impl Answer {
    /// Too many requests, or not just now; also what a proxy says for an API that is away.
    fn may_change(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 502 | 503 | 504)
    }

    /// With what helps, should asking again never do.
    fn why_not(&self) -> String {
        let hint = match self.status {
            StatusCode::TOO_MANY_REQUESTS => {
                "; a batch above the rate limit is never taken: lower --batch then"
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

    /// The problem's sentence, or the body if it is none.
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
    fn too_many_requests_says_what_helps() {
        let answer = |status| Answer { status, retry_after: None, body: r#"{"detail":"wait"}"#.to_owned() };
        let too_many = answer(StatusCode::TOO_MANY_REQUESTS);
        assert!(too_many.may_change() && too_many.why_not().contains("lower --batch"), "{too_many}");
        let away = answer(StatusCode::SERVICE_UNAVAILABLE);
        assert!(away.may_change() && away.why_not().ends_with(": wait"), "{away}");
    }
}
