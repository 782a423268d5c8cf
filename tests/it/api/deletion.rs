//! Deleting an account: what it requires, how it is undone, and which data is erased after the grace period.
//!
//! The grace period is 14 days. Tests move the time of a deletion into the past instead of waiting, and start another
//! process: each erases what is due as soon as it starts.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tests::{Running, World};
use tokio::task::JoinSet;

use super::{Answer, PASSWORD};

/// The statement of the operator's command.
const RETIRE: &str = include_str!("../../../cli/sql/account_retire.sql");
/// The Blogs API's statement.
const FORGET: &str = include_str!("../../../services/blogs-api/sql/account_forget.sql");

const HELD: &str = "select count(*) from blogs.account where email is not null or password_hash is not null";

#[tokio::test]
async fn deletion_requires_the_password() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    api.delete("/v1/accounts/me", Some(&token)).await.refused(415);
    api.leave_saying(&token, json!({})).await.names(422, &["password"]);
    let refused =
        api.leave_saying(&token, json!({"password": "not the current password"})).await.refused(403);
    assert_eq!(refused.detail(), "password is not the current password");
    api.get("/v1/blogs", Some(&token)).await.is(200);
    api.leave(&token).await.is(204);
    api.get("/v1/blogs", Some(&token)).await.refused(401);
}

#[tokio::test]
async fn e_mail_and_password_are_erased_after_the_grace_period() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    let (_, grace) = api.account("grace").await;
    api.leave(&token).await.is(204);
    world.age_deletions(13).await;
    let sign_up = async |handle: &str| {
        let new = json!({"handle": handle, "email": "ADA@example.org", "password": PASSWORD});
        api.post_json("/v1/accounts", None, new).await
    };
    sign_up("other").await.names(409, &["email"]);
    assert_eq!(forgotten(&world).await, 0, "the grace period is not over");
    world.age_deletions(1).await;
    // Nothing has been erased yet, but the grace period is over.
    api.sign_in("ada", PASSWORD).await.refused(401);

    let another = world.api().await;
    world.until(HELD, 1_i64).await;
    api.sign_in("ada", PASSWORD).await.refused(401);
    sign_up("ada").await.names(409, &["handle"]);
    sign_up("other").await.is(201);
    let kept =
        "select count(*) from blogs.account where id = $1 and handle = 'ada' and deleted_at is not null";
    assert_eq!(world.value::<i64>(kept, &[&ada]).await, 1);
    another.get("/v1/blogs", Some(&grace)).await.is(200);
}

/// Erases what is due, like the Blogs API, and returns the number of accounts.
async fn forgotten(world: &World) -> i64 {
    let session = world.session("blogs_api").await;
    session.client.query_one(FORGET, &[&14_i32, &100_i32]).await.unwrap().get("forgotten")
}

#[tokio::test]
async fn sign_in_restores_a_deleted_account_within_the_grace_period() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Kept").await;
    let path = format!("/v1/blogs/{blog}");
    api.leave(&token).await.is(204);
    api.get(&path, None).await.refused(404);
    api.sign_in("ada", "not the current password").await.refused(401);
    world.age_deletions(13).await;
    api.get(&path, None).await.refused(404);

    let session = api.sign_in("ada", PASSWORD).await.is(201);
    assert_eq!(session.body["restored"], true, "{session:?}");
    api.get(&path, None).await.is(200);
    let fresh = session.body["token"].as_str().unwrap();
    api.get("/v1/blogs", Some(fresh)).await.is(200);
    api.get("/v1/blogs", Some(&token)).await.refused(401);
    let again = api.sign_in("ada", PASSWORD).await.is(201);
    assert_eq!(again.body["restored"], false, "{again:?}");
    assert_eq!(forgotten(&world).await, 0);
    world.assert_consistent().await;
}

#[tokio::test]
async fn deletion_limits_password_attempts_like_a_sign_in() {
    let world = World::new().await;
    let limit = |loader: runtime::settings::Loader| {
        loader.set("rate_limits.enabled", true).set("rate_limits.sign_in_per_minute", 4)
    };
    let api = world.api_with(limit).await;
    // Signing up and signing in use two attempts.
    let (_, token) = api.account("ada").await;
    for _ in 0..2 {
        api.leave_saying(&token, json!({"password": "not the current password"})).await.refused(403);
    }
    api.leave(&token).await.refused(429);
    api.get("/v1/blogs", Some(&token)).await.is(200);
}

/// A form that a page of this site sends with this cookie.
fn form(api: &Running, path: &str, cookie: &str, fields: &str) -> RequestBuilder {
    let request = api.request(Method::POST, path).header("accept", "text/html").header("cookie", cookie);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.header("sec-fetch-site", "same-origin").body(fields.replace(' ', "+"))
}

#[tokio::test]
async fn deletion_page_requires_the_password_and_explains_restoring() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let cookie = format!("session={token}");
    let shown = async |path: &str, cookie: &str| {
        let page = api.request(Method::GET, path).header("accept", "text/html").header("cookie", cookie);
        Answer::to(page).await.is(200).body.as_str().unwrap().to_owned()
    };
    assert!(shown("/account", &cookie).await.contains("within 14 days"));

    Answer::to(form(&api, "/account/delete", &cookie, "")).await.is(422);
    let wrong =
        Answer::to(form(&api, "/account/delete", &cookie, "password=not the current password")).await.is(403);
    assert!(wrong.body.as_str().unwrap().contains("Password is not the current password."), "{wrong:?}");
    api.get("/v1/blogs", Some(&token)).await.is(200);

    let password = format!("password={PASSWORD}");
    let left = Answer::to(form(&api, "/account/delete", &cookie, &password)).await.is(303);
    assert_eq!(left.header("location"), Some("/account/deleted"));
    assert!(left.header("set-cookie").unwrap().starts_with("session=;"), "{left:?}");
    assert!(shown("/account/deleted", "").await.contains("sign in within 14 days"));
    api.get("/v1/blogs", Some(&token)).await.refused(401);

    let credentials = format!("handle=ada&password={PASSWORD}&next=/mine");
    let back = Answer::to(form(&api, "/sign-in", "", &credentials)).await.is(303);
    assert_eq!(back.header("location"), Some("/account?done=restored"));
    let cookie = back.header("set-cookie").unwrap().split(';').next().unwrap();
    assert!(shown("/account?done=restored", cookie).await.contains("has been restored"));
    let again = Answer::to(form(&api, "/sign-in", "", &credentials)).await.is(303);
    assert_eq!(again.header("location"), Some("/mine"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_in_that_waits_for_credential_erasure_is_refused() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    api.leave(&token).await.is(204);
    world.age_deletions(5).await;
    // A process with a shorter grace period has erased the credentials and not committed yet.
    let forgetting = world.session("blogs_api").await;
    forgetting.client.batch_execute("begin").await.unwrap();
    let row = forgetting.client.query_one(FORGET, &[&1_i32, &100_i32]).await.unwrap();
    assert_eq!(row.get::<_, i64>("forgotten"), 1);

    let credentials = json!({"handle": "ada", "password": PASSWORD});
    let mut signing_in = JoinSet::new();
    signing_in.spawn(Answer::to(api.request(Method::POST, "/v1/sessions").json(&credentials)));
    let waits = "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'transactionid'";
    world.until(waits, 1_i64).await;
    forgetting.client.batch_execute("commit").await.unwrap();
    signing_in.join_next().await.unwrap().unwrap().refused(401);
    let deleted = "select count(*) from blogs.account where deleted_at is not null and email is null";
    assert_eq!(world.value::<i64>(deleted, &[]).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credential_erasure_skips_accounts_that_are_being_restored() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    api.leave(&token).await.is(204);
    world.age_deletions(15).await;

    // The account is being restored, so the erasure skips it.
    let back = world.another().await;
    let restore = format!("begin; update blogs.account set deleted_at = null where id = {ada}");
    back.client.batch_execute(&restore).await.unwrap();
    assert_eq!(forgotten(&world).await, 0);
    back.client.batch_execute("rollback").await.unwrap();

    // The erasure reads the account and waits before it locks the row.
    let gate = "create function public.wait_to_look() returns boolean language plpgsql security definer as $$
                begin
                  perform pg_catalog.pg_advisory_xact_lock_shared(1);
                  return true;
                end $$;
                create policy gate on blogs.account using (public.wait_to_look());
                alter table blogs.account enable row level security, force row level security;
                select pg_advisory_lock(1)";
    back.client.batch_execute(gate).await.unwrap();
    let session = world.session("blogs_api").await;
    let mut forgetting = JoinSet::new();
    forgetting.spawn(async move {
        let row = session.client.query_one(FORGET, &[&14_i32, &100_i32]).await.unwrap();
        row.get::<_, i64>("forgotten")
    });
    let waits = "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'advisory'";
    world.until(waits, 1_i64).await;
    world.run(&format!("update blogs.account set deleted_at = null where id = {ada}")).await;
    back.client.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
    assert_eq!(forgetting.join_next().await.unwrap().unwrap(), 0);
    world.run("alter table blogs.account disable row level security").await;
    api.sign_in("ada", PASSWORD).await.is(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_sign_ins_all_get_tokens_and_one_restores_the_account() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    api.leave(&token).await.is(204);
    let holder = world.another().await;
    let hold = format!("begin; select from blogs.account where id = {ada} for update");
    holder.client.batch_execute(&hold).await.unwrap();
    let mut signing_in = JoinSet::new();
    for _ in 0..2 {
        let credentials = json!({"handle": "ada", "password": PASSWORD});
        signing_in.spawn(Answer::to(api.request(Method::POST, "/v1/sessions").json(&credentials)));
    }
    let wait = "select count(*) from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock' and usename = 'blogs_api'";
    world.until(wait, 2_i64).await;
    holder.client.batch_execute("commit").await.unwrap();
    let mut restored: Vec<Value> = Vec::new();
    for answer in signing_in.join_all().await {
        let answer = answer.is(201);
        api.get("/v1/blogs", answer.body["token"].as_str()).await.is(200);
        restored.push(answer.body["restored"].clone());
    }
    assert!(restored.contains(&json!(true)) && restored.contains(&json!(false)), "{restored:?}");
}

#[tokio::test]
async fn account_that_is_being_erased_cannot_be_restored() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    let (grace, _) = api.account("grace").await;
    api.leave(&token).await.is(204);
    let operator = world.session("operator").await;
    // One of the two accounts had been deleted by its owner and could be restored until now.
    for id in [ada, grace] {
        let retired = operator.client.query_one(RETIRE, &[&id]).await.unwrap();
        assert!(retired.get::<_, bool>("has_changed"));
        let retired = operator.client.query_one(RETIRE, &[&id]).await.unwrap();
        assert!(!retired.get::<_, bool>("has_changed"));
        let undeleted = operator.client.query_one("select blogs.undelete_account($1)", &[&id]).await.unwrap();
        assert!(!undeleted.get::<_, bool>(0));
    }
    assert_eq!(world.value::<i64>(HELD, &[]).await, 0);
    for handle in ["ada", "grace"] {
        api.sign_in(handle, PASSWORD).await.refused(401);
    }
}

#[tokio::test]
async fn operator_restores_a_deleted_account_until_its_password_is_erased() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    let blog = api.blog(&token, "Kept").await;
    let operator = world.session("operator").await;
    let undelete = async || {
        let undeleted = operator.client.query_one("select blogs.undelete_account($1)", &[&ada]).await;
        undeleted.unwrap().get::<_, bool>(0)
    };
    assert!(!undelete().await, "it is not deleted");
    api.leave(&token).await.is(204);
    assert!(undelete().await);
    api.get(&format!("/v1/blogs/{blog}"), None).await.is(200);
    let session = api.sign_in("ada", PASSWORD).await.is(201);
    assert_eq!(session.body["restored"], false);
    api.leave(session.body["token"].as_str().unwrap()).await.is(204);
    world.age_deletions(15).await;
    assert_eq!(forgotten(&world).await, 1);
    assert!(!undelete().await);
    assert_eq!(forgotten(&world).await, 0);
}
