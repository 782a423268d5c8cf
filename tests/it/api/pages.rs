//! Pages as others fetch them: what counts as a view, and what no cache keeps.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::Answer;
use crate::services::Running;
use crate::world::World;

const VIEWS: &str = "select coalesce(sum(total_views), 0)::bigint from blogs.blog_counter";

fn page(api: &Running, path: &str) -> RequestBuilder {
    api.request(Method::GET, path).header("accept", "text/html")
}

#[tokio::test(flavor = "multi_thread")]
async fn image_of_another_site_counts_no_view() {
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let (_, token) = api.account("ada").await;
    api.blog(&token, "Embedded").await;
    for (destination, site) in [("image", "cross-site"), ("iframe", "cross-site"), ("empty", "same-origin")] {
        let fetched = page(&api, "/b/embedded").header("user-agent", destination);
        let fetched = fetched.header("sec-fetch-dest", destination).header("sec-fetch-site", site);
        Answer::to(fetched).await.is(200);
    }
    let shown = page(&api, "/b/embedded").header("user-agent", "shown").header("sec-fetch-dest", "document");
    Answer::to(shown).await.is(200);
    let old = page(&api, "/b/embedded").header("user-agent", "says nothing");
    Answer::to(old).await.is(200);
    world.until(VIEWS, 2_i64).await;
    // What has been published by now is in the queue or counted: the worker ends after it.
    api.stop().await;
    worker.stop().await;
    assert_eq!(world.value::<i64>(VIEWS, &[]).await, 2);
}
