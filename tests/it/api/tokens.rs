//! Which tokens count: signed by a listed key, in time, and nothing forged.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use web::tokens::{Epochs, SigningKeys, TokenSettings, Tokens};

use super::Answer;
use crate::services::Running;
use crate::world::World;

/// The key of [`World::api`].
const KEY: (&str, &str) = ("test", "Zm9yIHRlc3RzIG9uIHRoaXMgbWFjaGluZSBvbmx5LCBsb25nIGVub3VnaA==");
const OLD: &str = "old:b2xkIGFuZCBzdGlsbCBsb25nIGVub3VnaCB0byBzaWduIHRva2Vucw==";
const NEW: &str = "new:bmV3IGFuZCBqdXN0IGFzIGxvbmcgYXMgdGhlIG9uZSBiZWZvcmUgaXQ=";

/// A token of the key of [`World::api`], as the service itself issues them.
pub(crate) fn issue(account_id: i64, scopes: &[&str]) -> String {
    let settings = TokenSettings {
        signing_keys: SigningKeys::new(format!("{}:{}", KEY.0, KEY.1)),
        issuer: "commonplace".to_owned(),
        lifetime_s: 3600,
        epoch_age_max_s: 45,
        epochs_max: 1,
        epoch_wait_max_ms: 1,
    };
    let epochs = Epochs::without_database(&settings);
    Tokens::new(&settings, epochs).unwrap().issue(account_id, 0, scopes).unwrap().token
}

fn claims(account_id: i64) -> Value {
    let (iat, exp) = (1_700_000_000, 4_000_000_000_u32);
    json!({"iss": "commonplace", "sub": account_id.to_string(), "epoch": 0, "scope": "", "iat": iat, "exp": exp})
}

fn sign(algorithm: Algorithm, kid: Option<&str>, secret: &[u8], claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

async fn use_token(api: &Running, token: &str) -> Answer {
    api.get("/v1/blogs", Some(token)).await
}

async fn sign_in(api: &Running) -> String {
    api.sign_in("ada", super::PASSWORD).await.is(201).body["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn keys_rotate() {
    let world = World::new().await;
    let with_keys =
        async |keys: String| world.api_with(|loader| loader.set("tokens.signing_keys", keys)).await;
    let before = with_keys(OLD.to_owned()).await;
    let (_, by_old) = before.account("ada").await;
    let between = with_keys(format!("{NEW},{OLD}")).await;
    let by_new = sign_in(&between).await;
    let after = with_keys(NEW.to_owned()).await;

    use_token(&before, &by_old).await.is(200);
    use_token(&before, &by_new).await.refused(401);
    use_token(&between, &by_old).await.is(200);
    use_token(&between, &by_new).await.is(200);
    use_token(&after, &by_old).await.refused(401);
    use_token(&after, &by_new).await.is(200);
}

#[tokio::test]
async fn what_this_api_did_not_issue_is_refused_everywhere() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, session) = api.account("ada").await;
    let blog = api.blog(&session, "Guarded").await;
    let secret = STANDARD.decode(KEY.1).unwrap();
    let good = sign(Algorithm::HS256, Some(KEY.0), &secret, &claims(ada));
    use_token(&api, &good).await.is(200);

    let with = |field: &str, value: Value| {
        let mut claims = claims(ada);
        claims[field] = value;
        sign(Algorithm::HS256, Some(KEY.0), &secret, &claims)
    };
    let without = |field: &str| {
        let mut claims = claims(ada);
        claims.as_object_mut().unwrap().remove(field);
        sign(Algorithm::HS256, Some(KEY.0), &secret, &claims)
    };
    let (header, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let other_payload = URL_SAFE_NO_PAD.encode(claims(ada + 1).to_string());
    let none =
        |name: &str| URL_SAFE_NO_PAD.encode(json!({"alg": name, "typ": "JWT", "kid": KEY.0}).to_string());
    let bad = [
        ("of another key", sign(Algorithm::HS256, Some(KEY.0), &[7; 40], &claims(ada))),
        ("of a key that is not listed", sign(Algorithm::HS256, Some("else"), &secret, &claims(ada))),
        ("without a key's id", sign(Algorithm::HS256, None, &secret, &claims(ada))),
        ("of another algorithm", sign(Algorithm::HS512, Some(KEY.0), &secret, &claims(ada))),
        ("unsigned", format!("{}.{payload}.", none("none"))),
        ("unsigned, with a signature", format!("{}.{payload}.{signature}", none("NONE"))),
        ("with another payload", format!("{header}.{other_payload}.{signature}")),
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
async fn the_header_is_bearer_and_one_token() {
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
