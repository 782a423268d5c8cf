//! The demo: a few authors, their blogs and some readers, loaded through the public API.
//!
//! It is loaded once, into an API that has no blogs yet. Every request is idempotent (accounts by handle, blogs and
//! shares by key, views by visitor, likes by themselves), so an interrupted load is run again; a file on disk shows
//! that one was interrupted.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

const DEMO: &str = include_str!("demo/demo.toml");
/// How long the last event may take to show in the counters.
const COUNTED_WITHIN: Duration = Duration::from_secs(30);
const COUNTED_POLL: Duration = Duration::from_millis(50);
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// What the user can try.
#[derive(Debug)]
pub(crate) struct Demo {
    /// The handle of an author with the demo's password.
    pub(crate) author: Option<String>,
    /// A blog to look at.
    pub(crate) blog_id: Option<i64>,
    loaded: Option<Loaded>,
}

/// The result of a load.
#[derive(Debug)]
struct Loaded {
    authors: usize,
    blogs: usize,
    events: i64,
    notifications: i64,
    took: Duration,
}

impl fmt::Display for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.loaded {
            None => f.write_str("no demo loaded: there are blogs already"),
            Some(Loaded { authors, blogs, events, notifications, took }) => write!(
                f,
                "demo loaded: {authors} authors, {blogs} blogs, {events} events accepted and counted, {notifications} \
                 notifications, in {:.1} s",
                took.as_secs_f64()
            ),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    authors: Vec<Author>,
    blogs: Vec<Blog>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Author {
    handle: String,
    email: String,
    /// Handles of the authors whom this author follows.
    follows: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Blog {
    author: String,
    title: String,
    body: String,
    tags: Vec<String>,
    views: i64,
    likes: Vec<String>,
    shares: Vec<String>,
}

/// The counters of one blog: views, likes, shares.
type Totals = [i64; 3];

/// Loads the demo unless there are blogs, and waits until the counters contain every event of it. The file `unfinished`
/// exists while this runs.
///
/// # Errors
/// The failed request with the API's answer, or the counters that are still too low after 30 s.
pub(crate) async fn load(api: &str, password: &str, unfinished: &Path) -> anyhow::Result<Demo> {
    let started = Instant::now();
    let script: Script = toml::from_str(DEMO).context("reading the demo")?;
    let client = Client::new(api)?;
    let newest = client.newest().await?;
    if newest.is_some() && !unfinished.exists() {
        let author = client.first_author(&script, password).await?;
        return Ok(Demo { author, blog_id: newest, loaded: None });
    }
    fs::write(unfinished, "").with_context(|| format!("writing {}", unfinished.display()))?;
    let tokens = client.authors(&script, password).await?;
    let (ids, authors) = client.blogs(&script, &tokens).await?;
    client.follows(&script, &authors, &tokens).await?;
    client.publish(&script, &ids, &tokens).await?;
    let expected: BTreeMap<i64, Totals> =
        ids.iter().zip(&script.blogs).map(|(id, blog)| (*id, blog.totals())).collect();
    client.views(&script, &ids).await?;
    client.likes_and_shares(&script, &ids, &tokens).await?;
    client.until_counted(&expected).await?;
    client.until_told(&script, &tokens).await?;
    match fs::remove_file(unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("deleting {}", unfinished.display()));
        }
        _ => {}
    }
    Ok(Demo {
        author: script.authors.first().map(|author| author.handle.clone()),
        blog_id: ids.first().copied(),
        loaded: Some(Loaded {
            authors: script.authors.len(),
            blogs: ids.len(),
            events: expected.values().flatten().sum(),
            notifications: script.authors.iter().map(|author| script.told(author)).sum(),
            took: started.elapsed(),
        }),
    })
}

impl Script {
    /// The number of blogs that an author is notified of: those of the authors whom they follow.
    fn told(&self, author: &Author) -> i64 {
        let told = self.blogs.iter().filter(|blog| author.follows.contains(&blog.author)).count();
        i64::try_from(told).unwrap_or(i64::MAX)
    }
}

impl Blog {
    fn totals(&self) -> Totals {
        let count = |list: &[String]| i64::try_from(list.len()).unwrap_or(i64::MAX);
        [self.views, count(&self.likes), count(&self.shares)]
    }
}

/// A client of the API.
struct Client {
    http: reqwest::Client,
    api: String,
}

impl Client {
    fn new(api: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST_WITHIN).build()?;
        Ok(Self { http, api: api.to_owned() })
    }

    async fn newest(&self) -> anyhow::Result<Option<i64>> {
        let page = self.ask(Method::GET, "/v1/blogs?sort=newest&limit=1", |request| request).await?;
        Ok(page.pointer("/items/0/id").and_then(Value::as_i64))
    }

    /// The first author's handle, if that author can sign in with this password.
    async fn first_author(&self, script: &Script, password: &str) -> anyhow::Result<Option<String>> {
        let Some(author) = script.authors.first() else { return Ok(None) };
        let body = json!({ "handle": author.handle, "password": password });
        let response = self.http.post(format!("{}/v1/sessions", self.api)).json(&body).send().await?;
        Ok(response.status().is_success().then(|| author.handle.clone()))
    }

    /// A token for each author, by handle. An author who already has an account signs in.
    async fn authors(&self, script: &Script, password: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let mut tokens = BTreeMap::new();
        for Author { handle, email, .. } in &script.authors {
            let account = json!({ "handle": handle, "email": email, "password": password });
            let response = self.http.post(format!("{}/v1/accounts", self.api)).json(&account).send().await?;
            if response.status() != StatusCode::CONFLICT {
                answered(&format!("making the account {handle}"), response).await?;
            }
            let session = json!({ "handle": handle, "password": password });
            let session = self.ask(Method::POST, "/v1/sessions", |request| request.json(&session)).await?;
            let token = session.get("token").and_then(Value::as_str).context("the session has no token")?;
            tokens.insert(handle.clone(), token.to_owned());
        }
        Ok(tokens)
    }

    /// The blogs' ids, in the order of the script, and the authors' by handle. The blogs are drafts at first,
    /// because an account is notified only of blogs that are published after it follows their author.
    async fn blogs(
        &self,
        script: &Script,
        tokens: &BTreeMap<String, String>,
    ) -> anyhow::Result<(Vec<i64>, BTreeMap<String, i64>)> {
        let (mut ids, mut authors) = (Vec::new(), BTreeMap::new());
        for (index, blog) in script.blogs.iter().enumerate() {
            let Blog { author, title, body, tags, .. } = blog;
            let blog = json!({ "title": title, "body": body, "tags": tags });
            let created = self
                .ask(Method::POST, "/v1/blogs", |request| {
                    let request = request.header("idempotency-key", format!("demo-draft-{index}"));
                    signed(request, tokens, author).json(&blog)
                })
                .await?;
            let id = |pointer| created.pointer(pointer).and_then(Value::as_i64);
            ids.push(id("/id").context("the blog has no id")?);
            authors.insert(author.clone(), id("/author/id").context("the author has no id")?);
        }
        Ok((ids, authors))
    }

    async fn follows(
        &self,
        script: &Script,
        authors: &BTreeMap<String, i64>,
        tokens: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        for Author { handle, follows, .. } in &script.authors {
            for id in follows.iter().filter_map(|followed| authors.get(followed)) {
                let path = format!("/v1/accounts/{id}/follow");
                self.ask(Method::PUT, &path, |request| signed(request, tokens, handle)).await?;
            }
        }
        Ok(())
    }

    async fn publish(
        &self,
        script: &Script,
        ids: &[i64],
        tokens: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        for (id, blog) in ids.iter().zip(&script.blogs) {
            let path = format!("/v1/blogs/{id}/publish");
            self.ask(Method::POST, &path, |request| signed(request, tokens, &blog.author)).await?;
        }
        Ok(())
    }

    /// Sends one view of each of the script's visitors, in one request per blog.
    async fn views(&self, script: &Script, ids: &[i64]) -> anyhow::Result<()> {
        for (id, blog) in ids.iter().zip(&script.blogs) {
            let view = |n| json!({ "type": "blog.viewed", "blog_id": id, "visitor": format!("demo-{n}") });
            let events: Vec<Value> = (0..blog.views).map(view).collect();
            let answer = self.ask(Method::POST, "/v1/engagement", |request| request.json(&events)).await?;
            if answer.get("accepted").and_then(Value::as_i64) != Some(blog.views) {
                bail!("the API did not accept every view of the demo: {answer}");
            }
        }
        Ok(())
    }

    async fn likes_and_shares(
        &self,
        script: &Script,
        ids: &[i64],
        tokens: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        for (id, blog) in ids.iter().zip(&script.blogs) {
            for reader in &blog.likes {
                let path = format!("/v1/blogs/{id}/like");
                self.ask(Method::PUT, &path, |request| signed(request, tokens, reader)).await?;
            }
            for (index, channel) in blog.shares.iter().enumerate() {
                let path = format!("/v1/blogs/{id}/shares");
                self.ask(Method::POST, &path, |request| {
                    let request = request.header("idempotency-key", format!("demo-share-{index}"));
                    request.json(&json!({ "channel": channel }))
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Polls each blog until its counters reach the demo's totals.
    async fn until_counted(&self, expected: &BTreeMap<i64, Totals>) -> anyhow::Result<()> {
        let deadline = Instant::now() + COUNTED_WITHIN;
        for (id, expected) in expected {
            loop {
                let blog = self.ask(Method::GET, &format!("/v1/blogs/{id}"), |request| request).await?;
                let total = |name| blog.get(name).and_then(Value::as_i64).unwrap_or_default();
                let counted: Totals = ["total_views", "total_likes", "total_shares"].map(total);
                if counted.iter().zip(expected).all(|(counted, expected)| counted >= expected) {
                    break;
                }
                if Instant::now() > deadline {
                    bail!("blog {id} shows {counted:?} views, likes and shares; {expected:?} were accepted");
                }
                tokio::time::sleep(COUNTED_POLL).await;
            }
        }
        Ok(())
    }

    /// Polls each inbox until it contains a notification for each of the demo's blogs.
    async fn until_told(&self, script: &Script, tokens: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let deadline = Instant::now() + COUNTED_WITHIN;
        for author in &script.authors {
            let (handle, expected) = (&author.handle, script.told(author));
            loop {
                let path = "/v1/notifications?limit=1";
                let inbox = self.ask(Method::GET, path, |request| signed(request, tokens, handle)).await?;
                let unread = inbox.get("unread").and_then(Value::as_i64).unwrap_or_default();
                if unread >= expected {
                    break;
                }
                if Instant::now() > deadline {
                    bail!("{handle} has {unread} notifications of {expected}");
                }
                tokio::time::sleep(COUNTED_POLL).await;
            }
        }
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> anyhow::Result<Value> {
        let doing = format!("{method} {path}");
        let request = with(self.http.request(method, format!("{}{path}", self.api)));
        answered(&doing, request.send().await.with_context(|| doing.clone())?).await
    }
}

/// The body of a successful answer, or null if it is empty. An error answer becomes an error with its body.
async fn answered(doing: &str, response: reqwest::Response) -> anyhow::Result<Value> {
    let status = response.status();
    let body = response.text().await.with_context(|| doing.to_owned())?;
    if !status.is_success() {
        bail!("{doing} was answered {status}: {body}");
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&body).with_context(|| format!("{doing} was answered with {body:?}"))
}

fn signed(request: RequestBuilder, tokens: &BTreeMap<String, String>, handle: &str) -> RequestBuilder {
    match tokens.get(handle) {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_only_its_own_authors_and_known_channels() {
        let script: Script = toml::from_str(DEMO).unwrap();
        let known = |handle: &String| script.authors.iter().any(|author| author.handle == *handle);
        for author in &script.authors {
            let writes = |handle: &String| script.blogs.iter().any(|blog| blog.author == *handle);
            assert!(author.follows.iter().all(writes), "{}", author.handle);
            assert!(!author.follows.contains(&author.handle), "{}", author.handle);
        }
        for blog in &script.blogs {
            assert!(known(&blog.author) && blog.likes.iter().all(known), "{}", blog.title);
            assert!((1..=1000).contains(&blog.views), "one request a blog: {}", blog.title);
            for channel in &blog.shares {
                channel.parse::<events::Channel>().unwrap();
            }
        }
    }
}
