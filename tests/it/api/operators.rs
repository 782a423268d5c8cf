//! The effects of operators' commands on accounts and blogs, as readers and authors see them.

use std::collections::BTreeMap;

use database::Session;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Running, World};
use tokio::task::JoinSet;

use super::{Answer, PASSWORD};

/// The statements that the operator's command sends.
const OPEN_EXPORT: &str = include_str!("../../../cli/sql/account_open_export.sql");
const EXPORT: &str = include_str!("../../../cli/sql/account_export.sql");
const RETIRE: &str = include_str!("../../../cli/sql/account_retire.sql");
const ERASE: &str = include_str!("../../../cli/sql/account_erase.sql");
const SAMPLE_AGAIN: &str = include_str!("../../../cli/sql/sample_again.sql");
const FORGET_UNUSED_TAGS: &str = include_str!("../../../cli/sql/forget_unused_tags.sql");

/// An id whose digits are unlikely to appear in any other number.
const ZEBEDEE: i64 = 7_700_000_001;
const EMPTY_OUTBOX: &str = "select count(*) from blogs.outbox";

async fn like(api: &Running, blog: i64, token: &str) -> Answer {
    let like = api.call(Method::PUT, &format!("/v1/blogs/{blog}/like"), Some(token));
    Answer::to(like.header("X-Write-Path", "direct")).await
}

#[tokio::test]
async fn suspended_account_is_hidden_until_restored() {
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
    // Another process has not cached the account's epoch, so it reads it.
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
async fn blog_that_was_taken_down_is_visible_to_its_author_only_and_stays_down() {
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

/// Patterns of these texts, plain or as bytes.
fn patterns(texts: &[String]) -> Vec<String> {
    let hexadecimal = |text: &String| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let both = texts.iter().flat_map(|text| [text.clone(), hexadecimal(text)]);
    both.map(|text| format!("%{text}%")).collect()
}

/// Rows of any table of any schema, the planner's samples among them, that hold one of these texts.
async fn traces(world: &World, texts: &[String]) -> Vec<String> {
    let tables = "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                  where c.relkind in ('r', 'p') and n.nspname !~ '^pg_(toast|temp)' and n.nspname <> 'information_schema'
                  order by 1";
    let mut found = Vec::new();
    for table in world.client().query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let rows = format!("select t::text from {table} t where lower(t::text) like any ($1)");
        let rows = world.client().query(&rows, &[&patterns(texts)]).await.unwrap();
        found.extend(rows.iter().map(|row| format!("{table}: {}", row.get::<_, String>(0))));
    }
    found
}

/// Traces of his account outside the record of his export, which keeps only his id.
async fn traces_but_record(world: &World, texts: &[String]) -> Vec<String> {
    let found = traces(world, texts).await;
    let (records, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|trace| trace.starts_with("blogs.export_record:"));
    assert!(matches!(&records[..], [record] if !record.contains("zebedee")), "{records:?}");
    others
}

/// Columns of any schema that identify a person, by name or by reference, and contain none of these texts. A change that
/// adds one must fill it in [`zebedee`], so that the test covers its erasure.
async fn untouched_columns(world: &World, texts: &[String]) -> Vec<String> {
    let columns = "select format('%I.%I', n.nspname, c.relname), a.attname
                   from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
                   where c.relkind in ('r', 'p') and not c.relispartition and a.attnum > 0 and not a.attisdropped
                     and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                     and (a.attname ~ 'account_id|author|(follower|followee|recipient)_id|handle|email'
                          or exists (select from pg_constraint k
                                     where k.contype = 'f' and k.conrelid = c.oid and a.attnum = any (k.conkey)
                                       and k.confrelid = 'blogs.account'::regclass))
                   order by 1, 2";
    let columns = world.client().query(columns, &[]).await.unwrap();
    assert!(columns.len() >= 5, "{columns:?}");
    let mut untouched = Vec::new();
    for column in columns {
        let (table, column): (String, String) = (column.get(0), column.get(1));
        let rows = format!("select count(*) from {table} where lower({column}::text) like any ($1)");
        if world.value::<i64>(&rows, &[&patterns(texts)]).await == 0 {
            untouched.push(format!("{table}.{column}"));
        }
    }
    untouched
}

/// The export of an account with a request, by part.
async fn export(operator: &Session, id: i64) -> BTreeMap<String, Vec<Value>> {
    operator.client.query_one(OPEN_EXPORT, &[&id]).await.unwrap();
    read_parts(operator, id).await
}

/// What a session that has opened an export of the account reads.
async fn read_parts(operator: &Session, id: i64) -> BTreeMap<String, Vec<Value>> {
    let mut parts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in operator.client.query(EXPORT, &[&id]).await.unwrap() {
        parts.entry(row.get("part")).or_default().push(row.get("item"));
    }
    parts
}

/// Parks a message that names Zebedee, as JSON with unusual spacing.
async fn park(world: &World, index: i32, body: &str, reason: &str) {
    let park = "insert into analytics.parked (envelope_id, index, reason, body, in_ledger)
                values (gen_random_uuid(), $1, $2, convert_to($3, 'utf8'), false)";
    world.client().execute(park, &[&index, &reason, &body]).await.unwrap();
}

/// Every total of every blog.
async fn all_totals(world: &World) -> Vec<String> {
    let totals = "select coalesce(array_agg(c::text order by c.blog_id), '{}') from blogs.blog_counter c";
    world.value(totals, &[]).await
}

/// Makes data of Zebedee in every place where an account can leave some; returns his token, his blog and another
/// author's.
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
    let grace_id = world.value::<i64>("select id from blogs.account where handle = 'grace'", &[]).await;
    // And a follow between others, so that ANALYZE still has rows to sample when his are gone.
    let (_, ada) = api.account("ada").await;
    for (followee, follower) in [(id, &grace), (grace_id, &token), (grace_id, &ada)] {
        let path = format!("/v1/accounts/{followee}/follow");
        Answer::to(api.call(Method::PUT, &path, Some(follower))).await.is(204);
    }
    let news = api.blog(&grace, "News").await;
    let told = format!("select count(*) from notify.fan_out where blog_id = {news} and state = 'done'");
    world.until(&told, 1_i64).await;
    // As if he had been the last follower of a chunk.
    world.run(&format!("update notify.fan_out set after_id = {ZEBEDEE} where blog_id = {news}")).await;
    // A like by the message path, and one that is set aside with its body.
    world.run("alter table analytics.blog_like add constraint no_thanks check (liked) not valid").await;
    let unlike = api.delete(&format!("/v1/blogs/{hers}/like"), Some(&token)).await.is(202);
    assert!(unlike.body["event_id"].is_string());
    world.until("select count(*) from analytics.parked", 1_i64).await;
    world.run("alter table analytics.blog_like drop constraint no_thanks").await;
    world.until(EMPTY_OUTBOX, 0_i64).await;
    (token, his, hers)
}

/// Erases him like the command; the SQLSTATE if it is refused.
async fn erase(operator: &Session) -> Result<(), String> {
    let erased = operator.client.query(ERASE, &[&ZEBEDEE]).await;
    erased.map_err(|error| error.code().unwrap().code().to_owned())?;
    operator.client.query(SAMPLE_AGAIN, &[]).await.unwrap();
    operator.client.query(FORGET_UNUSED_TAGS, &[]).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn erased_account_leaves_no_trace_and_totals_stay() {
    let world = World::new().await;
    world.run(&format!("alter table blogs.account alter column id restart with {ZEBEDEE}")).await;
    let (api, worker, notifier) = (world.api().await, world.worker().await, world.notifier().await);
    let (token, his, hers) = zebedee(&world, &api).await;
    let spaced = format!("{{ \"data\" : {{ \"account_id\" : \"{ZEBEDEE}\" }} }}");
    park(&world, 0, &spaced, &format!("invalid type: string {ZEBEDEE:?}, expected i64")).await;
    park(&world, 0, "", &format!("given up before; it had said {ZEBEDEE}, which is no number")).await;
    world.run("analyze").await;

    let operator = world.session("operator").await;
    let asked = api.call(Method::PUT, "/v1/accounts/me/export-request", Some(&token));
    Answer::to(asked.json(&json!({"password": PASSWORD}))).await.is(200);
    let exported = export(&operator, ZEBEDEE).await;
    let texts = ["zebedee".to_owned(), ZEBEDEE.to_string()];
    assert_eq!(untouched_columns(&world, &texts).await, Vec::<String>::new(), "no trace to begin with");
    let before = traces(&world, &texts).await;
    for table in ["blogs.blog:", "blogs.blog_slug", "blogs.tag", "parked", "fan_out", "pg_statistic"] {
        assert!(
            before.iter().any(|trace| trace.contains(table)),
            "no trace to begin with in {table}: {before:#?}"
        );
    }
    assert_eq!(exported["account"][0]["email"], "zebedee@example.org");
    assert_eq!(exported["blogs"][0]["title"], "Zebedee writes");
    let parts = ["blogs", "answers", "following", "likes", "parked", "notifications"];
    assert_eq!(parts.map(|part| exported[part].len()), [1, 1, 1, 2, 3, 1]);
    assert!(exported["parked"].iter().any(|parked| parked["body"] == spaced.as_str()), "{exported:?}");
    let totals = all_totals(&world).await;

    // The account cannot be erased while it can still act.
    assert_eq!(erase(&operator).await, Err("55000".to_owned()));
    let retired = operator.client.query_one(RETIRE, &[&ZEBEDEE]).await.unwrap();
    assert!(retired.get::<_, bool>("has_changed"));
    // Nor while an envelope that names it waits in the outbox.
    let waiting = format!(
        "insert into blogs.outbox (id, routing_key, events, body, claimed_until)
         values (gen_random_uuid(), 'engagement', 1, convert_to('[{spaced}]', 'utf8'), now() + interval '1 day')"
    );
    world.run(&waiting).await;
    assert_eq!(erase(&operator).await, Err("55006".to_owned()));
    let followed = format!(
        "update blogs.outbox
         set routing_key = 'account.followed', body = convert_to('[{{\"subject\": \"{ZEBEDEE}\"}}]', 'utf8')"
    );
    world.run(&followed).await;
    assert_eq!(erase(&operator).await, Err("55006".to_owned()));
    world.run("delete from blogs.outbox").await;
    // Nor while a parked whole message names it, because that message also contains other accounts' events.
    park(&world, -1, &format!("[{spaced}]"), "not understood").await;
    assert_eq!(erase(&operator).await, Err("55006".to_owned()));
    world.run("update analytics.parked set dropped_at = now() where index < 0").await;
    erase(&operator).await.unwrap();
    // A cache may accept its token for some more seconds, but the token writes nothing.
    let write = json!({"title": "After all", "body": "", "publish": true});
    api.post_json("/v1/blogs", Some(&token), write).await.refused(401);

    // Another process still accepts the token: its likes are discarded, at once or after they were accepted.
    like(&api, hers, &token).await.refused(404);
    let promised = api.call(Method::PUT, &format!("/v1/blogs/{hers}/like"), Some(&token));
    Answer::to(promised).await.is(202);
    let discarded = "select coalesce(sum(n), 0)::bigint from analytics.outcome where outcome = 'discarded'";
    world.until(discarded, 2_i64).await;

    assert_eq!(traces_but_record(&world, &texts).await, Vec::<String>::new());
    assert_eq!(all_totals(&world).await, totals);
    api.get(&format!("/v1/blogs/{his}"), None).await.refused(404);
    assert_eq!(api.get(&format!("/v1/blogs/{hers}"), None).await.is(200).body["tags"], json!(["shared"]));
    // The blog without an author no longer has its old address.
    api.get("/v1/blogs/by-slug/zebedee-writes", None).await.refused(404);
    assert_eq!(read_parts(&operator, ZEBEDEE).await, BTreeMap::new());
    assert_eq!(world.value::<i64>("select count(*) from social.follow", &[]).await, 1);

    // A late unreadable message that names him is parked unchanged; another erasure finds it.
    park(&world, 0, &spaced, &format!("invalid type: string {ZEBEDEE:?}, expected i64")).await;
    assert_eq!(traces_but_record(&world, &texts).await.len(), 1);
    erase(&operator).await.unwrap();
    assert_eq!(traces_but_record(&world, &texts).await, Vec::<String>::new());
    world.assert_consistent().await;
    notifier.stop().await;
    worker.stop().await;
}

#[tokio::test]
async fn account_is_matched_by_its_whole_id() {
    let world = World::new().await;
    let names = async |body: &[u8]| world.value::<bool>("select blogs.names_account($1, 17)", &[&body]).await;
    for body in [
        r#"{"account_id":17}"#,
        r#"{"account_id":17,"blog_id":1}"#,
        r#"[{"type":"blog.published","data":{"author_id": 17, "blog_id":1}}]"#,
        "{\n \"account_id\" :\t\"17\"\n}",
        r#"{"account_id":17"#,
        r#"é"account_id":17}"#,
    ] {
        assert!(names(body.as_bytes()).await, "{body}");
    }
    assert!(names(b"\0\xff\\ \"account_id\":17}").await, "bytes that are no text");
    for body in [
        r#"{"account_id":171}"#,
        r#"{"account_id":117}"#,
        r#"{"account_id":1,"blog_id":17}"#,
        r#"{"account":17}"#,
        "",
    ] {
        assert!(!names(body.as_bytes()).await, "{body}");
    }
}

#[tokio::test]
async fn tag_is_not_deleted_while_a_transaction_adds_it_to_a_blog() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    world.run("insert into blogs.tag (name) values ('rare'), ('unwanted')").await;
    let waits = "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'relation'";

    // A transaction has read the tag and not added it yet: the deletion waits, and then finds it in use.
    let author = world.another().await;
    author.client.batch_execute("begin").await.unwrap();
    let create = include_str!("../../../services/blogs-api/sql/tag_create.sql");
    assert_eq!(author.client.execute(create, &[&vec!["rare"]]).await.unwrap(), 0, "it is there");
    let operator = world.session("operator").await;
    let mut forgetting = JoinSet::new();
    forgetting.spawn(async move { operator.client.query_one(FORGET_UNUSED_TAGS, &[]).await.unwrap() });
    world.until(waits, 1_i64).await;
    let blog = world.blogs(1).await[0];
    let put = include_str!("../../../services/blogs-api/sql/blog_tag_create.sql");
    assert_eq!(author.client.execute(put, &[&blog, &vec!["rare"]]).await.unwrap(), 1);
    author.client.batch_execute("commit").await.unwrap();
    let forgotten: i64 = forgetting.join_next().await.unwrap().unwrap().get("forgotten");
    assert_eq!(forgotten, 1, "the unwanted one alone");

    // A tag that is wanted while it is being deleted is made again.
    world.run("delete from blogs.blog_tag").await;
    let forgetting = world.another().await;
    forgetting.client.batch_execute("begin; select blogs.forget_unused_tags()").await.unwrap();
    let new = json!({"title": "Tagged", "body": "", "tags": ["rare"]});
    let wanting = api.call(Method::POST, "/v1/blogs", Some(&token)).json(&new);
    let mut answers = JoinSet::new();
    answers.spawn(Answer::to(wanting));
    world.until(waits, 1_i64).await;
    forgetting.client.batch_execute("commit").await.unwrap();
    assert_eq!(answers.join_next().await.unwrap().unwrap().is(201).body["tags"], json!(["rare"]));
}
