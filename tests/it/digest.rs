//! The Digest API: which blogs a digest lists, and that its sums agree with the statistics of the Blogs API.

use reqwest::Method;
use serde_json::{Value, json};
use services::named;
use tests::{Running, World, tokens, wait_until};
use tokio_postgres::error::SqlState;

async fn digests(world: &World) -> Running {
    let service = world.listed(named("digest-api").unwrap(), &[]).await;
    let ready = async || service.operations("/readyz").send().await.unwrap().status() == 200;
    assert!(wait_until(ready).await, "the database answers");
    service
}

fn titles(digest: &Value) -> Vec<&str> {
    digest["items"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn digest_lists_what_followed_authors_published_this_week() {
    let world = World::new().await;
    let (api, service) = (world.api().await, digests(&world).await);
    let (ada, of_ada) = api.account("ada").await;
    let (grace, of_grace) = api.account("grace").await;
    let (_, of_alan) = api.account("alan").await;
    let (_, of_reader) = api.account("reader").await;
    for account in [ada, grace] {
        api.follow(account, &of_reader).await.is(204);
    }
    let old = api.blog(&of_ada, "Too old").await;
    let first = api.blog(&of_ada, "First").await;
    let second = api.blog(&of_grace, "Second").await;
    let hidden = api.blog(&of_grace, "Taken down").await;
    api.blog(&of_alan, "Of a stranger").await;
    api.draft(&of_ada, "A draft").await;
    world
        .run(&format!("update blogs.blog set published_at = now() - interval '8 days' where id = {old}"))
        .await;
    world
        .run(&format!("update blogs.blog set published_at = now() - interval '1 day' where id = {first}"))
        .await;
    world.run(&format!("update blogs.blog set taken_down_at = now() where id = {hidden}")).await;
    for visitor in ["one", "two"] {
        api.view(second, visitor).await;
    }
    let like = api.call(Method::PUT, &format!("/v1/blogs/{second}/like"), Some(&of_alan));
    tests::Answer::to(like.header("x-write-path", "direct")).await.is(200);

    let digest = service.get("/v1/digest", Some(&of_reader)).await.is(200).body;
    assert_eq!(titles(&digest), ["Second", "First"], "{digest}");
    let item = &digest["items"][0];
    assert_eq!((&item["id"], &item["author"]), (&json!(second), &json!("grace")), "{digest}");
    let stats = format!("/v1/blogs/{second}/stats?interval=hour&from={}", digest["from"].as_str().unwrap());
    let sums = api.get(&stats, None).await.is(200).body["in_range"].clone();
    for sum in ["views", "likes", "shares"] {
        assert_eq!(item[sum], sums[sum], "{sum}: {digest} {sums}");
    }
    assert_eq!((&item["views"], &item["likes"], &item["shares"]), (&json!(2), &json!(1), &json!(0)));
    let metrics = service.operations("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("digest_blogs_total 2\n"), "{metrics}");

    world.run(&format!("update blogs.account set suspended_at = now() where id = {grace}")).await;
    let digest = service.get("/v1/digest", Some(&of_reader)).await.is(200).body;
    assert_eq!(titles(&digest), ["First"], "blogs of suspended accounts are not visible");
    let digest = service.get("/v1/digest", Some(&of_alan)).await.is(200).body;
    assert_eq!(titles(&digest), [""; 0]);
}

#[tokio::test]
async fn digest_requires_a_signed_in_account() {
    let world = World::new().await;
    let service = digests(&world).await;
    let [account, signed_out] = world.accounts(2).await[..] else { panic!("two accounts") };
    service.get("/v1/digest", None).await.refused(401);
    service.get("/v1/digest", Some("no token")).await.refused(401);
    service.get("/v1/digest", Some(&tokens::issue_import(account))).await.refused(401);
    service.get("/v1/digest", Some(&tokens::issue(account))).await.is(200);
    world.run(&format!("update blogs.account set token_epoch = 1 where id = {signed_out}")).await;
    let revoked = service.get("/v1/digest", Some(&tokens::issue(signed_out))).await.refused(401);
    assert!(revoked.detail().contains("revoked"), "{revoked:?}");
    service.get("/v1/nothing", None).await.refused(404);
    service.delete("/v1/digest", None).await.refused(405);
}

#[tokio::test]
async fn digest_has_at_most_100_blogs_and_20_of_an_author() {
    let world = World::new().await;
    let service = digests(&world).await;
    let accounts = world.accounts(7).await;
    let (reader, authors) = accounts.split_first().unwrap();
    for author in authors {
        world
            .run(&format!(
                "with blog as (insert into blogs.blog (author_id, title, body, published_at)
                   select {author}, 'Blog ' || n, 'Text', now() - n * interval '1 minute'
                   from generate_series(1, 30) as n returning id)
                 insert into blogs.blog_slug (slug, blog_id, is_current) select 'blog-' || id, id, true from blog"
            ))
            .await;
        world
            .run(&format!("insert into social.follow (followee_id, follower_id) values ({author}, {reader})"))
            .await;
    }
    let digest = service.get("/v1/digest", Some(&tokens::issue(*reader))).await.is(200).body;
    let titles = titles(&digest);
    assert_eq!(titles.len(), 100);
    assert!(titles.iter().all(|title| title["Blog ".len()..].parse::<i32>().unwrap() <= 20), "{titles:?}");
}

#[tokio::test]
async fn role_reads_what_a_digest_shows_and_nothing_else() {
    let world = World::new().await;
    let session = world.session("digest_api").await;
    // A role can change its own defaults, so the defaults cannot protect anything.
    session.client.batch_execute("set default_transaction_read_only = off").await.unwrap();
    session
        .client
        .batch_execute("select handle from blogs.account; select title from blogs.blog")
        .await
        .unwrap();
    for refused in [
        "select email from blogs.account",
        "select password_hash from blogs.account",
        "select body from blogs.blog",
        "select visitor from analytics.blog_view",
        "select account_id from analytics.blog_like",
        "select recipient_id from notify.notification",
        "select followed_at from social.follow",
        "update blogs.blog_counter set total_views = 0",
        "delete from social.follow",
    ] {
        let error = session.client.batch_execute(refused).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused}: {error}");
    }
}
