//! The speed of answers on a large site, and the cost of a rebuild for the Blogs API: its writes and reads before a rebuild,
//! during one, and during one without limits.

use std::net::SocketAddr;
use std::time::Duration;

use database::{Error as DatabaseError, Statement, statement};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;

use super::rate::{self, Latency};
use super::{Error, Ground, Service, get};

const RECOMMEND_SIZE: Statement = statement!("recommend_size.sql");
const RECOMMEND_UNGUARDED: Statement = statement!("recommend_unguarded.sql");
const SEED_ACCOUNTS: Statement = statement!("seed_accounts.sql");
const SEED_AUTHORS: Statement = statement!("seed_authors.sql");
const SEED_FOLLOWS: Statement = statement!("seed_follows.sql");
const SEED_TAGS: Statement = statement!("seed_tags.sql");
const SEED_TASTE: Statement = statement!("seed_taste.sql");
const SEED_TASTE_COUNTERS: Statement = statement!("seed_taste_counters.sql");
const TAGS: i32 = 200;
const FOLLOWS_EACH: i32 = 5;
/// Number of accounts that send requests.
const ASKING: usize = 2000;
/// Load before a measurement, to warm up connections and caches.
const WARM_UP: Duration = Duration::from_secs(3);

/// The results on the large site.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// Live blogs.
    pub blogs: i32,
    /// Likes.
    pub likes: i64,
    /// Recommendations, similar and trending blogs, at the plan's rate.
    pub answers: Vec<(String, Latency)>,
    /// Recommendations during a rebuild.
    pub beside_a_rebuild: Latency,
    /// Blogs that have neighbours.
    pub learnt_blogs: i64,
    /// Number of neighbours of such a blog, on average.
    pub neighbours: f64,
    /// Their size, with dead rows and the index.
    pub bytes: i64,
    /// The Blogs API.
    pub neighbour: Vec<Neighbour>,
}

/// The Blogs API in one situation.
#[derive(Debug, Clone, Serialize)]
pub struct Neighbour {
    /// The situation.
    pub situation: &'static str,
    /// How long the concurrent rebuild took, in seconds.
    pub rebuild_s: Option<f64>,
    /// Views that are accepted through RabbitMQ.
    pub accept: Latency,
    /// Blogs and lists of blogs that are read.
    pub read: Latency,
}

impl Ground<'_> {
    pub(super) async fn cost(&self, progress: &mut (dyn FnMut(&str) + Send)) -> Result<Cost, Error> {
        let plan = self.plan;
        progress(&format!("making {} blogs and {} likes", plan.blogs, plan.likes));
        let (accounts, blogs, likes) = self.seed_site().await?;
        let mut worker = self.service("analytics-worker", &[])?;
        let mut api = self.service("blogs-api", &[])?;
        let mut recommender = self.service("recommendation-api", &[])?;
        progress("the first generation");
        for service in [&mut worker, &mut api, &mut recommender] {
            service.ready().await?;
        }
        self.shown_after(0).await?;
        self.analyze().await?;

        let mut answers = Vec::new();
        let requests = self.requests(&accounts, &blogs)?;
        for (name, request) in &requests {
            progress(&format!("{name}, {} a second", plan.per_s));
            self.measure(recommender.address(), request, WARM_UP).await?;
            answers
                .push(((*name).to_owned(), self.measure(recommender.address(), request, plan.load).await?));
        }
        let size = self.tables.query_one(RECOMMEND_SIZE, &[]).await?;

        let mut neighbour = Vec::new();
        for situation in ["without a rebuild", "beside a rebuild"] {
            progress(&format!("the Blogs API {situation}"));
            let rebuild = situation == "beside a rebuild";
            neighbour.push(self.beside(&api, &blogs, situation, rebuild).await?);
        }
        progress("recommendations beside a rebuild");
        let before = self.want().await?;
        let enough = CancellationToken::new();
        let beside = self.until(recommender.address(), first(&requests), enough.clone());
        self.shown_after(before).await?;
        enough.cancel();
        let beside_a_rebuild = beside.await?;
        recommender.stop().await?;

        self.tables.session.run(RECOMMEND_UNGUARDED.file, RECOMMEND_UNGUARDED.sql).await?;
        let held_back_by_nothing = [
            ("COMMONPLACE__LEARNING__REST_PERCENT", "0".to_owned()),
            ("COMMONPLACE__LEARNING__CHUNK_BLOGS_MIN", "100000".to_owned()),
            ("COMMONPLACE__LEARNING__CHUNK_BLOGS_MAX", "100000".to_owned()),
        ];
        let mut recommender = self.service("recommendation-api", &held_back_by_nothing)?;
        recommender.ready().await?;
        for (situation, rebuild) in
            [("without a rebuild, again", false), ("beside a rebuild that nothing holds back", true)]
        {
            progress(&format!("the Blogs API {situation}"));
            neighbour.push(self.beside(&api, &blogs, situation, rebuild).await?);
        }
        for service in [recommender, api, worker] {
            service.stop().await?;
        }
        Ok(Cost {
            blogs: plan.blogs,
            likes,
            answers,
            beside_a_rebuild,
            learnt_blogs: size.get("blogs"),
            neighbours: size.get("neighbours"),
            bytes: size.get("bytes"),
            neighbour,
        })
    }

    async fn seed_site(&self) -> Result<(Vec<i64>, Vec<i64>, i64), Error> {
        let plan = self.plan;
        let client = &self.tables.session.client;
        let made = client.query(SEED_ACCOUNTS.sql, &[&plan.accounts]).await;
        let made = made.map_err(DatabaseError::statement(SEED_ACCOUNTS.file))?;
        let accounts: Vec<i64> = made.iter().map(|row| row.get("id")).collect();
        let blogs = self.tables.seed_blogs(plan.blogs).await?;
        let before = |ids: &[i64]| ids.first().map_or(0, |id| id - 1);
        let (account, blog) = (before(&accounts), before(&blogs));
        // Some are drawn twice.
        let drawn = plan.likes / 10 * 12;
        let seeds: [(Statement, &[&(dyn ToSql + Sync)]); 5] = [
            (SEED_TASTE, &[&drawn, &plan.accounts, &account, &plan.blogs, &blog]),
            (SEED_TASTE_COUNTERS, &[]),
            (SEED_FOLLOWS, &[&account, &plan.accounts, &FOLLOWS_EACH]),
            (SEED_TAGS, &[&TAGS]),
            // Blogs of one author would be read differently from blogs of many.
            (SEED_AUTHORS, &[&account, &plan.accounts]),
        ];
        let mut likes = 0;
        for (index, (statement, parameters)) in seeds.into_iter().enumerate() {
            let rows = client.execute(statement.sql, parameters).await;
            let rows = rows.map_err(DatabaseError::statement(statement.file))?;
            if index == 0 {
                likes = i64::try_from(rows).unwrap_or_default();
            }
        }
        self.analyze().await?;
        Ok((accounts, blogs, likes))
    }

    /// The requests to the Recommendation API, by name.
    fn requests(&self, accounts: &[i64], blogs: &[i64]) -> Result<Vec<(&'static str, Requests)>, Error> {
        let issuer = self.issuer()?;
        let step = (accounts.len() / ASKING).max(1);
        let mut own = Vec::new();
        for account in accounts.iter().step_by(step) {
            let token = issuer.issue(*account, 0).map_err(|_| Error::Token)?.token;
            own.push(get("/v1/recommendations", Some(&token)));
        }
        let step = (blogs.len() / ASKING).max(1);
        let similar =
            blogs.iter().step_by(step).map(|id| get(&format!("/v1/blogs/{id}/similar"), None)).collect();
        let trending = vec![get("/v1/trending", None)];
        let all = [
            ("GET /v1/recommendations", own),
            ("GET /v1/blogs/{id}/similar", similar),
            ("GET /v1/trending", trending),
        ];
        Ok(all.map(|(name, requests): (_, Vec<Vec<u8>>)| (name, Requests(requests.into()))).into())
    }

    async fn measure(
        &self,
        target: SocketAddr,
        requests: &Requests,
        time: Duration,
    ) -> Result<Latency, Error> {
        let enough = CancellationToken::new();
        let measured = self.until(target, requests, enough.clone());
        tokio::time::sleep(time).await;
        enough.cancel();
        measured.await
    }

    /// These requests at the plan's rate until `enough`, from now on.
    fn until(
        &self,
        target: SocketAddr,
        requests: &Requests,
        enough: CancellationToken,
    ) -> impl Future<Output = Result<Latency, Error>> + use<> {
        let (requests, per_s) = (requests.clone(), self.plan.per_s);
        let mut running = JoinSet::new();
        running.spawn(rate::run(target, per_s, move |number| requests.at(number), enough));
        async move {
            let mut measured = Latency::default();
            while let Some(ended) = running.join_next().await {
                measured = ended??;
            }
            Ok(measured)
        }
    }

    /// Measures the Blogs API for the plan's time, or until a rebuild is done.
    async fn beside(
        &self,
        api: &Service,
        blogs: &[i64],
        situation: &'static str,
        rebuild: bool,
    ) -> Result<Neighbour, Error> {
        let step = (blogs.len() / ASKING).max(1);
        let some = blogs.iter().step_by(step);
        let views = some.clone().map(|id| {
            let host = api.address();
            let head = format!("POST /v1/blogs/{id}/views HTTP/1.1\r\nhost: {host}\r\n");
            (head + "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}").into_bytes()
        });
        let reads = some.enumerate().map(|(n, id)| match n % 4 {
            0 => get("/v1/blogs?limit=20", None),
            _ => get(&format!("/v1/blogs/{id}"), None),
        });
        let (views, reads) = (Requests(views.collect()), Requests(reads.collect()));
        self.measure(api.address(), &views, WARM_UP).await?;
        self.measure(api.address(), &reads, WARM_UP).await?;
        let enough = CancellationToken::new();
        let before = if rebuild { Some(self.want().await?) } else { None };
        let accept = self.until(api.address(), &views, enough.clone());
        let read = self.until(api.address(), &reads, enough.clone());
        let rebuild_s = match before {
            Some(before) => Some(self.shown_after(before).await?.as_secs_f64()),
            None => {
                tokio::time::sleep(self.plan.load).await;
                None
            }
        };
        enough.cancel();
        Ok(Neighbour { situation, rebuild_s, accept: accept.await?, read: read.await? })
    }
}

/// Requests that are sent in turn.
#[derive(Debug, Clone)]
struct Requests(std::sync::Arc<[Vec<u8>]>);

impl Requests {
    fn at(&self, number: u64) -> Vec<u8> {
        let index = usize::try_from(number).unwrap_or_default() % self.0.len().max(1);
        self.0.get(index).cloned().unwrap_or_default()
    }
}

fn first<'a>(requests: &'a [(&'static str, Requests)]) -> &'a Requests {
    requests.first().map_or_else(|| unreachable!("there are three"), |(_, requests)| requests)
}
