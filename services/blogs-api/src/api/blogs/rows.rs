//! The statements of blogs, each with its types.

use database::{Error, Statement, statement};
use deadpool_postgres::{GenericClient, Object, Transaction};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::draft::{BlogChange, NewBlog};
use super::{Blog, BlogSummary, slug};
use crate::account::Account;
use crate::page::{Cursor, RankCursor};

const ACCOUNT_BY_HANDLE: Statement = statement!("account_by_handle.sql");
const BLOG_BY_ID: Statement = statement!("blog_by_id.sql");
const BLOG_BY_SLUG: Statement = statement!("blog_by_slug.sql");
const BLOG_CHANGE: Statement = statement!("blog_change.sql");
const BLOG_COUNTER_CREATE: Statement = statement!("blog_counter_create.sql");
const BLOG_CREATE: Statement = statement!("blog_create.sql");
const BLOG_DELETE: Statement = statement!("blog_delete.sql");
const BLOG_LOCK: Statement = statement!("blog_lock.sql");
const BLOG_PAGE_AUTHOR: Statement = statement!("blog_page_author.sql");
const BLOG_PAGE_AUTHOR_TAG: Statement = statement!("blog_page_author_tag.sql");
const BLOG_PAGE_NEWEST: Statement = statement!("blog_page_newest.sql");
const BLOG_PAGE_TAG: Statement = statement!("blog_page_tag.sql");
const BLOG_PAGE_TRENDING: Statement = statement!("blog_page_trending.sql");
const BLOG_PAGE_TRENDING_AUTHOR: Statement = statement!("blog_page_trending_author.sql");
const BLOG_PAGE_TRENDING_TAG: Statement = statement!("blog_page_trending_tag.sql");
const BLOG_PUBLISH: Statement = statement!("blog_publish.sql");
const BLOG_SHOW: Statement = statement!("blog_show.sql");
const BLOG_SLUG_CREATE: Statement = statement!("blog_slug_create.sql");
const BLOG_SLUG_LOCK: Statement = statement!("blog_slug_lock.sql");
const BLOG_SLUG_RETIRE: Statement = statement!("blog_slug_retire.sql");
const BLOG_SLUG_REUSE: Statement = statement!("blog_slug_reuse.sql");
const BLOG_STANDING: Statement = statement!("blog_standing.sql");
const BLOG_SUMMARIES: Statement = statement!("blog_summaries.sql");
const BLOG_TAG_CREATE: Statement = statement!("blog_tag_create.sql");
const BLOG_TAG_DELETE: Statement = statement!("blog_tag_delete.sql");
const BLOG_UNPUBLISH: Statement = statement!("blog_unpublish.sql");
const SOURCE_PATHS: Statement = statement!("source_paths.sql");
const TAG_BY_NAME: Statement = statement!("tag_by_name.sql");
const TAG_CREATE: Statement = statement!("tag_create.sql");

/// The filter of a list of live blogs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) author_id: Option<i64>,
    pub(super) tag_id: Option<i64>,
}

/// Why a change found nothing to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) author_id: i64,
    pub(super) is_live: bool,
    pub(super) is_taken_down: bool,
}

pub(super) async fn by_id(
    client: &impl GenericClient,
    id: i64,
    viewer: Option<i64>,
) -> Result<Option<Blog>, Error> {
    Ok(BLOG_BY_ID.query_opt(client, &[&id, &viewer]).await?.as_ref().map(blog))
}

pub(super) async fn by_slug(
    client: &impl GenericClient,
    slug: &str,
    viewer: Option<i64>,
) -> Result<Option<Blog>, Error> {
    Ok(BLOG_BY_SLUG.query_opt(client, &[&slug, &viewer]).await?.as_ref().map(blog))
}

pub(super) async fn account_id(client: &impl GenericClient, handle: &str) -> Result<Option<i64>, Error> {
    Ok(ACCOUNT_BY_HANDLE.query_opt(client, &[&handle]).await?.map(|row| row.get("id")))
}

pub(super) async fn tag_id(client: &impl GenericClient, name: &str) -> Result<Option<i64>, Error> {
    Ok(TAG_BY_NAME.query_opt(client, &[&name]).await?.map(|row| row.get("id")))
}

/// The keys of a page of live blogs, newest first.
pub(super) async fn page(
    client: &Object,
    filter: &Filter,
    after: Cursor,
    limit: i64,
) -> Result<Vec<Cursor>, Error> {
    let Cursor { time, id } = after;
    let rows = match (&filter.author_id, &filter.tag_id) {
        (None, None) => BLOG_PAGE_NEWEST.query(client, &[&time, &id, &limit]).await,
        (Some(author), None) => BLOG_PAGE_AUTHOR.query(client, &[&time, &id, &limit, author]).await,
        (None, Some(tag)) => page_of_tag(client, after, limit, *tag).await,
        (Some(author), Some(tag)) => {
            BLOG_PAGE_AUTHOR_TAG.query(client, &[&time, &id, &limit, author, tag]).await
        }
    }?;
    Ok(rows.iter().map(|row| Cursor { time: row.get("published_at"), id: row.get("id") }).collect())
}

/// Postgres plans this statement for each execution. A cached plan would fit either common or rare tags, and each of
/// the two plans is hundreds of times slower for the other kind.
async fn page_of_tag(client: &Object, after: Cursor, limit: i64, tag_id: i64) -> Result<Vec<Row>, Error> {
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&after.time, Type::TIMESTAMPTZ),
        (&after.id, Type::INT8),
        (&limit, Type::INT8),
        (&tag_id, Type::INT8),
    ];
    let Statement { file, sql } = BLOG_PAGE_TAG;
    client.query_typed(sql, &parameters).await.map_err(Error::statement(file))
}

/// The keys of a page of live blogs, most popular first.
pub(super) async fn trending_page(
    client: &Object,
    filter: &Filter,
    after: RankCursor,
    limit: i64,
) -> Result<Vec<RankCursor>, Error> {
    let RankCursor { rank, id } = after;
    let rows = match (&filter.author_id, &filter.tag_id) {
        (None, None) => BLOG_PAGE_TRENDING.query(client, &[&rank, &id, &limit]).await?,
        (Some(author), tag) => {
            BLOG_PAGE_TRENDING_AUTHOR.query(client, &[&rank, &id, &limit, author, tag]).await?
        }
        // Planned for each execution, as in `page_of_tag`.
        (None, Some(tag)) => {
            let parameters: [(&(dyn ToSql + Sync), Type); 4] =
                [(&rank, Type::FLOAT8), (&id, Type::INT8), (&limit, Type::INT8), (tag, Type::INT8)];
            let Statement { file, sql } = BLOG_PAGE_TRENDING_TAG;
            client.query_typed(sql, &parameters).await.map_err(Error::statement(file))?
        }
    };
    Ok(rows.iter().map(|row| RankCursor { rank: row.get("rank"), id: row.get("id") }).collect())
}

/// What lists show of these blogs, newest first, leaving out those that are no longer live.
pub(super) async fn summaries(client: &impl GenericClient, ids: &[i64]) -> Result<Vec<BlogSummary>, Error> {
    Ok(BLOG_SUMMARIES.query(client, &[&ids]).await?.iter().map(summary).collect())
}

/// Creates a blog with its tags, address and counters, and returns its id. Publishing comes last: the other statements
/// may wait for locks, and the moment of publishing decides which followers are notified.
pub(super) async fn create(
    transaction: &Transaction<'_>,
    author_id: i64,
    new: &NewBlog,
) -> Result<i64, Error> {
    let parameters: [&(dyn ToSql + Sync); 4] = [&author_id, &new.title, &new.body, &new.source_path];
    let row = BLOG_CREATE.query_one(transaction, &parameters).await?;
    let id: i64 = row.get("id");
    add_tags(transaction, id, &new.tags).await?;
    if new.publish {
        give_address(transaction, id, &slug::candidates(&new.title, id, rand::random())).await?;
    } else {
        give_address(transaction, id, &slug::of_draft(id, rand::random())).await?;
    }
    BLOG_COUNTER_CREATE.execute(transaction, &[&id]).await?;
    if new.publish {
        BLOG_SHOW.execute(transaction, &[&id]).await?;
    }
    Ok(id)
}

/// Applies an edit; returns false if the author has no such blog in one of these versions.
pub(super) async fn change(
    transaction: &Transaction<'_>,
    id: i64,
    author_id: i64,
    change: &BlogChange,
    versions: Option<&Vec<i32>>,
) -> Result<bool, Error> {
    let parameters: [&(dyn ToSql + Sync); 5] = [&id, &author_id, &change.title, &change.body, &versions];
    let Some(changed) = BLOG_CHANGE.query_opt(transaction, &parameters).await? else { return Ok(false) };
    if let Some(tags) = &change.tags {
        BLOG_TAG_DELETE.execute(transaction, &[&id, tags]).await?;
        add_tags(transaction, id, tags).await?;
    }
    // A draft gets its address from the title when it is published.
    if let Some(title) = change.title.as_ref().filter(|_| changed.get("is_published")) {
        move_address(transaction, id, title).await?;
    }
    Ok(true)
}

pub(super) async fn delete(
    transaction: &Transaction<'_>,
    id: i64,
    author_id: i64,
    versions: Option<&Vec<i32>>,
) -> Result<bool, Error> {
    Ok(BLOG_DELETE.query_opt(transaction, &[&id, &author_id, &versions]).await?.is_some())
}

/// Publishes a draft; returns false if the author has no such draft. The moment of publishing is read while the blog is
/// locked.
pub(super) async fn publish(transaction: &Transaction<'_>, id: i64, author_id: i64) -> Result<bool, Error> {
    let Some(draft) = BLOG_LOCK.query_opt(transaction, &[&id, &author_id]).await? else { return Ok(false) };
    // This may wait for address locks; the moment of publishing must come after the last wait.
    move_address(transaction, id, draft.get("title")).await?;
    BLOG_PUBLISH.execute(transaction, &[&id]).await?;
    Ok(true)
}

pub(super) async fn unpublish(transaction: &Transaction<'_>, id: i64, author_id: i64) -> Result<bool, Error> {
    Ok(BLOG_UNPUBLISH.query_opt(transaction, &[&id, &author_id]).await?.is_some())
}

/// The author and state of a blog that is not deleted.
pub(super) async fn standing(client: &impl GenericClient, id: i64) -> Result<Option<Standing>, Error> {
    let row = BLOG_STANDING.query_opt(client, &[&id]).await?;
    Ok(row.map(|row| Standing {
        author_id: row.get("author_id"),
        is_live: row.get("is_live"),
        is_taken_down: row.get("is_taken_down"),
    }))
}

/// The live blogs that were imported from these paths.
pub(super) async fn source_paths(
    client: &impl GenericClient,
    paths: &[String],
) -> Result<Vec<(String, i64)>, Error> {
    let rows = SOURCE_PATHS.query(client, &[&paths]).await?;
    Ok(rows.iter().map(|row| (row.get("source_path"), row.get("id"))).collect())
}

async fn add_tags(transaction: &Transaction<'_>, blog_id: i64, tags: &[String]) -> Result<(), Error> {
    if !tags.is_empty() {
        TAG_CREATE.execute(transaction, &[&tags]).await?;
        BLOG_TAG_CREATE.execute(transaction, &[&blog_id, &tags]).await?;
    }
    Ok(())
}

/// Gives a blog the address that its title makes, unless it already has that address.
async fn move_address(transaction: &Transaction<'_>, id: i64, title: &str) -> Result<(), Error> {
    let slugs = slug::candidates(title, id, rand::random());
    BLOG_SLUG_LOCK.execute(transaction, &[&id, &slugs.as_slice()]).await?;
    if BLOG_SLUG_RETIRE.execute(transaction, &[&id, &slugs.as_slice()]).await? > 0 {
        give_address(transaction, id, &slugs).await?;
    }
    Ok(())
}

/// Gives the blog the first of these addresses that it had before or that is free. The last one contains random bits,
/// so that the addresses cannot all be taken in advance. If it is taken nonetheless, the blog gets no address; reading
/// the blog back then fails, so the caller's transaction does not commit.
async fn give_address(transaction: &Transaction<'_>, blog_id: i64, slugs: &[String]) -> Result<(), Error> {
    for slug in slugs {
        if BLOG_SLUG_REUSE.execute(transaction, &[slug, &blog_id]).await? > 0
            || BLOG_SLUG_CREATE.execute(transaction, &[slug, &blog_id]).await? > 0
        {
            break;
        }
    }
    Ok(())
}

fn blog(row: &Row) -> Blog {
    Blog { summary: summary(row), body: row.get("body") }
}

fn summary(row: &Row) -> BlogSummary {
    BlogSummary {
        id: row.get("id"),
        slug: row.get("slug"),
        title: row.get("title"),
        tags: row.get("tags"),
        author: Account { id: row.get("author_id"), handle: row.get("author_handle") },
        version: row.get("version"),
        created_at: row.get::<_, Timestamp>("created_at"),
        updated_at: row.get("updated_at"),
        published_at: row.get("published_at"),
        total_views: row.get("total_views"),
        total_likes: row.get("total_likes"),
        total_shares: row.get("total_shares"),
    }
}
