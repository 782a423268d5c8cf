//! "Backup and restore" of docs/operations.md, step by step, on private servers with the real services: ids and tokens issued
//! after the dump must not give access to other accounts' data afterwards.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its output is its report"
)]

mod ground;

use database::Session;
use database::bootstrap::login_roles;
use reqwest::Method;
use serde_json::Value;

use ground::{Ground, printed};

#[tokio::test(flavor = "multi_thread")]
async fn documented_restore_gives_no_lost_id_or_token_to_others() {
    let ground = Ground::prepare().await;
    let before = Before::make(&ground).await;
    ground.dump();
    let lost = before.go_on_until_the_database_is_lost(&ground).await;

    ground.lose_and_load_the_dump();
    ground.restored_database_is_refused_until_it_is_finished().await;
    let said = ground.done(&["restore", "--erased", ground.erased().to_str().unwrap()]);
    println!("$ commonplace restore --erased erased-accounts\n{said}");
    ground.recommendations_begin_again().await;
    let again = ground.done(&["restore", "--erased", ground.erased().to_str().unwrap()]);
    assert!(again.contains("nothing is changed"), "{again}");
    ground.done(&["migrate"]);

    before.come_back(&ground, &lost).await;
    ground.server_that_went_back_in_time_is_finished_in_place().await;
    ground.complete_copy_keeps_ids_and_tokens().await;
    tokio::task::spawn_blocking(|| ground.stack.stop()).await.unwrap().unwrap();
}

/// The state when the dump was made.
struct Before {
    blog: i64,
    /// A token of the author, who does nothing after the dump.
    author: String,
    /// A token of an account that signs out after the dump.
    signed_out: String,
}

/// The ids and tokens that were given out after the dump was made.
struct Lost {
    account: i64,
    blog: i64,
    token: String,
}

impl Before {
    async fn make(ground: &Ground) -> Self {
        let services = ground.start(&["analytics-worker", "notification-worker", "recommendation-api"]).await;
        let (_, author) = ground.account(&services, "ada").await;
        let (_, signed_out) = ground.account(&services, "bob").await;
        let (_, erased) = ground.account(&services, "eve").await;
        let blog = ground.blog(&services, &author, "Kept").await;
        for token in [&signed_out, &erased] {
            ground.sent(&services, Method::PUT, &format!("/v1/blogs/{blog}/like"), token).await;
        }
        ground.share(&services, blog, 4).await;
        ground.until("select sum(n)::bigint from analytics.outcome where outcome = 'counted'", 6).await;
        ground.until("select count(*) from recommend.progress where generation > 0", 1).await;
        services.stop().await;
        Self { blog, author, signed_out }
    }

    async fn go_on_until_the_database_is_lost(&self, ground: &Ground) -> Lost {
        // No worker runs, so accepted events stay in RabbitMQ.
        let services = ground.start(&[]).await;
        let (account, token) = ground.account(&services, "lost").await;
        let blog = ground.blog(&services, &token, "Lost").await;
        ground.share(&services, blog, 5).await;
        ground.share(&services, self.blog, 3).await;
        ground.sent(&services, Method::PUT, &format!("/v1/blogs/{}/like", self.blog), &token).await;
        let (status, _) = ground
            .send(services.api(), Method::DELETE, "/v1/sessions", Some(&self.signed_out), Value::Null)
            .await;
        assert_eq!(status, 204);
        let record = ground.erased();
        let erase = ["account", "erase", "eve", "--yes", "--record", record.to_str().unwrap()];
        let output = ground.command(&erase, "operator").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        services.stop().await;
        Lost { account, blog, token }
    }

    async fn come_back(&self, ground: &Ground, lost: &Lost) {
        let generation = ground.value("select generation::bigint from recommend.progress").await;
        let mut services = ground.start(&["notification-worker", "recommendation-api"]).await;
        // A stranger signs up and writes before the queue is drained.
        let (stranger, token) = ground.account(&services, "stranger").await;
        let blog = ground.blog(&services, &token, "New").await;
        services.rest.push(ground.start_one("analytics-worker"));
        assert!(
            stranger > lost.account && blog > lost.blog,
            "{stranger} {blog} after {} {}",
            lost.account,
            lost.blog
        );
        ground.until("select sum(n)::bigint from analytics.outcome where outcome = 'discarded'", 6).await;
        let shares = format!("select total_shares from blogs.blog_counter where blog_id = {}", self.blog);
        ground.until(&shares, 7).await;
        let of_new = format!("select total_shares from blogs.blog_counter where blog_id = {blog}");
        assert_eq!(ground.value(&of_new).await, 0, "shares of the lost blog are not those of a new one");

        for (whose, token) in [
            ("of the lost account", &lost.token),
            ("taken back", &self.signed_out),
            ("of before", &self.author),
        ] {
            for (method, path) in [(Method::GET, "/v1/blogs"), (Method::DELETE, "/v1/accounts/me")] {
                let (status, body) =
                    ground.send(services.api(), method, path, Some(token), Value::Null).await;
                assert_eq!(status, 401, "a token {whose}: {body}");
            }
        }
        let accounts = "select count(*) from blogs.active_account a join blogs.account b on b.id = a.id
                        where b.handle in ('ada', 'bob', 'stranger')";
        assert_eq!(ground.value(accounts).await, 3);
        assert_eq!(
            ground.value("select count(*) from blogs.account where handle in ('eve', 'lost')").await,
            0
        );
        // After a new sign-in an account can use every service.
        let author = ground.sign_in(&services, "ada").await;
        for address in [services.api(), services.of("recommendation-api")] {
            let path = if address == services.api() { "/v1/blogs" } else { "/v1/recommendations" };
            assert_eq!(ground.send(address, Method::GET, path, Some(&author), Value::Null).await.0, 200);
        }
        ground
            .until(&format!("select count(*) from recommend.progress where generation > {generation}"), 1)
            .await;

        for check in [&["ledger"][..], &["reconcile"]] {
            let output = ground.command(check, "operator").output().unwrap();
            println!("$ commonplace {}\n{}", check.join(" "), String::from_utf8_lossy(&output.stdout));
            assert!(output.status.success(), "{output:?}");
        }
        services.stop().await;
    }
}

impl Ground {
    async fn restored_database_is_refused_until_it_is_finished(&self) {
        let said = self.refused(&["migrate"]);
        assert!(said.contains("is a copy of another one") && said.contains("commonplace restore"), "{said}");
        let usage = self.command(&["restore"], "postgres").output().unwrap();
        assert_eq!(usage.status.code(), Some(2), "what was erased has to be said: {usage:?}");
        let connected = Session::open(&self.url("blogs_api", "commonplace").parse().unwrap()).await.unwrap();
        let said = self.refused(&["restore", "--no-erased-list"]);
        assert!(said.contains("blogs_api (sessions: 1)"), "{said}");
        drop(connected);
        let gone = "select count(*) from pg_stat_activity where usename = 'blogs_api'";
        self.until(gone, 0).await;
        // As in a dump from a server with higher transaction numbers, made in the middle of a rebuild.
        let foreign = "update recommend.progress set applied_xid = 4000000000, wanted_since = null,
                       next_xid = 4000000000, next_after_id = 1, next_began_at = now()";
        self.session("commonplace").await.client.batch_execute(foreign).await.unwrap();
    }

    async fn recommendations_begin_again(&self) {
        let asked = "select count(*) from recommend.progress
                     where applied_xid < 4000000000 and applied_xid > 0 and wanted_since is not null
                       and next_xid is null and next_after_id is null";
        assert_eq!(self.value(asked).await, 1);
        let allowed = format!(
            "select count(*) from unnest(array['{}']) as r (role)
             where has_database_privilege(r.role, current_database(), 'TEMP')
                or has_database_privilege(r.role, current_database(), 'CREATE')
                or has_schema_privilege(r.role, 'public', 'CREATE')",
            login_roles().collect::<Vec<_>>().join("', '")
        );
        assert_eq!(self.value(&allowed).await, 0, "services may make no tables");
    }

    /// As after a physical backup. An erasure that cannot be finished does not hold up anything else.
    async fn server_that_went_back_in_time_is_finished_in_place(&self) {
        let bob = self.value("select id from blogs.account where handle = 'bob'").await;
        let waiting = format!(
            "insert into blogs.outbox (id, routing_key, events, body)
             values (gen_random_uuid(), 'account.followed', 1, convert_to('{{\"account_id\":\"{bob}\"}}', 'utf8'))"
        );
        let session = self.session("commonplace").await;
        session.client.batch_execute(&waiting).await.unwrap();
        std::fs::write(self.erased(), format!("# accounts\n{bob}\n")).unwrap();
        let before = self.value("select last_value from blogs.account_id_seq").await;
        let said = self.refused(&["restore", "--in-place", "--erased", self.erased().to_str().unwrap()]);
        assert!(said.contains(&format!("could not be erased yet: {bob}.")), "{said}");
        assert_eq!(self.value("select last_value from blogs.account_id_seq").await, before + 100_000_000);
        self.done(&["migrate"]);
        let deleted =
            format!("select count(*) from blogs.account where id = {bob} and deleted_at is not null");
        assert_eq!(self.value(&deleted).await, 1);
        session.client.batch_execute("delete from blogs.outbox").await.unwrap();
        let (id, record) = (bob.to_string(), self.erased());
        let erase = ["account", "erase", &id, "--yes", "--record", record.to_str().unwrap()];
        printed(&self.command(&erase, "operator").output().unwrap(), 0);
        assert_eq!(self.value(&deleted).await, 0);
    }

    /// Restores the same dump again with `--dump`, as if nothing had been given out after it.
    async fn complete_copy_keeps_ids_and_tokens(&self) {
        let programs = self.stack.postgres().program("").unwrap();
        let path = std::env::join_paths([programs, "/usr/bin".into(), "/bin".into()]).unwrap();
        let dump = self.dump_file();
        let run = |arguments: &[&str]| {
            let mut command = self.command(arguments, "postgres");
            command.env("DATABASE_URL", self.url("postgres", "moved")).env("PATH", &path);
            command.output().unwrap()
        };
        printed(&run(&["restore", "--roles"]), 0);
        let empty = printed(&run(&["restore", "--complete"]), 1);
        assert!(empty.contains("is empty"), "{empty}");
        let said = printed(&run(&["restore", "--complete", "--dump", dump.to_str().unwrap()]), 0);
        println!("$ commonplace restore --complete --dump commonplace.dump\n{said}");
        printed(&run(&["migrate"]), 0);
        let kept = "select count(*) from blogs.account, pg_sequences s
                    where handle = 'eve' and token_epoch = 0 and s.sequencename = 'account_id_seq' and s.last_value < 100";
        let row = self.session("moved").await.client.query_one(kept, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
    }
}
