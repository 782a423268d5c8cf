//! Drifted counters are found exactly, and repaired while batches add to them.

use std::collections::BTreeSet;

use database::Session;
use engagement::{Engagement, Incoming, OnBadEvent, Settings};
use events::{Action, Channel, EngagementEvent, EnvelopeId, Visitor};
use jiff::Timestamp;
use test_servers::Database;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The statements of the operator's command.
const DRIFT: &str = include_str!("../../../../cli/sql/counter_drift.sql");
const MEND: &str = include_str!("../../../../cli/sql/mend_counter.sql");

/// The differences of counters: blog, kind, and amount.
type Drift = BTreeSet<(i64, String, i64)>;

/// Goes through every blog, two at a time.
async fn drift(operator: &Session) -> (Drift, i64) {
    let (mut found, mut blogs, mut after) = (Drift::new(), 0, 0_i64);
    loop {
        let rows = operator.client.query(DRIFT, &[&after, &2_i32]).await.unwrap();
        let Some(first) = rows.first() else { return (found, blogs) };
        blogs += first.get::<_, i64>("looked_at");
        after = first.get("last_id");
        for row in rows.iter().filter(|row| row.get::<_, Option<i64>>("blog_id").is_some()) {
            let difference = row.get::<_, i64>("counter") - row.get::<_, i64>("counted");
            found.insert((row.get("blog_id"), row.get("kind"), difference));
        }
    }
}

async fn mend(operator: &Session, blog: i64) -> bool {
    operator.client.query_one(MEND, &[&blog]).await.unwrap().get("was_mended")
}

fn random_envelope(blogs: &[i64], accounts: &[i64]) -> Incoming {
    let one = |blog_id: &i64| {
        let account_id = accounts[rand::random_range(0..accounts.len())];
        let action = match rand::random_range(0..4) {
            0 => Action::Liked { account_id },
            1 => Action::Unliked { account_id },
            2 => Action::Shared(Channel::Link),
            _ => Action::Viewed(Visitor(rand::random())),
        };
        let id = Uuid::now_v7();
        Ok(EngagementEvent {
            id,
            blog_id: *blog_id,
            time: Timestamp::now(),
            action,
            key: None,
            imported: false,
        })
    };
    Incoming { id: EnvelopeId::now(), traceparent: None, events: blogs.iter().map(one).collect() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drift_is_found_exactly_and_mended_while_events_flow() {
    let world = Database::new().await;
    let (blogs, accounts) = (world.blogs(5).await, world.accounts(20).await);
    let enough = CancellationToken::new();
    let mut flowing = JoinSet::new();
    for _ in 0..4 {
        let engagement =
            Engagement::new(world.pool("analytics_worker"), &Settings { view_window_s: 1800 }).unwrap();
        let (blogs, accounts, enough) = (blogs.clone(), accounts.clone(), enough.clone());
        flowing.spawn(async move {
            let mut batches = 0_u32;
            while !enough.is_cancelled() {
                let batch = [random_envelope(&blogs, &accounts), random_envelope(&blogs[..2], &accounts)];
                engagement.apply(&batch, OnBadEvent::Park).await.unwrap();
                batches += 1;
            }
            batches
        });
    }
    world.until("select count(*) > 20 from analytics.envelope_ledger", true).await;

    let operator = world.session("operator").await;
    for round in 1..=25_i64 {
        let (one, other) = (blogs[0], blogs[4]);
        world
            .run(&format!(
                "update blogs.blog_counter set total_views = total_views + {round}, total_likes = total_likes - 1
                 where blog_id = {one};
                 update blogs.blog_counter set total_shares = total_shares - 7 where blog_id = {other}"
            ))
            .await;
        let planted = [(one, "views", round), (one, "likes", -1), (other, "shares", -7)];
        let planted: Drift = planted.map(|(blog, kind, off)| (blog, kind.to_owned(), off)).into();
        assert_eq!(drift(&operator).await, (planted, 5));
        // Correct counters stay correct, even while batches write to them.
        for blog in &blogs {
            assert_eq!(mend(&operator, *blog).await, [one, other].contains(blog), "blog {blog}");
        }
        assert_eq!(drift(&operator).await, (Drift::new(), 5));
    }
    assert!(!mend(&operator, i64::MAX).await, "a blog that does not exist");
    enough.cancel();
    let batches: u32 = flowing.join_all().await.into_iter().sum();
    assert!(batches > 50, "events flowed all the while: {batches} batches");
    world.assert_consistent().await;
}
