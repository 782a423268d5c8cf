//! The service's statements and the types of their rows.

use database::{Error, Statement, statement};
use deadpool_postgres::{GenericClient, Object, Transaction};
use jiff::Timestamp;
use tokio_postgres::Row;
use web::page::RankCursor;

use crate::settings::LearningSettings;

const BLOG_CARDS: Statement = statement!("blog_cards.sql");
const BLOG_IS_LIVE: Statement = statement!("blog_is_live.sql");
const GENERATION_FORGET: Statement = statement!("generation_forget.sql");
const LEARN_BEGIN: Statement = statement!("learn_begin.sql");
const LIKES_CHANGED: Statement = statement!("likes_changed.sql");
const NEIGHBOURS_LEARN: Statement = statement!("neighbours_learn.sql");
const PROGRESS: Statement = statement!("progress.sql");
const PROGRESS_LEARNT: Statement = statement!("progress_learnt.sql");
const REBUILD_ADVANCE: Statement = statement!("rebuild_advance.sql");
const REBUILD_BEGIN: Statement = statement!("rebuild_begin.sql");
const REBUILD_CHUNK: Statement = statement!("rebuild_chunk.sql");
const REBUILD_SHOW: Statement = statement!("rebuild_show.sql");
const RECOMMENDATION_PAGE: Statement = statement!("recommendation_page.sql");
const SIMILAR_PAGE: Statement = statement!("similar_page.sql");
const TRENDING_PAGE: Statement = statement!("trending_page.sql");

/// The age of the data that readers are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// The time up to which learnt data is complete, if there is any.
    pub(crate) learnt_as_of: Option<Timestamp>,
    /// The time of the lists of popular blogs, if they exist.
    pub(crate) popular_as_of: Option<Timestamp>,
    /// The database's clock.
    pub(crate) now: Timestamp,
}

/// One entry of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) blog_id: i64,
    /// The value that orders the page; the cursor contains it.
    pub(crate) rank: f64,
    /// The score that the reader is shown.
    pub(crate) score: f64,
    pub(crate) reason: String,
    pub(crate) because_of: Option<i64>,
}

/// The card of a blog.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub(crate) id: i64,
    pub(crate) slug: String,
    pub(crate) title: String,
    pub(crate) author_id: i64,
    pub(crate) author_handle: String,
    pub(crate) published_at: Timestamp,
}

/// The progress of learning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// The generation that readers are shown; 0 if there is none yet.
    pub(crate) generation: i32,
    /// Likes changed by transactions below this id are learnt.
    pub(crate) applied_xid: i64,
    /// The last blog processed by the running rebuild, if one is running.
    pub(crate) next_after_id: Option<i64>,
    /// A rebuild was requested or is due.
    pub(crate) is_wanted: bool,
    /// Everything changed by transactions below this id is visible.
    pub(crate) horizon_xid: i64,
}

/// Changed likes.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    /// The blogs of these likes.
    pub(crate) blogs: Vec<i64>,
    /// The transaction id at which the next read begins.
    pub(crate) next_xid: i64,
}

/// A chunk of a rebuild.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    /// The last blog of the chunk; `None` when no blogs are left.
    pub(crate) last_id: Option<i64>,
    /// Number of blogs in the chunk.
    pub(crate) blogs: i64,
}

pub(crate) async fn progress(client: &Object) -> Result<Progress, Error> {
    let row = PROGRESS.query_one(client, &[]).await?;
    Ok(Progress {
        learnt_as_of: row.get("learnt_as_of"),
        popular_as_of: row.get("popular_as_of"),
        now: row.get("now"),
    })
}

pub(crate) async fn is_live(client: &Object, blog_id: i64) -> Result<bool, Error> {
    Ok(BLOG_IS_LIVE.query_one(client, &[&blog_id]).await?.get("is_live"))
}

pub(crate) async fn recommendations(
    client: &Object,
    account_id: i64,
    after: RankCursor,
    limit: i64,
) -> Result<Vec<Place>, Error> {
    let rows = RECOMMENDATION_PAGE.query(client, &[&account_id, &after.rank, &after.id, &limit]).await?;
    Ok(rows.iter().map(|row| Place { because_of: row.get("because_of"), ..scored(row) }).collect())
}

pub(crate) async fn similar(
    client: &Object,
    blog_id: i64,
    after: RankCursor,
    limit: i64,
) -> Result<Vec<Place>, Error> {
    let rows = SIMILAR_PAGE.query(client, &[&blog_id, &after.rank, &after.id, &limit]).await?;
    Ok(rows.iter().map(scored).collect())
}

pub(crate) async fn trending(
    client: &Object,
    span: &str,
    after: RankCursor,
    limit: i64,
) -> Result<Vec<Place>, Error> {
    let rows = TRENDING_PAGE.query(client, &[&span, &after.rank, &after.id, &limit]).await?;
    let place = |row: &Row| Place {
        blog_id: row.get("blog_id"),
        rank: row.get("rank"),
        score: row.get("popularity"),
        reason: "popular".to_owned(),
        because_of: None,
    };
    Ok(rows.iter().map(place).collect())
}

pub(crate) async fn cards(client: &Object, ids: &[i64]) -> Result<Vec<Card>, Error> {
    let card = |row: &Row| Card {
        id: row.get("id"),
        slug: row.get("slug"),
        title: row.get("title"),
        author_id: row.get("author_id"),
        author_handle: row.get("author_handle"),
        published_at: row.get("published_at"),
    };
    Ok(BLOG_CARDS.query(client, &[&ids]).await?.iter().map(card).collect())
}

/// Begins a turn of learning; `None` while another process learns.
pub(crate) async fn begin(
    transaction: &Transaction<'_>,
    rebuild_interval_s: u64,
) -> Result<Option<Standing>, Error> {
    let interval_s = std::time::Duration::from_secs(rebuild_interval_s).as_secs_f64();
    let row = LEARN_BEGIN.query_opt(transaction, &[&interval_s]).await?;
    Ok(row.map(|row| Standing {
        generation: row.get("generation"),
        applied_xid: row.get("applied_xid"),
        next_after_id: row.get("next_after_id"),
        is_wanted: row.get::<_, bool>("is_wanted") || row.get::<_, bool>("is_due"),
        horizon_xid: row.get("horizon_xid"),
    }))
}

pub(crate) async fn changes(
    transaction: &Transaction<'_>,
    from_xid: i64,
    horizon_xid: i64,
    most: i64,
) -> Result<Changes, Error> {
    let row = LIKES_CHANGED.query_one(transaction, &[&from_xid, &horizon_xid, &most]).await?;
    Ok(Changes { blogs: row.get("blogs"), next_xid: row.get("next_xid") })
}

pub(crate) async fn learn(
    transaction: &Transaction<'_>,
    generation: i32,
    blogs: &[i64],
    bounds: &LearningSettings,
) -> Result<u64, Error> {
    let LearningSettings { likers_max, likes_max, neighbours_max, .. } = bounds;
    NEIGHBOURS_LEARN.execute(transaction, &[&generation, &blogs, likers_max, likes_max, neighbours_max]).await
}

pub(crate) async fn learnt(transaction: &Transaction<'_>, next_xid: i64, is_all: bool) -> Result<u64, Error> {
    PROGRESS_LEARNT.execute(transaction, &[&next_xid, &is_all]).await
}

pub(crate) async fn rebuild_begin(transaction: &Transaction<'_>, horizon_xid: i64) -> Result<u64, Error> {
    REBUILD_BEGIN.execute(transaction, &[&horizon_xid]).await
}

pub(crate) async fn rebuild_chunk(
    transaction: &Transaction<'_>,
    generation: i32,
    after_id: i64,
    blogs: i64,
    bounds: &LearningSettings,
) -> Result<Chunk, Error> {
    let LearningSettings { likers_max, likes_max, neighbours_max, .. } = bounds;
    let row = REBUILD_CHUNK
        .query_one(transaction, &[&generation, &after_id, &blogs, likers_max, likes_max, neighbours_max])
        .await?;
    Ok(Chunk { last_id: row.get("last_id"), blogs: row.get("blogs") })
}

pub(crate) async fn rebuild_advance(transaction: &Transaction<'_>, after_id: i64) -> Result<u64, Error> {
    REBUILD_ADVANCE.execute(transaction, &[&after_id]).await
}

pub(crate) async fn rebuild_show(transaction: &Transaction<'_>) -> Result<u64, Error> {
    REBUILD_SHOW.execute(transaction, &[]).await
}

/// Deletes some rows of generations other than these, and returns how many.
pub(crate) async fn forget<C: GenericClient + Sync>(client: &C, kept: &[i32]) -> Result<u64, Error> {
    GENERATION_FORGET.execute(client, &[&kept]).await
}

fn scored(row: &Row) -> Place {
    let score: f64 = row.get("score");
    Place {
        blog_id: row.get("blog_id"),
        rank: score,
        score: score.max(0.0),
        reason: row.get("reason"),
        because_of: None,
    }
}
