//! Attacks by a login role on the shared database, as they were made once, and that each is refused or bounded.

use crate::world::World;

/// Code that a role plants in its temporary schema: a type named like one of the catalog's, whose check says who runs it.
const PLANT: &str = "create function pg_temp.taken(value pg_catalog.date) returns boolean language plpgsql as
       'begin raise exception ''code of % ran as %'', session_user, current_user; end';
     create domain pg_temp.date as pg_catalog.date check (pg_temp.taken(value))";

/// A restored database grants TEMP to everybody until `migrate` has run.
#[tokio::test]
async fn temporary_objects_never_run_as_an_owner() {
    let world = World::new().await;
    world.run(&format!("grant temporary on database {} to public", world.name())).await;
    for (role, call) in [
        (
            "notification_worker",
            "select notify.create_day((pg_catalog.now() at time zone 'utc')::pg_catalog.date)",
        ),
        (
            "analytics_worker",
            "select analytics.create_day('blog_view', (pg_catalog.now() at time zone 'utc')::pg_catalog.date)",
        ),
    ] {
        let session = world.session(role).await;
        session.client.batch_execute(PLANT).await.unwrap();
        let made = session.client.query_one(call, &[]).await;
        let made = made.unwrap_or_else(|error| panic!("{role}: {error:?}"));
        assert_eq!(made.get::<_, &str>(0), "there", "{role}");
    }
}

#[tokio::test]
async fn every_function_of_an_owner_searches_the_catalog_before_temporary_objects() {
    let world = World::new().await;
    let others = "select coalesce(array_agg(p.oid::regprocedure::text), '{}')
                  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                  where n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend', 'days', 'public')
                    and (p.prosecdef or p.proconfig::text like '%search_path%')
                    and not coalesce(p.proconfig, '{}') @> array['search_path=pg_catalog, pg_temp']";
    assert_eq!(world.value::<Vec<String>>(others, &[]).await, Vec::<String>::new());
    let definers = "select count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                    where n.nspname in ('blogs', 'analytics', 'notify') and p.prosecdef";
    assert!(world.value::<i64>(definers, &[]).await > 20);
}
