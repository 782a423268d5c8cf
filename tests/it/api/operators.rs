//! What operators decide about accounts and blogs, as readers and authors then see it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, PASSWORD};
use crate::services::Running;
use crate::world::World;

/// An id that no other number is likely to contain.
const ZEBEDEE: i64 = 7_700_000_001;
/// What `commonplace account erase` does when nobody can be acting any more.
const ERASE: &str = "select analytics.erase_account($1), notify.erase_account($1), blogs.erase_account($1)";
const EMPTY_OUTBOX: &str = "select count(*) from blogs.outbox";

impl World {
    /// What an owner's function answers to the role `operator`.
    async fn operator<T>(&self, function: &str, id: i64) -> T
    where
        T: for<'row> tokio_postgres::types::FromSql<'row>,
    {
        let session = self.session("operator").await;
        session.client.query_one(&format!("select {function}($1)"), &[&id]).await.unwrap().get(0)
    }
}

async fn like(api: &Running, blog: i64, token: &str) -> Answer {
    let like = api.call(Method::PUT, &format!("/v1/blogs/{blog}/like"), Some(token));
    Answer::to(like.header("X-Write-Path", "direct")).await
}

#[tokio::test]
async fn a_suspended_account_is_out_of_sight_until_it_is_restored() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    let (_, grace) = api.account("grace").await;
    let blog = api.blog(&token, "Mine").await;
    let path = format!("/v1/blogs/{blog}");
    api.view(blog, "before").await.is(200);

    assert!(world.operator::<bool>("blogs.suspend_account", ada).await);
    assert!(!world.operator::<bool>("blogs.suspend_account", ada).await);
    api.get(&path, None).await.refused(404);
    api.get(&path, Some(&grace)).await.refused(404);
    assert_eq!(api.get("/v1/blogs", None).await.body["items"], json!([]));
    api.view(blog, "while").await.refused(404);
    api.sign_in("ada", PASSWORD).await.refused(401);
    // Another process has not yet seen the account's epoch: it looks.
    let elsewhere = world.api().await;
    elsewhere.post_json("/v1/blogs", Some(&token), json!({"title": "More", "body": ""})).await.refused(401);

    assert!(world.operator::<bool>("blogs.restore_account", ada).await);
    assert!(!world.operator::<bool>("blogs.restore_account", ada).await);
    assert_eq!(api.totals(blog).await, [1, 0, 0]);
    api.view(blog, "after").await.is(200);
    let fresh = api.sign_in("ada", PASSWORD).await.is(201).body["token"].as_str().unwrap().to_owned();
    let afresh = world.api().await;
    afresh.post_json("/v1/blogs", Some(&fresh), json!({"title": "More", "body": ""})).await.is(201);
    afresh.post_json("/v1/blogs", Some(&token), json!({"title": "More", "body": ""})).await.refused(401);
    world.assert_consistent().await;
}

#[tokio::test]
async fn a_blog_that_was_taken_down_is_its_authors_alone_and_stays_down() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, "Doubtful").await;
    let path = format!("/v1/blogs/{blog}");
    api.view(blog, "before").await.is(200);

    assert!(world.operator::<bool>("blogs.take_down_blog", blog).await);
    assert!(!world.operator::<bool>("blogs.take_down_blog", blog).await);
    api.get(&path, None).await.refused(404);
    api.view(blog, "while").await.refused(404);
    api.get(&path, Some(&token)).await.is(200);
    api.post(&format!("{path}/unpublish"), Some(&token)).await.is(200);
    let refused = api.post(&format!("{path}/publish"), Some(&token)).await.refused(403);
    assert!(refused.detail().contains("taken this blog down"), "{refused:?}");
    api.get(&path, None).await.refused(404);

    assert!(world.operator::<bool>("blogs.restore_blog", blog).await);
    api.post(&format!("{path}/publish"), Some(&token)).await.is(200);
    assert_eq!(api.totals(blog).await, [1, 0, 0]);
    world.assert_consistent().await;
}

/// Rows of any table of any schema that hold one of these texts, plain or as bytes.
async fn traces(world: &World, texts: &[String]) -> Vec<String> {
    let hexadecimal = |text: &String| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let patterns: Vec<String> = texts
        .iter()
        .flat_map(|text| [text.clone(), hexadecimal(text)])
        .map(|text| format!("%{text}%"))
        .collect();
    let tables = "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                  where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1";
    let mut found = Vec::new();
    for table in world.client().query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let rows = format!("select t::text from {table} t where lower(t::text) like any ($1)");
        let rows = world.client().query(&rows, &[&patterns]).await.unwrap();
        found.extend(rows.iter().map(|row| format!("{table}: {}", row.get::<_, String>(0))));
    }
    found
}

/// Every total of every blog.
async fn all_totals(world: &World) -> Vec<String> {
    let totals = "select coalesce(array_agg(c::text order by c.blog_id), '{}') from blogs.blog_counter c";
    world.value(totals, &[]).await
}

/// What Zebedee leaves behind wherever an account can: his token, and his and another's blog.
async fn zebedee(world: &World, api: &Running) -> (String, i64, i64) {
    let (id, token) = api.account("zebedee").await;
    assert_eq!(id, ZEBEDEE);
    let (_, grace) = api.account("grace").await;
    let new = json!({"title": "Zebedee writes", "body": "By zebedee@example.org.", "tags": ["zebedee", "shared"], "publish": true});
    let create = api.call(Method::POST, "/v1/blogs", Some(&token)).header("Idempotency-Key", "once");
    let his = Answer::to(create.json(&new)).await.is(201).id();
    let hers = api.blog(&grace, "Hers").await;
    let tagged = json!({"tags": ["shared"]});
    api.patch(&format!("/v1/blogs/{hers}"), Some(&grace), tagged).await.is(200);
    for blog in [his, hers] {
        like(api, blog, &token).await.is(200);
        like(api, blog, &grace).await.is(200);
        api.view(blog, "reader").await.is(200);
    }
    // A follow in both directions, and a notification.
    let zebedee_to_grace =
        world.value::<i64>("select id from blogs.account where handle = 'grace'", &[]).await;
    for (followee, follower) in [(id, &grace), (zebedee_to_grace, &token)] {
        let path = format!("/v1/accounts/{followee}/follow");
        Answer::to(api.call(Method::PUT, &path, Some(follower))).await.is(204);
    }
    let news = api.blog(&grace, "News").await;
    let told = format!("select count(*) from notify.fan_out where blog_id = {news} and state = 'done'");
    world.until(&told, 1_i64).await;
    // As if it had been the last of a chunk.
    world.run("update notify.fan_out set after_id = 7700000001 where blog_id = (select max(blog_id) from notify.fan_out)").await;
    // A like by the message path, and one that is set aside with its body.
    world.run("alter table analytics.blog_like add constraint no_thanks check (liked) not valid").await;
    let unlike = api.delete(&format!("/v1/blogs/{hers}/like"), Some(&token)).await.is(202);
    assert!(unlike.body["event_id"].is_string());
    world.until("select count(*) from analytics.parked", 1_i64).await;
    world.run("alter table analytics.blog_like drop constraint no_thanks").await;
    world.until(EMPTY_OUTBOX, 0_i64).await;
    (token, his, hers)
}

/// Zebedee is not erased while something is on its way that names him.
async fn refused_while_something_names_it(world: &World, operator: &tokio_postgres::Client) {
    let waiting = format!(
        "insert into blogs.outbox (id, routing_key, events, body, claimed_until)
         values (gen_random_uuid(), 'engagement', 1, convert_to('[{{\"data\":{{\"account_id\":{ZEBEDEE}}}}}]', 'utf8'), now() + interval '1 day')"
    );
    world.run(&waiting).await;
    let in_use = operator.execute(ERASE, &[&ZEBEDEE]).await.unwrap_err();
    assert_eq!(in_use.code().unwrap().code(), "55006");
    let followed = format!(
        "update blogs.outbox set routing_key = 'account.followed', body = convert_to('[{{\"subject\":\"{ZEBEDEE}\"}}]', 'utf8')"
    );
    world.run(&followed).await;
    let in_use = operator.execute(ERASE, &[&ZEBEDEE]).await.unwrap_err();
    assert_eq!(in_use.code().unwrap().code(), "55006");
    world.run("delete from blogs.outbox").await;
    // Nor while a whole message is parked that names it: others' events are in there.
    let message = format!(
        "insert into analytics.parked (envelope_id, index, reason, body, in_ledger)
         values (gen_random_uuid(), -1, 'given up', convert_to('[{{\"data\":{{\"account_id\":{ZEBEDEE}}}}}]', 'utf8'), false)"
    );
    world.run(&message).await;
    let in_use = operator.execute(ERASE, &[&ZEBEDEE]).await.unwrap_err();
    assert_eq!(in_use.code().unwrap().code(), "55006");
    world.run("update analytics.parked set dropped_at = now() where index < 0").await;
}

#[tokio::test]
async fn an_erased_account_leaves_no_trace_and_every_total_as_it_was() {
    let world = World::new().await;
    world.run(&format!("alter table blogs.account alter column id restart with {ZEBEDEE}")).await;
    let (api, worker) = (world.api().await, world.worker().await);
    let notifier = world.notifier().await;
    let (token, his, hers) = zebedee(&world, &api).await;

    let texts = ["zebedee".to_owned(), ZEBEDEE.to_string()];
    let before = traces(&world, &texts).await;
    for table in [
        "blogs.account",
        "blogs.blog:",
        "blogs.blog_slug",
        "blogs.tag",
        "idempotency_key",
        "blog_like",
        "parked",
        "social.follow:",
        "follow_counter",
        "fan_out",
        "notify.notification",
    ] {
        assert!(
            before.iter().any(|trace| trace.contains(table)),
            "{table} has no trace to begin with: {before:#?}"
        );
    }
    let export: Value = world.operator("blogs.export_account", ZEBEDEE).await;
    assert_eq!(export["account"]["email"], "zebedee@example.org");
    assert_eq!(export["blogs"][0]["title"], "Zebedee writes");
    let likes: Value = world.operator("analytics.export_account", ZEBEDEE).await;
    assert_eq!(likes["likes"].as_array().unwrap().len(), 2);
    assert_eq!(export["following"].as_array().unwrap().len(), 1);
    let inbox: Value = world.operator("notify.export_account", ZEBEDEE).await;
    assert_eq!(inbox["notifications"].as_array().unwrap().len(), 1);
    let totals = all_totals(&world).await;

    // Not while it can still act.
    let operator = world.session("operator").await;
    let too_early = operator.client.execute(ERASE, &[&ZEBEDEE]).await.unwrap_err();
    assert_eq!(too_early.code().unwrap().code(), "55000");
    assert!(world.operator::<bool>("blogs.retire_account", ZEBEDEE).await);
    refused_while_something_names_it(&world, &operator.client).await;
    operator.client.execute(ERASE, &[&ZEBEDEE]).await.unwrap();
    operator.client.execute("select blogs.forget_unused_tags()", &[]).await.unwrap();
    // Its token is good for some seconds yet, and writes nothing.
    let write = json!({"title": "After all", "body": "", "publish": true});
    api.post_json("/v1/blogs", Some(&token), write).await.refused(401);

    // A token that another process still believes in: its likes are discarded, at once or after they were promised.
    like(&api, hers, &token).await.refused(404);
    let promised = api.call(Method::PUT, &format!("/v1/blogs/{hers}/like"), Some(&token));
    Answer::to(promised).await.is(202);
    let discarded = "select coalesce(sum(n), 0)::bigint from analytics.outcome where outcome = 'discarded'";
    world.until(discarded, 2_i64).await;

    assert_eq!(traces(&world, &texts).await, Vec::<String>::new());
    assert_eq!(all_totals(&world).await, totals);
    api.get(&format!("/v1/blogs/{his}"), None).await.refused(404);
    assert_eq!(api.get(&format!("/v1/blogs/{hers}"), None).await.is(200).body["tags"], json!(["shared"]));
    // The blog that nobody wrote any more is no blog that somebody could ask for by its old address.
    api.get("/v1/blogs/by-slug/zebedee-writes", None).await.refused(404);
    let follows: i64 = world.value("select count(*) from social.follow", &[]).await;
    assert_eq!(follows, 0);
    world.assert_consistent().await;
    notifier.stop().await;
    worker.stop().await;
}
