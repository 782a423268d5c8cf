//! RabbitMQ or Postgres is down or too slow: the other server keeps the accepted events, or the answer is a timely 503.

use std::time::{Duration, Instant};

use reqwest::Method;
use runtime::settings::Loader;
use serde_json::json;
use tests::{World, wait_until};
use tokio::task::JoinSet;

use super::outbox::WAITING;
use super::spill::TOTALS;
use super::{Answer, tokens};

/// An address without a listener.
const NOWHERE: &str = "amqp://guest:hidden@127.0.0.1:1/%2f";
/// Longer than any of these answers takes, and far shorter than the deadlines that must not be reached.
const SOON: Duration = Duration::from_secs(20);

fn without_broker(loader: Loader, accept_timeout_ms: u32) -> Loader {
    loader
        .set("broker.url", NOWHERE)
        .set("engagement.accept_timeout_ms", accept_timeout_ms)
        .set("requests.timeout_ms", 300_000)
        .set("requests.drain_timeout_ms", 300_000)
}

#[tokio::test]
async fn batch_that_was_partly_sent_warns_that_it_may_count_twice() {
    let world = World::new().await;
    let one_waits = |loader| {
        without_broker(loader, 200_000)
            .set("broker.waiting_max", 1)
            .set("engagement.direct_batched.waiting_max", 1)
    };
    let api = world.api_with(one_waits).await;
    let blog = world.blogs(1).await[0];
    // Enough events for several envelopes or transactions; the second of them finds the queue full.
    let share = json!({"type": "blog.shared", "blog_id": blog, "channel": "email"});
    for path in ["message", "direct-batched"] {
        let batch = api.request(Method::POST, "/v1/engagement").header("X-Write-Path", path);
        let answer = Answer::to(batch.json(&vec![share.clone(); 1000])).await.refused(503);
        assert!(answer.detail().contains("it may count twice"), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn accepted_events_are_kept_until_rabbitmq_returns() {
    let world = World::new().await;
    let api = world.api_with(|loader| without_broker(loader, 200_000)).await;
    let (_, token) = api.account("ada").await;
    let blog = world.blogs(1).await[0];
    let call = |method, path: String| api.call(method, &path, Some(&token));
    let requests = [
        call(Method::POST, format!("/v1/blogs/{blog}/views")),
        call(Method::PUT, format!("/v1/blogs/{blog}/like")),
        call(Method::DELETE, format!("/v1/blogs/{blog}/like")),
        call(Method::POST, format!("/v1/blogs/{blog}/shares")).json(&json!({"channel": "link"})),
        call(Method::POST, "/v1/engagement".to_owned())
            .json(&json!([{"type": "blog.shared", "blog_id": blog, "channel": "email"}])),
    ];
    for request in requests {
        let began = Instant::now();
        Answer::to(request).await.is(202);
        assert!(
            began.elapsed() < SOON,
            "no request waits for a server that is known to be down: {:?}",
            began.elapsed()
        );
    }
    // The other write paths do not need RabbitMQ.
    assert_eq!(api.view(blog, "reader").await.is(200).totals(), [1, 0, 0]);
    assert_eq!(api.metric("engagement_refused_total").await, 0.0);
    let kept = "select sum(events)::bigint from blogs.outbox where routing_key = 'engagement'";
    assert_eq!(world.value::<i64>(kept, &[]).await, 5);
    api.stop().await;

    // Any process with a RabbitMQ connection sends the outbox.
    let with_broker = world.api().await;
    let worker = world.worker().await;
    world.until(WAITING, 0_i64).await;
    world.until("select sum(n)::bigint from analytics.envelope_ledger", 6_i64).await;
    assert_eq!(world.value::<Vec<i64>>(TOTALS, &[]).await, [2, 0, 2]);
    worker.stop().await;
    with_broker.stop().await;
    world.assert_consistent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_beyond_the_waiting_limit_is_refused_at_once() {
    let world = World::new().await;
    let narrow = |loader: Loader| {
        without_broker(loader, 200_000)
            .set("broker.waiting_max", 8)
            .set("engagement.spill.waiting_max", 1)
            .set("engagement.spill.insert_envelopes_max", 1)
    };
    let api = world.api_with(narrow).await;
    let blog = world.blogs(1).await[0];
    // The outbox is blocked: one envelope waits in the insert, one waits for the next insert, and the rest wait before
    // them.
    world.run("begin; lock table blogs.outbox in share mode").await;
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        let share = api.request(Method::POST, &format!("/v1/blogs/{blog}/shares"));
        requests.spawn(Answer::to(share.json(&json!({"channel": "link"}))));
    }
    let began = Instant::now();
    for _ in 0..60 {
        let answer = requests.join_next().await.unwrap().unwrap().refused(503);
        assert!(answer.detail().contains("too many requests are waiting"), "{answer:?}");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // The waiting envelopes are kept as soon as the outbox accepts them.
    world.run("commit").await;
    let (kept, refused): (Vec<_>, Vec<_>) =
        requests.join_all().await.into_iter().partition(|answer| answer.status == 202);
    assert!(kept.len() >= 8, "{} of {}", kept.len(), kept.len() + refused.len());
    refused.into_iter().for_each(|answer| drop(answer.refused(503)));
    let events = "select sum(events)::bigint from blogs.outbox";
    assert_eq!(world.value::<i64>(events, &[]).await, i64::try_from(kept.len()).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_is_refused_at_once_when_transactions_cannot_keep_up() {
    let world = World::new().await;
    let small = |loader: Loader| {
        loader
            .set("engagement.accept_timeout_ms", 200_000)
            .set("requests.timeout_ms", 300_000)
            .set("requests.drain_timeout_ms", 300_000)
            .set("engagement.direct_batched.waiting_max", 4)
            .set("engagement.direct_batched.events_max", 1)
            .set("engagement.direct_batched.transactions_max", 1)
    };
    let api = world.api_with(small).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Locked").await;
    // The test locks the counters, so that the first transaction waits and the others wait behind it.
    world.run("begin; select from blogs.blog_counter for update").await;
    let mut waiting = JoinSet::new();
    for n in 0..30 {
        let view = api.request(Method::POST, &format!("/v1/blogs/{blog}/views"));
        let view = view.header("X-Write-Path", "direct-batched").json(&json!({"visitor": n.to_string()}));
        waiting.spawn(Answer::to(view));
    }
    let began = Instant::now();
    let mut told = 0;
    while told < 20 {
        let answer = waiting.join_next().await.unwrap().unwrap().refused(503);
        assert!(answer.detail().contains("too many requests are waiting"), "{answer:?}");
        told += 1;
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    world.run("commit").await;
    let answers = waiting.join_all().await;
    let counted = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(counted >= 4, "those that waited are counted: {answers:?}");
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(503);
    }
    assert_eq!(api.totals(blog).await, [i64::try_from(counted).unwrap(), 0, 0]);
    world.assert_consistent().await;
}

#[tokio::test]
async fn without_postgres_likes_are_accepted_and_other_requests_get_503() {
    let world = World::new().await;
    let api = world.api().await;
    let worker = world.worker().await;
    worker.ready().await;
    let (_, token) = api.account("ada").await;
    let stranger = world.accounts(1).await[0];
    let blog = api.blog(&token, "Kept going").await;
    // One accepted view, which shows that RabbitMQ is up.
    api.post(&format!("/v1/blogs/{blog}/views"), Some(&token)).await.is(202);
    world.until("select total_views from blogs.blog_counter", 1_i64).await;

    world.close_database().await;
    api.degraded("database", "").await;
    let put = |path: String, token: &str| Answer::to(api.call(Method::PUT, &path, Some(token)));
    put(format!("/v1/blogs/{blog}/like"), &token).await.is(202);
    // A token of an account that this process has never seen is accepted unchecked, and so is the blog's id.
    put(format!("/v1/blogs/{blog}/like"), &tokens::issue(stranger)).await.is(202);
    put("/v1/blogs/999999/like".to_owned(), &token).await.is(202);
    put(format!("/v1/blogs/{blog}/like"), "garbage").await.refused(401);
    let new = json!({"title": "Not now", "body": ""});
    for refused in [
        api.get(&format!("/v1/blogs/{blog}"), None).await,
        api.get("/v1/blogs/by-slug/kept-going", None).await,
        api.get("/v1/blogs", Some(&token)).await,
        api.get(&format!("/v1/blogs/{blog}/stats"), None).await,
        api.post_json("/v1/blogs", Some(&token), new).await,
        api.post(&format!("/v1/blogs/{blog}/unpublish"), Some(&token)).await,
        api.delete(&format!("/v1/blogs/{blog}"), Some(&token)).await,
        api.sign_in("ada", super::PASSWORD).await,
        api.view(blog, "direct").await,
    ] {
        let answer = refused.refused(503);
        assert!(answer.detail().contains("not available"), "{answer:?}");
    }

    world.open_database().await;
    // Ada's like and the other account's count, and one event is discarded.
    world.until("select total_likes from blogs.blog_counter", 2_i64).await;
    world
        .until("select coalesce(sum(n), 0)::bigint from analytics.outcome where outcome = 'discarded'", 1_i64)
        .await;
    let reading = wait_until(async || api.get(&format!("/v1/blogs/{blog}"), None).await.status == 200);
    assert!(reading.await, "the API finds Postgres again");
    assert_eq!(api.totals(blog).await, [1, 2, 0]);
    worker.stop().await;
    api.stop().await;
    world.assert_consistent().await;
}
