//! `Idempotency-Key` when making blogs: a request counts once, however often it is sent.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Running, World};
use tokio::task::JoinSet;

use super::{Answer, tokens};

const FORGET: &str = include_str!("../../../services/blogs-api/sql/idempotency_forget.sql");
/// The statements that the operator's command sends.
const RETIRE: &str = include_str!("../../../cli/sql/account_retire.sql");
const ERASE: &str = include_str!("../../../cli/sql/account_erase.sql");
const KEYS: &str = "select count(*) from blogs.idempotency_key";

async fn create(api: &Running, token: &str, key: &[u8], body: &Value) -> Answer {
    let request = api.call(Method::POST, "/v1/blogs", Some(token)).header("Idempotency-Key", key);
    Answer::to(request.json(body)).await
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let new = json!({"title": "Once", "body": "Text", "tags": ["B", "a"], "publish": true});
    let first = create(&api, &token, b"key-1", &new).await.is(201);
    assert_eq!(first.header("idempotency-replayed"), None);

    // Later changes of the blog do not change the answer.
    api.patch(&format!("/v1/blogs/{}", first.id()), Some(&token), json!({"title": "Changed"})).await.is(200);
    let again = create(&api, &token, b"key-1", &new).await.is(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    for name in ["location", "etag", "content-type"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    // Another process knows it too.
    let other = world.api().await;
    assert_eq!(create(&other, &token, b"key-1", &new).await.is(201).body, first.body);
    assert_eq!(world.value::<i64>("select count(*) from blogs.blog", &[]).await, 1);

    // Without a key, or with another one, it is another blog.
    let second = create(&api, &token, b"key-2", &new).await.is(201);
    let third = api.post_json("/v1/blogs", Some(&token), new).await.is(201);
    assert_eq!(BTreeSet::from([first.id(), second.id(), third.id()]).len(), 3);
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_account() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let (_, other) = api.account("grace").await;
    let new = json!({"title": "Mine", "body": "Text"});
    let mine = create(&api, &token, b"key", &new).await.is(201);
    for change in [json!({"title": "Other"}), json!({"tags": ["x"]}), json!({"publish": true})] {
        let mut different = new.clone();
        different.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        create(&api, &token, b"key", &different).await.names(422, &["idempotency-key"]);
    }
    let theirs = create(&api, &other, b"key", &new).await.is(201);
    assert_ne!(theirs.id(), mine.id());
    assert_eq!(theirs.header("idempotency-replayed"), None);

    // A refused request has no effect, so the key is still free.
    let wrong = json!({"title": "", "body": ""});
    create(&api, &token, b"key-2", &wrong).await.names(422, &["title"]);
    create(&api, &token, b"key-2", &new).await.is(201);

    for bad in [&b""[..], b"two words", b"\xff", &[b'k'; 129]] {
        create(&api, &token, bad, &new).await.names(400, &["idempotency-key"]);
    }
    create(&api, &token, &[b'k'; 128], &new).await.is(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_with_one_key_act_once_and_get_one_answer() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let new = json!({"title": "At once", "body": "Text", "publish": true});
    let mut requests = JoinSet::new();
    for _ in 0..12 {
        let request = api.call(Method::POST, "/v1/blogs", Some(&token)).header("Idempotency-Key", "one");
        requests.spawn(Answer::to(request.json(&new)));
    }
    let answers: Vec<Answer> = requests.join_all().await.into_iter().map(|answer| answer.is(201)).collect();
    assert!(answers.iter().all(|answer| answer.body == answers[0].body), "{answers:?}");
    let replayed = answers.iter().filter(|answer| answer.header("idempotency-replayed") == Some("true"));
    assert_eq!(replayed.count(), 11);
    assert_eq!(world.value::<i64>("select count(*) from blogs.blog", &[]).await, 1);
    let addresses = "select count(*) from blogs.blog_slug";
    assert_eq!(
        world.value::<i64>(addresses, &[]).await,
        1,
        "nothing is left of the work that was taken back"
    );
}

/// Transactions wait at this trigger until the returned session releases its advisory lock.
async fn gate(world: &World, trigger: &str) -> database::Session {
    let holder = world.another().await;
    let hold = format!(
        "create function public.wait_at_gate() returns trigger language plpgsql security definer as $$
         begin
           perform pg_catalog.pg_advisory_xact_lock_shared(1);
           return coalesce(new, old);
         end $$;
         create trigger gate {trigger} execute function public.wait_at_gate();
         select pg_advisory_lock(1)"
    );
    holder.client.batch_execute(&hold).await.unwrap();
    holder
}

/// Answers cannot be stored until the session is dropped.
const BEFORE_ANSWERS: &str = "before insert on blogs.idempotency_key for each statement";

async fn until_waiting(world: &World, wait_event: &str) {
    let waits = format!(
        "select count(*) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and wait_event = '{wait_event}'"
    );
    world.until(&waits, 1_i64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_one_key_that_meet_at_a_source_path_get_one_answer() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, _) = api.account("ada").await;
    let importer = tokens::issue_import(ada);
    let post = |key: &'static str, title: &str| {
        let request = api.call(Method::POST, "/v1/blogs", Some(&importer)).header("Idempotency-Key", key);
        let new = json!({"title": title, "body": "", "tags": ["a"], "publish": true,
                         "source_path": "example.org/one"});
        Answer::to(request.json(&new))
    };

    // The first request has written its blog and not yet its key; the second one waits for it at the source path.
    let holder = gate(&world, BEFORE_ANSWERS).await;
    let mut first = JoinSet::new();
    first.spawn(post("one", "Imported"));
    until_waiting(&world, "advisory").await;
    let mut again = JoinSet::new();
    again.spawn(post("one", "Imported"));
    until_waiting(&world, "transactionid").await;
    holder.client.batch_execute("select pg_advisory_unlock(1)").await.unwrap();

    let first = first.join_next().await.unwrap().unwrap().is(201);
    let again = again.join_next().await.unwrap().unwrap().is(201);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("location"), first.header("location"));
    // Another request under the key, and the path under another key, are refused as before.
    post("one", "Another").await.names(422, &["idempotency-key"]);
    post("two", "Imported").await.names(409, &["source_path"]);
    assert_eq!(world.value::<i64>("select count(*) from blogs.blog", &[]).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_request_with_the_key_of_a_running_one_is_refused() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, _) = api.account("ada").await;
    let importer = tokens::issue_import(ada);
    let post = |key: &'static str, title: &str| {
        let request = api.call(Method::POST, "/v1/blogs", Some(&importer)).header("Idempotency-Key", key);
        Answer::to(request.json(&json!({"title": title, "body": "", "source_path": "example.org/one"})))
    };
    for (key, fields, status) in [("one", ["idempotency-key"], 422), ("two", ["source_path"], 409)] {
        world.run("drop function if exists public.wait_at_gate() cascade").await;
        world.run("delete from blogs.idempotency_key; update blogs.blog set source_path = null").await;
        let holder = gate(&world, BEFORE_ANSWERS).await;
        let mut first = JoinSet::new();
        first.spawn(post("one", "Imported"));
        until_waiting(&world, "advisory").await;
        let mut other = JoinSet::new();
        other.spawn(post(key, "Another"));
        until_waiting(&world, "transactionid").await;
        holder.client.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
        first.join_next().await.unwrap().unwrap().is(201);
        other.join_next().await.unwrap().unwrap().names(status, &fields);
    }
}

/// Stores a number of answers of an account from more than a day ago, under keys in random order.
async fn keep_old_answers(world: &World, account: i64, count: i64) {
    let keep = "insert into blogs.idempotency_key (account_id, key, request_hash, status, response, created_at)
                select $1, 'key-' || md5(n::text), '', 201, '{}', now() - interval '2 days' + n * interval '1 ms'
                from generate_series(1, $2::bigint) as n";
    world.client().execute(keep, &[&account, &count]).await.unwrap();
}

#[tokio::test]
async fn deleting_old_answers_skips_locked_rows() {
    let world = World::new().await;
    let account = world.accounts(1).await[0];
    keep_old_answers(&world, account, 10).await;
    let holder = world.another().await;
    let hold = "begin; select from blogs.idempotency_key where key = 'key-' || md5('5') for update";
    holder.client.batch_execute(hold).await.unwrap();
    let api = world.session("blogs_api").await;
    api.client.batch_execute("set lock_timeout = '1s'").await.unwrap();
    assert_eq!(api.client.execute(FORGET, &[&4_i64]).await.unwrap(), 4);
    assert_eq!(api.client.execute(FORGET, &[&100_i64]).await.unwrap(), 5);
    assert!(world.value::<bool>("select key = 'key-' || md5('5') from blogs.idempotency_key", &[]).await);
    holder.client.batch_execute("rollback").await.unwrap();
    assert_eq!(api.client.execute(FORGET, &[&100_i64]).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_deleted_while_their_account_is_erased() {
    let world = World::new().await;
    let account = world.accounts(1).await[0];
    keep_old_answers(&world, account, 60_000).await;
    let (operator, api) = (world.session("operator").await, world.session("blogs_api").await);
    operator.client.query_one(RETIRE, &[&account]).await.unwrap();

    // The deletion of old answers has locked a row. The erasure has also locked one, or waits for that row.
    let holder = gate(&world, "before delete on blogs.idempotency_key for each row").await;
    let forgetting = async {
        let mut forgotten = 0;
        while world.value::<i64>(KEYS, &[]).await > 0 {
            forgotten += api.client.execute(FORGET, &[&1000_i64]).await.unwrap();
        }
        forgotten
    };
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    let erasing = async {
        world.until(waiting, 1_i64).await;
        operator.client.query_one(ERASE, &[&account]).await.unwrap()
    };
    let opening = async {
        world.until(waiting, 2_i64).await;
        holder.client.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
    };
    let (forgotten, _, ()) = tokio::join!(forgetting, erasing, opening);
    assert!(forgotten > 0);
    assert_eq!(world.deadlocks().await, 0);
}
