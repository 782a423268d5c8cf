//! A full lock table. All sessions of a server share it, and Postgres cannot keep a role from filling it with
//! savepoints. Readiness still answers. Once the session that filled it has ended, requests that need few locks work
//! again.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use tests::{World, answer, wait_until};

/// Savepoints in a statement. Each one that has written holds a lock until the transaction ends.
const SAVEPOINTS: usize = 500;
/// Longest time until `/readyz` answers; it reports what the service already knows.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Longer than ten seconds, the longest pause between two checks that a service makes.
const LOOKED_AT_FOR: Duration = Duration::from_secs(12);

#[tokio::test]
async fn readiness_answers_while_the_lock_table_is_full() {
    let (world, postgres) = World::on_its_own_server("lock_table").await;
    let (api, worker, notifier) = (world.api().await, world.worker().await, world.notifier().await);
    for service in [&api, &worker, &notifier] {
        service.ready().await;
    }
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Locked out").await;

    let thief = world.session("blogs_api").await;
    thief.client.batch_execute("set idle_in_transaction_session_timeout = 0; begin").await.unwrap();
    let step = "savepoint s;
                insert into blogs.outbox (id, routing_key, events, body) values (gen_random_uuid(), 'none', 1, '');"
        .repeat(SAVEPOINTS);
    let full = loop {
        if let Err(error) = thief.client.batch_execute(&step).await {
            break error;
        }
    };
    assert_eq!(full.code().unwrap().code(), "53200", "{full:?}");

    // Each service checks its database several times meanwhile.
    let until = Instant::now() + LOOKED_AT_FOR;
    while Instant::now() < until {
        for (name, service) in [("api", &api), ("worker", &worker), ("notifier", &notifier)] {
            let asked = Instant::now();
            let (status, said) = answer(service.request(Method::GET, "/readyz")).await;
            assert!(asked.elapsed() < ANSWER_MAX, "{name} took {:?}", asked.elapsed());
            assert!(
                matches!(status.as_u16(), 200 | 503) && said["parts"].is_object(),
                "{name}: {status} {said}"
            );
            assert_eq!(said["parts"]["database"]["works"], true, "{name}: {said}");
        }
        let (status, said) = answer(api.request(Method::GET, &format!("/v1/blogs/{blog}"))).await;
        assert!(matches!(status.as_u16(), 200 | 503), "{status} {said}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let full = thief.client.batch_execute("select 1").await.unwrap_err();
    assert_eq!(full.code().unwrap().code(), "25P02", "the transaction still holds its locks: {full:?}");

    drop(thief);
    let read = wait_until(async || {
        answer(api.request(Method::GET, &format!("/v1/blogs/{blog}"))).await.0 == StatusCode::OK
    });
    assert!(read.await, "the blog can be read again");
    for service in [api, worker, notifier] {
        service.ready().await;
        service.stop().await;
    }
    drop(postgres);
}
