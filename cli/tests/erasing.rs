//! `account erase` during transactions that saw the account alive. Gates (triggers that wait for an advisory lock of
//! the test) stop each transaction at the place that matters; each test has a Postgres of its own, so that no other
//! transaction ends while one is stopped.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod erasing_ground;

use engagement::{Applied, Engagement, Incoming, OnBadEvent, Outcome};
use events::{Action, EngagementEvent, EnvelopeId};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use erasing_ground::{Gate, Ground, Running};

/// The days that a notification-worker makes when it starts: yesterday, today, and `partitions.days_ahead`.
const DAYS_OF_NOTIFICATIONS: i64 = 10;

/// Starts to apply a batch of one like.
fn like(ground: &Ground, blog_id: i64, account_id: i64) -> JoinSet<Applied> {
    let settings = engagement::Settings { view_window_s: 1800 };
    let engagement = Engagement::new(ground.pool("analytics_worker"), &settings).unwrap();
    let event = EngagementEvent {
        id: Uuid::now_v7(),
        blog_id,
        time: Timestamp::now(),
        action: Action::Liked { account_id },
        key: None,
        imported: false,
    };
    let batch = [Incoming { id: EnvelopeId::now(), traceparent: None, events: vec![Ok(event)] }];
    let mut applying = JoinSet::new();
    applying.spawn(async move { engagement.apply(&batch, OnBadEvent::Park).await.unwrap() });
    applying
}

async fn outcome(mut applying: JoinSet<Applied>) -> Outcome {
    applying.join_next().await.unwrap().unwrap().outcomes[0][0]
}

/// Signs up and in: the account's id and a token.
async fn sign_up(api: &Running, handle: &str) -> (i64, String) {
    let password = "correct horse battery";
    let new = json!({"handle": handle, "email": format!("{handle}@example.org"), "password": password});
    let account: serde_json::Value = api.send(Method::POST, "/v1/accounts", None, Some(&new)).await.1;
    let credentials = json!({"handle": handle, "password": password});
    let session: serde_json::Value = api.send(Method::POST, "/v1/sessions", None, Some(&credentials)).await.1;
    (account["id"].as_i64().unwrap(), session["token"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_waits_for_a_batch_and_a_chunk_whose_ids_are_higher_than_the_deletions() {
    let ground = Ground::prepare("erasing-waits").await;
    let (author, zebedee) = (ground.account("author").await, ground.account("zebedee").await);
    ground.follow(author, zebedee).await;
    let blog = ground.blog(author).await;
    // The days are made beforehand, so that no transaction that makes a day ends in between.
    assert_eq!(outcome(like(&ground, blog, author)).await, Outcome::Counted);
    let notifier = ground.notifier(500).await;
    let days = "select count(*) from pg_inherits where inhparent = 'notify.notification'::regclass";
    ground.until(days, DAYS_OF_NOTIFICATIONS).await;
    let likes = ground.gate("before insert on analytics.blog_like for each statement").await;
    let chunks = ground.gate("before insert on notify.notification for each statement").await;

    // The deletion has its transaction id, and cannot commit yet.
    let holder = ground.another().await;
    let hold = format!("begin; select from blogs.account where id = {zebedee} for update");
    holder.client.batch_execute(&hold).await.unwrap();
    let mut erase = ground.erase(zebedee);
    ground.until_waiting("operator", "transactionid").await;

    // A chunk and a batch take higher ids and see the account alive.
    ground.fan_out(blog).await;
    ground.until_waiting("notification_worker", "advisory").await;
    let applying = like(&ground, blog, zebedee);
    ground.until_waiting("analytics_worker", "advisory").await;

    holder.client.batch_execute("rollback").await.unwrap();
    let waits_for_both = erase.waits(&ground).await;
    likes.open().await;
    assert_eq!(outcome(applying).await, Outcome::Counted);
    let waits_for_the_chunk = erase.waits(&ground).await;
    chunks.open().await;
    ground.until_done(blog).await;
    assert_eq!(erase.ended().await, (true, format!("account {zebedee} is erased\n")));
    notifier.stop().await;

    let left = ground.left(zebedee).await;
    assert_eq!((waits_for_both, waits_for_the_chunk, left), (true, true, Vec::new()));
    let kept =
        "select c.total_likes, f.notified from blogs.blog_counter c join notify.fan_out f using (blog_id)";
    let kept = ground.session.client.query_one(kept, &[]).await.unwrap();
    assert_eq!((kept.get::<_, i64>(0), kept.get::<_, i64>(1)), (2, 1), "every total stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_takes_its_id_before_it_looks_at_accounts() {
    let ground = Ground::prepare("erasing-batch").await;
    let (author, zebedee) = (ground.account("author").await, ground.account("zebedee").await);
    let blog = ground.blog(author).await;
    // Make the ledger's day beforehand, because a batch without one is started again.
    assert_eq!(outcome(like(&ground, blog, author)).await, Outcome::Counted);
    // The batch stops at the statement that gives it its transaction id.
    let ledger = ground.gate("before insert on analytics.envelope_ledger for each statement").await;
    let applying = like(&ground, blog, zebedee);
    ground.until_waiting("analytics_worker", "advisory").await;

    let mut erase = ground.erase(zebedee);
    erase.waits(&ground).await;
    ledger.open().await;
    let outcome = outcome(applying).await;
    assert!(erase.ended().await.0);
    assert_eq!((outcome, ground.left(zebedee).await), (Outcome::Discarded, Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_waits_for_a_follow_by_the_account() {
    let ground = Ground::prepare("erasing-follower").await;
    let api = ground.api().await;
    let (zebedee, token) = sign_up(&api, "zebedee").await;
    let (grace, _) = sign_up(&api, "grace").await;
    // The follow stops while it checks the follower's account.
    let gate = ground.gate_at_accounts().await;
    erase_while_following(&ground, api, zebedee, &token, grace, gate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_waits_for_a_follow_of_the_account() {
    let ground = Ground::prepare("erasing-followee").await;
    let api = ground.api().await;
    let (zebedee, _) = sign_up(&api, "zebedee").await;
    let (_, token) = sign_up(&api, "grace").await;
    // The follow stops once it has checked both accounts.
    let gate = ground.gate("before insert on social.follow for each statement").await;
    erase_while_following(&ground, api, zebedee, &token, zebedee, gate).await;
}

/// Erases an account while a follow that has seen it alive has not written yet.
async fn erase_while_following(
    ground: &Ground,
    api: Running,
    erased: i64,
    token: &str,
    followee: i64,
    follow: Gate,
) {
    let request = api.request(Method::PUT, &format!("/v1/accounts/{followee}/follow"), Some(token));
    let mut following = JoinSet::new();
    following.spawn(async move { request.send().await.unwrap().status().as_u16() });
    ground.until_waiting("blogs_api", "advisory").await;

    let mut erase = ground.erase(erased);
    let waits = erase.waits(ground).await;
    follow.open().await;
    assert_eq!(following.join_next().await.unwrap().unwrap(), 204);
    let (is_erased, said) = erase.ended().await;
    if !is_erased {
        // The event of the follow also names the account until the relay has sent it, and here it cannot: there is no
        // RabbitMQ.
        assert!(said.contains("the outbox still holds an envelope"), "{said}");
        ground.run("delete from blogs.outbox").await;
        assert!(ground.erase(erased).ended().await.0);
    }
    assert_eq!((waits, ground.left(erased).await), (true, Vec::new()));
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fan_out_keeps_an_erased_account_as_its_cursor() {
    let ground = Ground::prepare("erasing-cursor").await;
    let (author, zebedee) = (ground.account("author").await, ground.account("zebedee").await);
    ground.follow(author, zebedee).await;
    let last = ground.account("last").await;
    ground.follow(author, last).await;
    let blog = ground.blog(author).await;
    // A chunk that ends with the account stops before it commits; then the fan-out is paused.
    let at_the_account =
        format!("before update on notify.fan_out for each row when (new.after_id = {zebedee})");
    let chunk = ground.gate(&at_the_account).await;
    ground
        .run(&format!(
            "create function public.pause() returns trigger language plpgsql as $$
             begin
               new.state := 'paused';
               return new;
             end $$;
             create trigger pause {at_the_account} execute function public.pause()"
        ))
        .await;
    // Erasing stops before it commits: it has checked the fan-outs, and other transactions still see the follows.
    let commit = ground.gate("before delete on blogs.account for each statement").await;
    let mut erase = ground.erase(zebedee);
    ground.until_waiting("operator", "advisory").await;

    // The last account of a chunk is the erased one, which is not notified.
    ground.fan_out(blog).await;
    let notifier = ground.notifier(1).await;
    ground.until_waiting("notification_worker", "advisory").await;

    commit.open().await;
    let waits = erase.waits(&ground).await;
    chunk.open().await;
    assert_eq!(erase.ended().await, (true, format!("account {zebedee} is erased\n")));
    let paused = format!("select count(*) from notify.fan_out where blog_id = {blog} and state = 'paused'");
    ground.until(&paused, 1).await;
    assert_eq!((waits, ground.left(zebedee).await), (true, Vec::new()));

    // The next chunk continues after the erased account.
    ground.run("update notify.fan_out set state = 'running'").await;
    ground.until_done(blog).await;
    let told: Vec<i64> = ground.value("select array_agg(recipient_id) from notify.notification").await;
    assert_eq!(told, [last]);
    notifier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_reports_the_transaction_that_it_timed_out_on() {
    let ground = Ground::prepare("erasing-in-vain").await;
    let zebedee = ground.account("zebedee").await;
    // The transaction is in another database of the cluster.
    let elsewhere = ground.session_in("postgres").await;
    elsewhere.client.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    let (is_erased, said) = ground.erase_within(zebedee, 1).ended().await;
    assert!(!is_erased, "{said}");
    for words in ["not erased yet", "still open after 1 s", "any database of the cluster", "pg_stat_activity"]
    {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    assert_eq!(ground.left(zebedee).await, ["account"]);
    elsewhere.client.batch_execute("rollback").await.unwrap();
    assert!(ground.erase(zebedee).ended().await.0);
    assert_eq!(ground.left(zebedee).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasure_interrupted_after_its_record_is_finished_by_the_restore() {
    let ground = Ground::prepare("erasing-recorded").await;
    let (zebedee, stranger) = (ground.account("zebedee").await, ground.account("stranger").await);
    let holder = ground.another().await;
    let hold = format!("begin; select from blogs.account where id = {zebedee} for update");
    holder.client.batch_execute(&hold).await.unwrap();
    let erase = ground.erase(zebedee);
    ground.until_waiting("operator", "transactionid").await;
    // The record is on the disk, and no row is changed yet.
    let recorded = std::fs::read_to_string(&ground.record).unwrap();
    erase.kill();
    // Without this, Postgres would finish the statement of the killed client.
    ground.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'operator'").await;
    ground.until("select count(*) from pg_stat_activity where usename = 'operator'", 0).await;
    holder.client.batch_execute("rollback").await.unwrap();
    let active = "select count(*) from blogs.active_account";
    assert_eq!(ground.value::<i64>(active).await, 2, "nothing was erased");
    assert!(recorded.starts_with(&format!("{zebedee} ")) && recorded.ends_with('\n'), "{recorded}");

    // The record of another installation names the id of the stranger as well.
    let other = format!("{recorded}{stranger} 2020-01-01T00:00:00Z\n");
    std::fs::write(&ground.record, other).unwrap();
    let (code, usage) = ground.restore(&[]);
    assert!(code == Some(2) && usage.contains("--erased <FILE>"), "{usage}");
    let record = ground.record.to_str().unwrap().to_owned();
    let (code, said) = ground.restore(&["--erased", &format!("{record}-elsewhere")]);
    assert!(code == Some(1) && said.contains("reading the erased accounts in"), "{said}");
    let (code, said) = ground.restore(&["--erased", &record]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("erased accounts: 2 in the record, 1 brought back by the dump, 1 erased again"),
        "{said}"
    );
    assert!(said.contains(&format!("account {stranger} was created at")), "{said}");
    let left: Vec<i64> = ground.value("select array_agg(id) from blogs.account").await;
    assert_eq!(left, [stranger]);
}
