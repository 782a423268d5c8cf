//! Likes, and the recommendations learnt from them.

use std::collections::BTreeMap;

use crate::world::World;

impl World {
    /// Sets likes, as (account, blog, liked).
    pub async fn set_likes(&self, likes: &[(i64, i64, bool)]) {
        let accounts: Vec<i64> = likes.iter().map(|like| like.0).collect();
        let blogs: Vec<i64> = likes.iter().map(|like| like.1).collect();
        let liked: Vec<bool> = likes.iter().map(|like| like.2).collect();
        let sql = include_str!("../sql/set_likes.sql");
        self.client().execute(sql, &[&accounts, &blogs, &liked]).await.unwrap();
    }

    /// Waits until all likes so far have been learnt.
    pub async fn learnt(&self) {
        let xid: i64 = self.value("select pg_current_xact_id()::text::bigint", &[]).await;
        let learnt = format!("select generation > 0 and applied_xid > {xid} from recommend.progress");
        self.until(&learnt, true).await;
    }

    /// Requests a new generation, and waits until it is shown.
    pub async fn rebuilt(&self) {
        let before: i32 = self.value("select generation from recommend.progress", &[]).await;
        self.run("update recommend.progress set wanted_since = now()").await;
        self.until("select generation from recommend.progress", before + 1).await;
    }

    /// The neighbours that readers are shown, by blog, without blogs that have none.
    pub async fn neighbours(&self) -> BTreeMap<i64, Vec<(i64, f32)>> {
        let sql = "select n.blog_id, n.neighbour_ids, n.similarities
                   from recommend.neighbour n join recommend.progress p using (generation)
                   where cardinality(n.neighbour_ids) > 0";
        let rows = self.client().query(sql, &[]).await.unwrap();
        let row = |row: &tokio_postgres::Row| {
            let (ids, similarities): (Vec<i64>, Vec<f32>) = (row.get(1), row.get(2));
            (row.get(0), ids.into_iter().zip(similarities).collect())
        };
        rows.iter().map(row).collect()
    }

    /// Gives addresses to blogs that were made without one.
    pub async fn addressed(&self) {
        self.run("insert into blogs.blog_slug (slug, blog_id, is_current) select 'blog-' || id, id, true from blogs.blog").await;
    }
}
