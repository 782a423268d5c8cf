//! The quality of the answers: whether the blog that an account liked next is among its ten recommendations.

use std::collections::{HashMap, HashSet};

use database::{Error as DatabaseError, Statement, statement};
use load::Connection;
use serde::Serialize;
use serde_json::Value;

use super::interactions::{self, Interaction};
use super::{Error, Ground, get};

const SEED_ACCOUNTS: Statement = statement!("seed_accounts.sql");
const SEED_INTERACTIONS: Statement = statement!("seed_interactions.sql");
/// Number of recommendations of an account.
const TOP: usize = 10;
/// Likes that an account must have in addition to the held-out one.
const LIKES_MIN: usize = 2;

/// The quality of the service and of the baseline, which recommends the most popular blogs.
#[derive(Debug, Clone, Serialize)]
pub struct Quality {
    /// The likes were generated.
    pub generated: bool,
    /// Number of accounts that were evaluated.
    pub accounts: usize,
    /// Number of blogs with a like.
    pub blogs: usize,
    /// Likes that were learnt.
    pub likes: usize,
    /// The service.
    pub service: Figures,
    /// The most popular blogs that the account does not like yet.
    pub most_popular: Figures,
}

/// The quality of ten recommendations.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Figures {
    /// The share of accounts whose held-out like is among them.
    pub hit_rate: f64,
    /// The same, weighting a hit by its rank (1 / log2(rank + 1)).
    pub ndcg: f64,
}

impl Figures {
    fn add(&mut self, answer: &[i64], wanted: i64) {
        if let Some(place) = answer.iter().take(TOP).position(|id| *id == wanted) {
            self.hit_rate += 1.0;
            self.ndcg += 1.0 / (place as f64 + 2.0).log2();
        }
    }

    fn of(self, accounts: usize) -> Self {
        let accounts = accounts.max(1) as f64;
        Self { hit_rate: self.hit_rate / accounts, ndcg: self.ndcg / accounts }
    }
}

/// An account's likes as (blog, time), and its held-out newest like.
struct Split {
    learnt: Vec<(i64, i64)>,
    held_out: i64,
}

impl Ground<'_> {
    pub(super) async fn quality(&self, progress: &mut (dyn FnMut(&str) + Send)) -> Result<Quality, Error> {
        let given = self.plan.interactions.clone();
        let generated = given.is_none();
        let all = given.unwrap_or_else(interactions::generated);
        progress(&format!("quality: {} likes", all.len()));
        let (splits, likes, blogs) = self.seed(&all).await?;
        let mut service = self.service("recommendation-api", &[])?;
        service.ready().await?;
        self.shown_after(0).await?;

        let mut counts: HashMap<i64, i64> = HashMap::new();
        for (blog, _) in splits.values().flat_map(|split| &split.learnt) {
            *counts.entry(*blog).or_default() += 1;
        }
        let mut by_count: Vec<i64> = counts.keys().copied().collect();
        by_count.sort_by_key(|blog| (-counts.get(blog).copied().unwrap_or_default(), *blog));

        let issuer = self.issuer()?;
        let mut connection = Connection::open(service.address()).await?;
        let (mut told, mut popular, mut asked) = (Figures::default(), Figures::default(), 0);
        for (account, split) in &splits {
            if split.learnt.len() < LIKES_MIN {
                continue;
            }
            asked += 1;
            let token = issuer.issue(*account, 0).map_err(|_| Error::Token)?.token;
            let path = format!("/v1/recommendations?limit={TOP}");
            let answer = connection.exchange(&get(&path, Some(&token))).await?;
            if answer.status != 200 {
                return Err(Error::Answer { path, status: answer.status });
            }
            let answer: Value = serde_json::from_slice(connection.body())?;
            let items = answer.get("items").and_then(Value::as_array);
            let id = |item: &Value| item.pointer("/blog/id").and_then(Value::as_i64);
            let ids: Vec<i64> = items.into_iter().flatten().filter_map(id).collect();
            told.add(&ids, split.held_out);
            let liked: HashSet<i64> = split.learnt.iter().map(|(blog, _)| *blog).collect();
            let most: Vec<i64> =
                by_count.iter().copied().filter(|blog| !liked.contains(blog)).take(TOP).collect();
            popular.add(&most, split.held_out);
        }
        service.stop().await?;
        Ok(Quality {
            generated,
            accounts: asked,
            blogs,
            likes,
            service: told.of(asked),
            most_popular: popular.of(asked),
        })
    }

    /// Makes accounts, blogs and all likes except each account's newest. Returns them by account, with the numbers of likes and
    /// blogs.
    async fn seed(&self, all: &[Interaction]) -> Result<(HashMap<i64, Split>, usize, usize), Error> {
        let mut accounts: Vec<u32> = all.iter().map(|one| one.account).collect();
        let mut items: Vec<u32> = all.iter().map(|one| one.item).collect();
        for ids in [&mut accounts, &mut items] {
            ids.sort_unstable();
            ids.dedup();
        }
        let client = &self.tables.session.client;
        let count = |ids: &[u32]| i32::try_from(ids.len()).unwrap_or(i32::MAX);
        let made = client.query(SEED_ACCOUNTS.sql, &[&count(&accounts)]).await;
        let made = made.map_err(DatabaseError::statement(SEED_ACCOUNTS.file))?;
        let account_ids: HashMap<u32, i64> =
            accounts.iter().copied().zip(made.iter().map(|row| row.get("id"))).collect();
        let blogs = self.tables.seed_blogs(count(&items)).await?;
        let blog_ids: HashMap<u32, i64> = items.iter().copied().zip(blogs).collect();

        let mut splits: HashMap<i64, Split> = HashMap::new();
        for one in all {
            let (Some(account), Some(blog)) = (account_ids.get(&one.account), blog_ids.get(&one.item)) else {
                continue;
            };
            let split = splits.entry(*account).or_insert(Split { learnt: Vec::new(), held_out: 0 });
            split.learnt.push((*blog, one.at_s));
        }
        let (mut of_account, mut of_blog, mut at_us) = (Vec::new(), Vec::new(), Vec::new());
        for (account, split) in &mut splits {
            split.held_out = split.learnt.pop().map_or(0, |(blog, _)| blog);
            for (blog, at_s) in &split.learnt {
                of_account.push(*account);
                of_blog.push(*blog);
                at_us.push(at_s * 1_000_000);
            }
        }
        let put = client.execute(SEED_INTERACTIONS.sql, &[&of_account, &of_blog, &at_us]).await;
        put.map_err(DatabaseError::statement(SEED_INTERACTIONS.file))?;
        self.analyze().await?;
        Ok((splits, of_account.len(), items.len()))
    }
}
