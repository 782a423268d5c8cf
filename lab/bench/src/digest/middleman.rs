//! The digest of a service that may not read the shared tables: it asks the Blogs API for the accounts that the reader follows,
//! for each author's blogs, and for each blog's statistics. It has every advantage: one keep-alive connection, no process of
//! its own, and no failure to handle except by failing.

use jiff::Timestamp;
use load::{Broken, Connection};
use serde::Deserialize;

use super::Item;
use crate::author::{Author, get};

/// The same bounds as in the statement of the Digest API.
const AUTHORS_MAX: usize = 1000;
const BLOGS_MAX: usize = 100;
const BLOGS_OF_AUTHOR_MAX: usize = 20;

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    id: i64,
    handle: String,
}

#[derive(Deserialize)]
struct Blog {
    id: i64,
    title: String,
    published_at: Timestamp,
}

#[derive(Deserialize)]
struct Stats {
    in_range: Sums,
}

#[derive(Deserialize)]
struct Sums {
    views: i64,
    likes: i64,
    shares: i64,
}

/// The number of lines of this file.
pub(super) fn lines() -> usize {
    include_str!("middleman.rs").lines().count()
}

/// The digest since `from`, and the number of requests.
pub(super) async fn digest(
    connection: &mut Connection,
    reader: &Author,
    from: Timestamp,
) -> Result<(Vec<Item>, u32), Broken> {
    let mut requests = 0;
    let mut authors: Vec<Account> = Vec::new();
    let mut path = format!("/v1/accounts/{}/following?limit=100", reader.id);
    loop {
        let page: Page<Account> = get(connection, reader.api(), &path, Some(reader.token())).await?;
        requests += 1;
        authors.extend(page.items);
        let Some(cursor) = page.next_cursor.filter(|_| authors.len() < AUTHORS_MAX) else { break };
        path = format!("/v1/accounts/{}/following?limit=100&cursor={cursor}", reader.id);
    }
    authors.truncate(AUTHORS_MAX);
    let mut published: Vec<(Blog, String)> = Vec::new();
    for Account { id, handle } in authors {
        let path = format!("/v1/blogs?author={id}&limit={BLOGS_OF_AUTHOR_MAX}");
        let page: Page<Blog> = get(connection, reader.api(), &path, None).await?;
        requests += 1;
        let recent = page.items.into_iter().filter(|blog| blog.published_at >= from);
        published.extend(recent.map(|blog| (blog, handle.clone())));
    }
    published.sort_by_key(|(blog, _)| std::cmp::Reverse((blog.published_at, blog.id)));
    published.truncate(BLOGS_MAX);
    let mut items = Vec::new();
    for (Blog { id, title, published_at }, author) in published {
        let path = format!("/v1/blogs/{id}/stats?interval=hour&from={from}");
        let Stats { in_range: Sums { views, likes, shares } } =
            get(connection, reader.api(), &path, None).await?;
        requests += 1;
        items.push(Item { id, title, author, published_at, views, likes, shares });
    }
    Ok((items, requests))
}
