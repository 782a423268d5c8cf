//! The three write paths: after the same input they leave the same rows.

use events::{Action, Channel};
use proxy::{Mode, Proxy};
use reqwest::{Method, StatusCode};
use runtime::settings::Loader;
use serde_json::{Value, json};
use tests::{Running, World, away_from_midnight};

const PATHS: [&str; 3] = events::WritePath::NAMES;

/// One event: the reader, the blog, what was done, and perhaps a key.
type Input = (usize, i64, Action, Option<u8>);

/// Engagement of a few readers with a few blogs, with repeats of every kind in it.
fn input(blogs: &[i64], seed: u64) -> Vec<Input> {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut one = || {
        let blog = blogs[random.random_range(0..blogs.len())];
        let action = match random.random_range(0..5) {
            0 => Action::Liked { account_id: 0 },
            1 => Action::Unliked { account_id: 0 },
            2 => Action::Shared(Channel::ALL[random.random_range(0..5)]),
            _ => Action::Viewed(events::Visitor(random.random_range(0..8))),
        };
        let key = random.random_bool(0.3).then(|| random.random_range(0..4));
        (random.random_range(0..3), blog, action, key)
    };
    (0..300).map(|_| one()).collect()
}

async fn send(
    api: &Running,
    path: &str,
    tokens: &[String],
    (reader, blog, action, key): &Input,
) -> StatusCode {
    let token = &tokens[*reader];
    let (method, at, body) = match action {
        Action::Viewed(visitor) => {
            (Method::POST, "views", json!({"visitor": format!("reader {}", visitor.0)}))
        }
        Action::Liked { .. } => (Method::PUT, "like", Value::Null),
        Action::Unliked { .. } => (Method::DELETE, "like", Value::Null),
        Action::Shared(channel) => (Method::POST, "shares", json!({"channel": channel.name()})),
    };
    let mut request = api.request(method, &format!("/v1/blogs/{blog}/{at}")).header("X-Write-Path", path);
    if matches!(action, Action::Liked { .. } | Action::Unliked { .. }) {
        request = request.bearer_auth(token);
    }
    if !body.is_null() {
        request = request.json(&body);
    }
    if let Some(key) = key {
        request = request.header("Idempotency-Key", format!("key {key}"));
    }
    request.send().await.unwrap().status()
}

/// Sends a batch of imported past events, with and without keys, each of them twice.
async fn send_batch(api: &Running, path: &str, importer: &str, blogs: &[i64]) -> usize {
    let mut events = Vec::new();
    for (n, blog) in blogs.iter().enumerate() {
        let past = format!("2020-02-29T23:{:02}:00Z", 10 * n);
        events.push(
            json!({"type": "blog.shared", "blog_id": blog, "channel": "link", "occurred_at": past, "key": format!("share {n}")}),
        );
        events.push(json!({"type": "blog.viewed", "blog_id": blog, "visitor": "then", "occurred_at": past}));
        events.push(json!({"type": "blog.viewed", "blog_id": blog, "visitor": "keyed", "occurred_at": past, "key": "once"}));
    }
    events.extend(events.clone());
    let batch =
        api.request(Method::POST, "/v1/engagement").bearer_auth(importer).header("X-Write-Path", path);
    let (status, answer) = tests::answer(batch.json(&events)).await;
    assert!(status.is_success(), "{answer}");
    assert_eq!(answer["accepted"], events.len(), "{answer}");
    events.len()
}

/// Runs the input through one path on a database of its own, and returns the checksum of each table.
async fn checksums(path: &str) -> Vec<(String, i64, String)> {
    let world = World::new().await;
    // The window is a day, and the checksums leave out the hours, because the three runs do not start in the same
    // second.
    let api = world.api_with(|loader| loader.set("engagement.view_window_s", 86_400)).await;
    let worker = world.worker_with(|loader| loader.set("engagement.view_window_s", 86_400)).await;
    api.connected().await;
    let (mut tokens, mut ids) = (Vec::new(), Vec::new());
    for handle in ["ada", "grace", "edsger"] {
        let (id, token) = api.account(handle).await;
        ids.push(id);
        tokens.push(token);
    }
    let mut blogs = Vec::new();
    for n in 0..4 {
        blogs.push(api.blog(&tokens[0], &format!("Blog {n}")).await);
    }
    let events = input(&blogs, 7);
    for event in &events {
        let status = send(&api, path, &tokens, event).await;
        assert_eq!(status, if path == "message" { StatusCode::ACCEPTED } else { StatusCode::OK });
    }
    let importer = tests::tokens::issue_import(ids[0]);
    let sent = events.len() + send_batch(&api, path, &importer, &blogs).await;
    let accounted = "select coalesce(sum(n), 0)::bigint from analytics.outcome";
    world.until(accounted, i64::try_from(sent).unwrap()).await;
    world.assert_consistent().await;
    let rows = world.client().query(include_str!("sql/checksums.sql"), &[]).await.unwrap();
    api.stop().await;
    worker.stop().await;
    rows.iter().map(|row| (row.get("name"), row.get("rows"), row.get("checksum"))).collect()
}

#[tokio::test]
async fn all_write_paths_leave_the_same_rows() {
    away_from_midnight().await;
    let message = checksums(PATHS[0]).await;
    let direct = checksums(PATHS[1]).await;
    let batched = checksums(PATHS[2]).await;
    assert_eq!(message, direct);
    assert_eq!(message, batched);
    for ((name, rows, checksum), ((_, _, of_direct), (_, _, of_batched))) in
        message.iter().zip(direct.iter().zip(&batched))
    {
        assert!(*rows > 0, "{name} is empty, so that its checksum says nothing");
        println!(
            "{name:<14} {rows:>4} rows  message {checksum}  direct {of_direct}  direct-batched {of_batched}"
        );
    }
}

#[tokio::test]
async fn direct_answers_with_the_new_totals() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Totals").await;
    for path in ["direct", "direct-batched"] {
        let like = api.request(Method::PUT, &format!("/v1/blogs/{blog}/like")).bearer_auth(&token);
        let (status, totals) = tests::answer(like.header("X-Write-Path", path)).await;
        assert_eq!(status, StatusCode::OK, "{totals}");
        assert_eq!(totals["total_likes"], 1, "{totals}");
    }
    world.assert_consistent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_direct_requests_are_grouped_and_each_is_answered() {
    let world = World::new().await;
    let api = std::sync::Arc::new(world.api_with(|loader| loader.set("engagement.view_window_s", 0)).await);
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Crowd").await;
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..200 {
        let api = std::sync::Arc::clone(&api);
        requests.spawn(async move {
            let request = api.request(Method::POST, &format!("/v1/blogs/{blog}/views"));
            let request =
                request.header("X-Write-Path", "direct-batched").json(&json!({"visitor": n.to_string()}));
            request.send().await.unwrap().status()
        });
    }
    while let Some(status) = requests.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    assert_eq!(world.value::<i64>("select total_views from blogs.blog_counter", &[]).await, 200);
    let envelopes: i64 = world.value("select count(*) from analytics.envelope_ledger", &[]).await;
    assert!(envelopes < 200, "{envelopes} transactions for 200 requests: nothing was grouped");
    world.assert_consistent().await;
}

#[tokio::test]
async fn direct_path_is_refused_unless_enabled() {
    let world = World::new().await;
    let api = world.api_with(|loader| loader.set("engagement.direct_path", false)).await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Closed").await;
    for path in ["direct", "direct-batched", "sideways"] {
        let view = api.request(Method::POST, &format!("/v1/blogs/{blog}/views")).header("X-Write-Path", path);
        let (status, problem) = tests::answer(view).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    }
}

/// Postgres becomes unreachable while the API waits for a COMMIT, and commits all the same.
#[tokio::test]
async fn caller_with_an_unknown_outcome_is_told_so() {
    for path in ["direct", "direct-batched"] {
        let world = World::new().await;
        let upstream = format!("127.0.0.1:{}", world.port()).parse().unwrap();
        let proxy = Proxy::start(upstream, Mode::Open).await.unwrap();
        let through = world.url("blogs_api").replace(&upstream.to_string(), &proxy.address().to_string());
        let api = world
            .api_with(|loader| {
                loader
                    .set("database.url", through)
                    .set("database.connect_timeout_ms", 1000)
                    .set("database.wait_timeout_ms", 1000)
            })
            .await;
        let blog = world.blogs(1).await[0];
        let share = |key: &str| {
            let request = api.request(Method::POST, &format!("/v1/blogs/{blog}/shares"));
            request
                .header("X-Write-Path", path)
                .header("Idempotency-Key", key)
                .json(&json!({"channel": "link"}))
        };
        let (status, said) = tests::answer(share("first")).await;
        assert_eq!(status, StatusCode::OK, "{said}");

        // Every COMMIT waits for the lock that is taken here.
        world.run(include_str!("sql/hold_commits.sql")).await;
        let cut = async {
            let waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted and database = \
                         (select oid from pg_database where datname = current_database())";
            world.until(waits, 1_i64).await;
            proxy.set(Mode::Refuse);
            proxy.cut();
        };
        let ((status, said), ()) = tokio::join!(tests::answer(share("second")), cut);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{said}");
        assert!(said["detail"].as_str().unwrap().contains("it may count twice"), "{said}");
        // The outcome of a request that comes now is certain: it is refused.
        let (status, said) = tests::answer(share("third")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{said}");
        assert!(!said["detail"].as_str().unwrap().contains("it may count twice"), "{said}");

        world.run("select pg_advisory_unlock_all()").await;
        world.until("select total_shares from blogs.blog_counter", 2_i64).await;
        proxy.set(Mode::Open);
        api.ready().await;
        let (status, said) = tests::answer(share("second")).await;
        assert_eq!((status, &said["total_shares"]), (StatusCode::OK, &json!(2)), "{said}");
        world.assert_consistent().await;
    }
}

/// The connection ends while the API waits for a COMMIT, and the API can find the outcome in the ledger.
#[tokio::test]
async fn unanswered_commit_is_resolved_by_the_ledger() {
    for path in ["direct", "direct-batched"] {
        let world = World::new().await;
        let upstream = format!("127.0.0.1:{}", world.port()).parse().unwrap();
        let proxy = Proxy::start(upstream, Mode::Open).await.unwrap();
        let through = world.url("blogs_api").replace(&upstream.to_string(), &proxy.address().to_string());
        // The API learns late that a blog is taken down, so it still writes events that the rules then discard.
        let slow = |loader: Loader| loader.set("engagement.live_blogs.ttl_ms", 60_000);
        let api = world.api_with(|loader| slow(loader).set("database.url", through)).await;
        let blogs = world.blogs(2).await;
        let share = |blog: i64, key: &'static str| {
            let request = api.request(Method::POST, &format!("/v1/blogs/{blog}/shares"));
            let request = request.header("X-Write-Path", path).header("Idempotency-Key", key);
            tests::answer(request.json(&json!({"channel": "link"})))
        };
        for blog in &blogs {
            assert_eq!(share(*blog, "first").await.0, StatusCode::OK);
        }
        world.run(&format!("update blogs.blog set taken_down_at = now() where id = {}", blogs[1])).await;
        world.run(include_str!("sql/hold_commits.sql")).await;
        // The COMMIT waits for the lock that is held here, and the next attempt waits for that COMMIT.
        let cut = async || {
            let waiting = |event: &str| {
                format!(
                    "select count(*) from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock' and wait_event = '{event}'"
                )
            };
            world.until(&waiting("advisory"), 1_i64).await;
            proxy.cut();
            world.until(&waiting("transactionid"), 1_i64).await;
            world.run("select pg_advisory_unlock_all()").await;
        };
        // Counted, a repeat, and discarded.
        for (blog, key, status, total) in [
            (blogs[0], "second", StatusCode::OK, json!(2)),
            (blogs[0], "first", StatusCode::OK, json!(2)),
            (blogs[1], "second", StatusCode::NOT_FOUND, serde_json::Value::Null),
        ] {
            let ((answered, said), ()) = tokio::join!(share(blog, key), cut());
            assert_eq!((answered, &said["total_shares"]), (status, &total), "{path}: {said}");
            world.run("select pg_advisory_lock(1)").await;
        }
        world.run("select pg_advisory_unlock_all()").await;
        assert_eq!(
            world.value::<i64>("select sum(total_shares)::bigint from blogs.blog_counter", &[]).await,
            3
        );
        world.assert_consistent().await;
        api.stop().await;
    }
}
