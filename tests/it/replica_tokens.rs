//! With a replica, tokens are checked where they are changed.

use reqwest::{Method, StatusCode};
use serde_json::Value;
use web::tokens::{Epochs, SigningKeys, TokenSettings, Tokens};

use crate::world::World;

/// A token of the first epoch, as the Blogs API issues them.
fn token(account: i64) -> String {
    let keys = "test:Zm9yIHRlc3RzIG9uIHRoaXMgbWFjaGluZSBvbmx5LCBsb25nIGVub3VnaA==";
    let settings = TokenSettings {
        signing_keys: SigningKeys::new(keys),
        issuer: "commonplace".to_owned(),
        lifetime_s: 3600,
        epoch_age_max_s: 1,
        epochs_max: 1,
        epoch_wait_max_ms: 1,
    };
    let tokens = Tokens::new(&settings, Epochs::without_database(&settings)).unwrap();
    tokens.issue(account, 0, &[]).unwrap().token
}

#[tokio::test]
async fn a_replica_that_is_behind_does_not_say_which_tokens_count() {
    let world = World::new().await;
    let old = world.accounts(1).await[0];
    // A copy that gets no news any more is a replica that has stopped replaying.
    let (world, replica) = world.twice().await;
    let new = world.accounts(1).await[0];
    world.run(&format!("update blogs.account set token_epoch = token_epoch + 1 where id = {old}")).await;
    let url = replica.url("recommendation_api");
    let service = world.recommender_with(|loader| loader.set("recommendation.replica_url", url)).await;
    service.ready().await;
    let status = async |account: i64| {
        service.send(Method::GET, "/v1/recommendations", Some(&token(account)), Value::Null).await.0
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
