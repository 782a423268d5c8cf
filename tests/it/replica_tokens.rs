//! With a replica, tokens are still checked on the primary, where they are revoked.

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tests::tokens;

use tests::World;

#[tokio::test]
async fn lagging_replica_does_not_decide_which_tokens_are_valid() {
    let world = World::new().await;
    let old = world.accounts(1).await[0];
    // A copy that receives no more changes is like a replica that has stopped replaying.
    let (world, replica) = world.twice().await;
    let new = world.accounts(1).await[0];
    world.run(&format!("update blogs.account set token_epoch = token_epoch + 1 where id = {old}")).await;
    let url = replica.url("recommendation_api");
    let service = world.recommender_with(|loader| loader.set("recommendation.replica_url", url)).await;
    service.ready().await;
    let status = async |account: i64| {
        service.send(Method::GET, "/v1/recommendations", Some(&tokens::issue(account)), Value::Null).await.0
    };
    assert_ne!(old, new);
    assert_eq!(status(new).await, StatusCode::OK, "an account that the replica does not know of");
    assert_eq!(
        status(old).await,
        StatusCode::UNAUTHORIZED,
        "a token that the replica does not know to be taken back"
    );
    service.stop().await;
}
