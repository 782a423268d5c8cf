//! A worker looks for counters that have drifted, and shows what it found.

use tests::{World, wait_until};

/// The statement that the operator's command sends.
const MEND: &str = include_str!("../../cli/sql/mend_counter.sql");

#[tokio::test]
async fn comparison_that_times_out_is_halved_and_then_continues() {
    let world = World::new().await;
    let blogs = world.blogs(9).await;
    // Comparing the fourth blog never ends, whatever is compared with it.
    let slow = blogs[3];
    world
        .run(&format!(
            "alter role analytics_worker in database {} set statement_timeout = '1s';
             alter function analytics.counter_drift(bigint, integer) rename to as_it_was;
             create function analytics.counter_drift(after_id bigint, most integer)
             returns table (blog_id bigint, kind text, counter bigint, counted bigint, looked_at bigint, last_id bigint)
             language plpgsql stable security definer set search_path = '' as $$
             begin
               if {slow} in (select c.blog_id from blogs.blog_counter c where c.blog_id > after_id order by 1 limit most) then
                 perform pg_catalog.pg_sleep(60);
               end if;
               return query select * from analytics.as_it_was(after_id, most);
             end $$;
             alter function analytics.counter_drift(bigint, integer) owner to analytics_owner;
             grant execute on function analytics.counter_drift(bigint, integer) to analytics_worker",
            world.name()
        ))
        .await;
    for blog in [blogs[2], slow, blogs[4], blogs[8]] {
        world.run(&format!("update blogs.blog_counter set total_views = 10 where blog_id = {blog}")).await;
    }
    let worker = world
        .worker_with(|loader| loader.set("reconcile.blogs_per_round", 8).set("reconcile.interval_s", 1))
        .await;
    let drift = async || worker.metric("commonplace_worker_drift").await;
    let shown = wait_until(async || (drift().await - 30.0).abs() < f64::EPSILON);
    assert!(shown.await, "before and behind the slow one: {}", drift().await);
    worker.stop().await;
}

#[tokio::test]
async fn worker_reports_drift_until_it_is_repaired() {
    let world = World::new().await;
    let blogs = world.blogs(5).await;
    // Three rounds cover all five blogs.
    let worker = world
        .worker_with(|loader| loader.set("reconcile.blogs_per_round", 2).set("reconcile.interval_s", 1))
        .await;
    let drift = async || worker.metric("commonplace_worker_drift").await;
    let all_looked_at = async || worker.metric("commonplace_worker_reconciled_blogs_total").await >= 5.0;
    assert!(wait_until(all_looked_at).await, "the rounds do not cover all blogs");
    assert!(drift().await.abs() < f64::EPSILON);

    for (blog, column, off) in [(blogs[0], "total_views", 2), (blogs[4], "total_shares", -3)] {
        let plant =
            format!("update blogs.blog_counter set {column} = {column} + {off} where blog_id = {blog}");
        world.run(&plant).await;
    }
    let shown = wait_until(async || (drift().await - 5.0).abs() < f64::EPSILON);
    assert!(shown.await, "2 and 3 are shown together: {}", drift().await);
    let operator = world.session("operator").await;
    for blog in [blogs[0], blogs[4]] {
        assert!(operator.client.query_one(MEND, &[&blog]).await.unwrap().get::<_, bool>("was_mended"));
    }
    assert!(wait_until(async || drift().await.abs() < f64::EPSILON).await, "{}", drift().await);
    worker.stop().await;
    world.assert_consistent().await;
}
