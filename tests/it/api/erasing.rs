//! Erasing an account during transactions that may have seen it alive.

use reqwest::Method;
use tests::World;
use tokio::task::JoinSet;

use super::Answer;

/// The statements that the operator's command sends.
const RETIRE: &str = include_str!("../../../cli/sql/account_retire.sql");
const ERASE: &str = include_str!("../../../cli/sql/account_erase.sql");

/// An id whose digits are unlikely to appear in any other number.
const ZEBEDEE: i64 = 7_700_000_001;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_finds_the_event_of_a_concurrent_unfollow() {
    let world = World::new().await;
    world.run(&format!("alter table blogs.account alter column id restart with {ZEBEDEE}")).await;
    let api = world.api().await;
    let (zebedee, _) = api.account("zebedee").await;
    let (_, grace) = api.account("grace").await;
    let path = format!("/v1/accounts/{zebedee}/follow");
    Answer::to(api.call(Method::PUT, &path, Some(&grace))).await.is(204);
    world.until("select count(*) from blogs.outbox", 0_i64).await;
    let operator = world.session("operator").await;
    operator.client.query_one(RETIRE, &[&zebedee]).await.unwrap();

    // A follower unfollows, and the event is not written yet. Because the trigger claims the event for a day, no relay
    // sends it.
    let holder = world.another().await;
    let hold = "create function public.wait_at_gate() returns trigger language plpgsql security definer as $$
                begin
                  perform pg_catalog.pg_advisory_xact_lock_shared(1);
                  new.claimed_until := now() + interval '1 day';
                  return new;
                end $$;
                create trigger gate before insert on blogs.outbox
                for each row execute function public.wait_at_gate();
                select pg_advisory_lock(1)";
    holder.client.batch_execute(hold).await.unwrap();
    let mut unfollowing = JoinSet::new();
    unfollowing.spawn(Answer::to(api.call(Method::DELETE, &path, Some(&grace))));
    let waiting = |event: &str| {
        format!(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and wait_event = '{event}'"
        )
    };
    world.until(&waiting("advisory"), 1_i64).await;
    let mut erasing = JoinSet::new();
    erasing.spawn(async move {
        let erased = operator.client.query(ERASE, &[&zebedee]).await;
        (erased.map(|_| ()).map_err(|error| error.code().unwrap().code().to_owned()), operator)
    });
    world.until(&waiting("transactionid"), 1_i64).await;
    holder.client.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
    unfollowing.join_next().await.unwrap().unwrap().is(204);

    let (erased, operator) = erasing.join_next().await.unwrap().unwrap();
    let named = "select count(*) from blogs.outbox where convert_from(body, 'utf8') ~ $1::bigint::text";
    let left = world.value::<i64>(named, &[&zebedee]).await;
    assert_eq!((erased, left), (Err("55006".to_owned()), 1), "refused while the event names it");
    world.run("delete from blogs.outbox").await;
    operator.client.query(ERASE, &[&zebedee]).await.unwrap();
    assert_eq!(
        world
            .value::<i64>("select count(*) from social.follow_counter where account_id = $1", &[&zebedee])
            .await,
        0
    );
    world.assert_consistent().await;
}
