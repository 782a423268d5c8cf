//! Valid tokens are signed by a listed key and not expired; forged ones are refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
pub(super) use tests::tokens::{IMPORTS, SESSIONS, issue, issue_import, session_keys};

use super::Answer;
use tests::{Running, World};

pub(super) fn claims(account_id: i64) -> Value {
    // No token is older than its account.
    let (iat, exp) = (jiff::Timestamp::now().as_second(), 4_000_000_000_u32);
    json!({"iss": "commonplace", "sub": account_id.to_string(), "epoch": 0, "scope": "", "iat": iat, "exp": exp})
}

pub(super) fn header(algorithm: &str, kid: Option<&str>) -> Value {
    json!({"typ": "JWT", "alg": algorithm, "kid": kid})
}

/// The part of a token that is signed.
pub(super) fn message(header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

/// A token with an Ed25519 signature, whatever its header says.
pub(super) fn sign(header: &Value, claims: &Value, seed: &[u8; 32]) -> String {
    let message = message(header, claims);
    let signature = SigningKey::from_bytes(seed).sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// A token with HMAC-SHA-256, by a secret of at most 64 bytes.
pub(super) fn sign_by_hmac(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(secret).for_each(|(byte, secret)| *byte ^= secret);
        block
    };
    let message = message(header, claims);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(&message).finalize();
    let mac = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac))
}

pub(super) async fn use_token(api: &Running, token: &str) -> Answer {
    api.get("/v1/blogs", Some(token)).await
}

pub(super) async fn sign_in(api: &Running) -> String {
    api.sign_in("ada", super::PASSWORD).await.is(201).body["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn token_of_another_issuer_is_refused_everywhere() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, session) = api.account("ada").await;
    let blog = api.blog(&session, "Guarded").await;
    let key = header("EdDSA", Some(SESSIONS.0));
    let seed = SESSIONS.1;
    let good = sign(&key, &claims(ada), seed);
    use_token(&api, &good).await.is(200);

    let with = |field: &str, value: Value| {
        let mut claims = claims(ada);
        claims[field] = value;
        sign(&key, &claims, seed)
    };
    let without = |field: &str| {
        let mut claims = claims(ada);
        claims.as_object_mut().unwrap().remove(field);
        sign(&key, &claims, seed)
    };
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let other_payload = URL_SAFE_NO_PAD.encode(claims(ada + 1).to_string());
    let bad = [
        ("of another key", sign(&key, &claims(ada), &[7; 32])),
        ("of a key that is not listed", sign(&header("EdDSA", Some("else")), &claims(ada), seed)),
        ("without a key's id", sign(&header("EdDSA", None), &claims(ada), seed)),
        ("of another algorithm", sign(&header("ES256", Some(SESSIONS.0)), &claims(ada), seed)),
        ("of an unknown algorithm", sign(&header("Ed448", Some(SESSIONS.0)), &claims(ada), seed)),
        ("of the algorithm of before", sign_by_hmac(&header("HS256", Some(SESSIONS.0)), &claims(ada), seed)),
        ("unsigned", format!("{}.", message(&header("none", Some(SESSIONS.0)), &claims(ada)))),
        (
            "unsigned, with a signature",
            format!("{}.{signature}", message(&header("NONE", Some(SESSIONS.0)), &claims(ada))),
        ),
        ("with another payload", format!("{head}.{other_payload}.{signature}")),
        ("with half a signature", good[..good.len() - 20].to_owned()),
        ("expired", with("exp", json!(1_700_000_001))),
        ("without an end", without("exp")),
        ("of another issuer", with("iss", json!("else"))),
        ("without an issuer", without("iss")),
        ("without an account", without("sub")),
        ("of no account", with("sub", json!("ada"))),
        ("of an account that is not there", with("sub", json!("9223372036854775807"))),
        ("of an odd epoch", with("epoch", json!("0"))),
        ("with two dots", "..".to_owned()),
        ("garbage", "garbage".to_owned()),
    ];
    for (what, token) in bad {
        assert_eq!(use_token(&api, &token).await.refused(401).status, 401, "{what}");
        let like = api.call(Method::PUT, &format!("/v1/blogs/{blog}/like"), Some(&token));
        assert_eq!(Answer::to(like).await.refused(401).status, 401, "{what}");
        let deletion = api.delete(&format!("/v1/blogs/{blog}"), Some(&token)).await;
        assert_eq!(deletion.refused(401).status, 401, "{what}");
    }
    let expired = use_token(&api, &with("exp", json!(1_700_000_001))).await;
    assert!(expired.detail().contains("expired"), "{expired:?}");
    use_token(&api, &good).await.is(200);
    api.get(&format!("/v1/blogs/{blog}"), None).await.is(200);
}

#[tokio::test]
async fn authorization_header_is_bearer_and_one_token() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let with = async |value: &[u8]| {
        let request = api.request(Method::GET, "/v1/blogs").header("Authorization", value);
        Answer::to(request).await
    };
    for good in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER  {token} ")] {
        with(good.as_bytes()).await.is(200);
    }
    for bad in [
        token.as_bytes(),
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic YWRhOnB3",
        format!("Token {token}").as_bytes(),
        format!("Bearer {token} {token}").as_bytes(),
        b"Bearer \xff\xfe",
    ] {
        with(bad).await.refused(401);
    }
}

/// Shifts the database's clock, which dates accounts, against the clock of the services.
async fn move_the_databases_clock(world: &World, seconds: i32) {
    let default = format!("now() + interval '{seconds} seconds'");
    world.run(&format!("alter table blogs.account alter column created_at set default {default}")).await;
}

/// A token of this epoch, issued now, by the key of [`World::api`].
fn of_epoch(account_id: i64, epoch: i32) -> String {
    let mut claims = claims(account_id);
    claims["epoch"] = json!(epoch);
    sign(&header("EdDSA", Some(SESSIONS.0)), &claims, SESSIONS.1)
}

#[tokio::test]
async fn new_account_can_use_its_token_at_once_while_clocks_are_4_s_apart() {
    let world = World::new().await;
    let (signing_up, other) = (world.api().await, world.api().await);
    for (handle, seconds) in [("ahead", 4), ("behind", -4)] {
        move_the_databases_clock(&world, seconds).await;
        let (_, token) = signing_up.account(handle).await;
        use_token(&other, &token).await.is(200);
        use_token(&signing_up, &token).await.is(200);
    }
}

#[tokio::test]
async fn token_issued_before_its_account_was_created_is_refused() {
    let world = World::new().await;
    let (api, recommender) = (world.api().await, world.recommender_with(|loader| loader).await);
    let (account, _) = api.account("ada").await;
    let token = of_epoch(account, 0);
    use_token(&world.api().await, &token).await.is(200);
    // The same id for another account, as a restored sequence would give it.
    world
        .run(&format!(
            "update blogs.account set created_at = now() + interval '60 seconds' where id = {account}"
        ))
        .await;
    let refused = use_token(&world.api().await, &token).await.refused(401);
    assert!(refused.detail().contains("sign in again"), "{refused:?}");
    let (status, _) = recommender.send(Method::GET, "/v1/recommendations", Some(&token), Value::Null).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn token_of_a_new_password_is_valid_in_another_process_at_once() {
    let world = World::new().await;
    let (api, other) = (world.api().await, world.api().await);
    let (_, old) = api.account("ada").await;
    // The other process caches the first epoch.
    use_token(&other, &old).await.is(200);
    let change = json!({"password": super::PASSWORD, "new_password": "another battery staple"});
    let (status, _) = api.send(Method::PUT, "/v1/accounts/me/password", Some(&old), change).await;
    assert_eq!(status, 204);
    let session = api.sign_in("ada", "another battery staple").await.is(201);
    let new = session.body["token"].as_str().unwrap();
    use_token(&other, new).await.is(200);
    // It has read the new epoch from the database, so it knows that the old token is revoked.
    use_token(&other, &old).await.refused(401);
    use_token(&other, new).await.is(200);
}

#[tokio::test]
async fn token_of_an_epoch_above_the_databases_is_refused() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, _) = api.account("ada").await;
    let forgotten = of_epoch(ada, 3);
    use_token(&api, &forgotten).await.refused(401);
    use_token(&api, &of_epoch(ada, 0)).await.is(200);
    // The token is also refused once the account is cached.
    use_token(&api, &forgotten).await.refused(401);
    let (status, _) = world
        .recommender_with(|loader| loader)
        .await
        .send(Method::GET, "/v1/recommendations", Some(&forgotten), Value::Null)
        .await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn flood_with_a_refused_token_queries_the_database_once_a_second() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    use_token(&api, &token).await.is(200);
    api.stop().await;
    // A session reports its statistics at the latest when it ends.
    let sessions = "select count(*) from pg_stat_activity
                    where usename = 'blogs_api' and datname = current_database()";
    world.until(sessions, 0_i64).await;
    let looks = "select coalesce(seq_scan, 0) + coalesce(idx_scan, 0) from pg_stat_user_tables
                 where schemaname = 'blogs' and relname = 'account'";
    let before: i64 = world.value(looks, &[]).await;
    let api = world.api().await;
    use_token(&api, &token).await.is(200);
    let (began, forgotten) = (std::time::Instant::now(), of_epoch(ada, 3));
    for _ in 0..300 {
        use_token(&api, &forgotten).await.refused(401);
    }
    let seconds = i64::try_from(began.elapsed().as_secs()).unwrap() + 1;
    api.stop().await;
    world.until(sessions, 0_i64).await;
    world.run("select pg_stat_clear_snapshot()").await;
    let looks = world.value::<i64>(looks, &[]).await - before;
    // The statement scans the table twice. The right to use the list is checked once. From the start on, the API looks
    // every minute for deleted accounts to forget, also with two scans.
    let most = 2 * (seconds + 2) + 2 + 2 * (seconds / 60 + 1);
    assert!(looks <= most, "{looks} looks at the accounts in {seconds} s, expected at most {most}");
}
