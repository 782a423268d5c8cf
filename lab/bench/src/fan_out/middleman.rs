//! The contrast to the shared database: one service's API is the only way to followers, another's the only way to
//! inboxes.
//!
//! Two endpoints, like those of a follower service and a notification service, use Postgres with the roles of such
//! services. The middleman fetches a page of followers from one, sends it to the other in one request, and fetches the next
//! page, over keep-alive connections. It has every advantage: the endpoints run in its own process, without
//! authentication; each page is one query along the key and each batch one insert; and it stores no progress. The naive
//! middleman sends a request for each follower.

use std::net::SocketAddr;

use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use database::{Pool, Statement, statement};
use jiff::Timestamp;
use load::{Broken, Connection};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const MIDDLEMAN_FOLLOWERS: Statement = statement!("middleman_followers.sql");
const MIDDLEMAN_NOTIFY: Statement = statement!("middleman_notify.sql");

/// Room for the largest page: 20 digits and a comma for each follower.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Most followers of a page.
pub const PAGE_MAX: u32 = 100_000;
/// Page size of the naive middleman's reads.
const NAIVE_PAGE: u32 = 100;

/// Both endpoints on one address.
pub(crate) struct Endpoints {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinSet<std::io::Result<()>>,
}

/// The recipients and the blog.
#[derive(Debug, Clone, Copy)]
pub(crate) struct News {
    pub(crate) author_id: i64,
    pub(crate) blog_id: i64,
    pub(crate) published_at: Timestamp,
}

#[derive(Debug, Deserialize)]
struct PageQuery {
    author_id: i64,
    after: i64,
    before: Timestamp,
    limit: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Page {
    items: Vec<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    blog_id: i64,
    published_at: Timestamp,
    recipients: Vec<i64>,
}

impl Endpoints {
    pub(crate) async fn start(pool: Pool) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/followers", get(list))
            .route("/notifications", post(notify))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(pool);
        let shutdown = CancellationToken::new();
        let mut server = JoinSet::new();
        let ends = shutdown.clone().cancelled_owned();
        server.spawn(axum::serve(listener, router).with_graceful_shutdown(ends).into_future());
        Ok(Self { address, shutdown, server })
    }

    /// Ends the endpoints and their database connections.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        while self.server.join_next().await.is_some() {}
    }
}

async fn list(State(pool): State<Pool>, Query(query): Query<PageQuery>) -> Result<Json<Page>, StatusCode> {
    let PageQuery { author_id, after, before, limit } = query;
    let client = pool.get().await.map_err(failed)?;
    let rows = MIDDLEMAN_FOLLOWERS.query(&client, &[&author_id, &after, &before, &limit]).await;
    Ok(Json(Page { items: rows.map_err(failed)?.iter().map(|row| row.get(0)).collect() }))
}

async fn notify(State(pool): State<Pool>, Json(batch): Json<Batch>) -> Result<StatusCode, StatusCode> {
    let Batch { blog_id, published_at, recipients } = batch;
    let client = pool.get().await.map_err(failed)?;
    MIDDLEMAN_NOTIFY.execute(&client, &[&recipients, &published_at, &blog_id]).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

fn failed(_error: database::Error) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

/// Notifies every follower, page by page, and returns the bytes sent over HTTP.
pub(crate) async fn page_by_page(endpoints: SocketAddr, news: News, page: u32) -> Result<u64, Broken> {
    let mut middleman = Middleman::new(endpoints, news).await?;
    loop {
        let recipients = middleman.ask(page).await?;
        if recipients.is_empty() {
            return Ok(middleman.bytes());
        }
        let is_last = recipients.len() < usize::try_from(page).unwrap_or(usize::MAX);
        middleman.tell(recipients).await?;
        if is_last {
            return Ok(middleman.bytes());
        }
    }
}

/// Notifies a number of followers with one request each over several connections, and returns the bytes.
pub(crate) async fn one_by_one(
    endpoints: SocketAddr,
    news: News,
    followers: usize,
    connections: usize,
) -> Result<u64, Broken> {
    let mut asking = Middleman::new(endpoints, news).await?;
    let mut tellers = Vec::new();
    for _ in 0..connections.max(1) {
        tellers.push(Middleman::new(endpoints, news).await?);
    }
    let mut told = 0;
    while told < followers {
        let mut recipients = asking.ask(NAIVE_PAGE).await?;
        recipients.truncate(followers - told);
        if recipients.is_empty() {
            break;
        }
        told += recipients.len();
        let mut shares = JoinSet::new();
        let share = recipients.len().div_ceil(tellers.len());
        let mut parts = recipients.chunks(share).map(<[i64]>::to_vec);
        for mut teller in std::mem::take(&mut tellers) {
            let part = parts.next().unwrap_or_default();
            shares.spawn(async move {
                for recipient in part {
                    teller.tell(vec![recipient]).await?;
                }
                Ok::<_, Broken>(teller)
            });
        }
        while let Some(teller) = shares.join_next().await {
            tellers.push(teller.map_err(|_panicked| Broken::Closed)??);
        }
    }
    Ok(asking.bytes() + tellers.iter().map(Middleman::bytes).sum::<u64>())
}

/// A connection to each endpoint, and the current position.
struct Middleman {
    host: SocketAddr,
    news: News,
    after: i64,
    followers: Connection,
    notifications: Connection,
}

impl Middleman {
    async fn new(host: SocketAddr, news: News) -> Result<Self, Broken> {
        let followers = Connection::open_for(host, BODY_BYTES_MAX).await?;
        let notifications = Connection::open(host).await?;
        Ok(Self { host, news, after: 0, followers, notifications })
    }

    fn bytes(&self) -> u64 {
        self.followers.bytes() + self.notifications.bytes()
    }

    async fn ask(&mut self, limit: u32) -> Result<Vec<i64>, Broken> {
        let News { author_id, published_at, .. } = self.news;
        let request = format!(
            "GET /followers?author_id={author_id}&after={}&before={published_at}&limit={limit} HTTP/1.1\r\n\
             host: {}\r\n\r\n",
            self.after, self.host
        );
        let answer = self.followers.exchange(request.as_bytes()).await?;
        if answer.status != 200 {
            return Err(Broken::Unsupported("to a GET of followers was not 200"));
        }
        let page: Page = serde_json::from_slice(self.followers.body())
            .map_err(|_| Broken::Unsupported("to a GET of followers is no page"))?;
        self.after = page.items.last().copied().unwrap_or(self.after);
        Ok(page.items)
    }

    async fn tell(&mut self, recipients: Vec<i64>) -> Result<(), Broken> {
        let News { blog_id, published_at, .. } = self.news;
        let body = serde_json::to_vec(&Batch { blog_id, published_at, recipients }).unwrap_or_default();
        let mut request = format!(
            "POST /notifications HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.host,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        match self.notifications.exchange(&request).await?.status {
            204 => Ok(()),
            _ => Err(Broken::Unsupported("to a POST of notifications was not 204")),
        }
    }
}
