//! A role lifts its own limits: its service reports this, and `migrate` restores them.

use test_servers::{lift_connection_limits, roles};
use tests::World;

/// Defaults that a role can change for itself permanently, for one database or for the whole cluster.
const LIFTED: [&str; 3] = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];

#[tokio::test]
async fn role_that_lifts_its_limits_is_reported_and_reset() {
    let world = World::new().await;
    let roles = roles();
    let notifier = world.notifier().await;
    notifier.ready().await;
    let session = world.session("notification_worker").await;
    let (database, role) = (world.name().to_owned(), "notification_worker");
    // In this database alone: the role's defaults for the cluster are shared with other tests.
    for limit in LIFTED {
        let lift = format!("alter role {role} in database {database} set {limit} = 0");
        session.client.batch_execute(&lift).await.unwrap();
    }
    notifier.degraded("role", "statement_timeout = '0' in this database").await;
    notifier.ready().await;

    let found = database::drift::of_all(&world.administrator(), &roles).await.unwrap();
    let lifted: Vec<_> = found.iter().filter(|difference| difference.contains("timeout")).collect();
    assert_eq!(lifted.len(), LIFTED.len(), "{found:?}");
    database::bootstrap::run(&world.administrator(), &roles).await.unwrap();
    lift_connection_limits(&world.administrator()).await;
    let found = database::drift::of_all(&world.administrator(), &roles).await.unwrap();
    assert!(!found.iter().any(|difference| difference.contains("timeout")), "{found:?}");
}
