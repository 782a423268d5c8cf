//! The keys of tokens: their holders, their rotation, and the scope of their tokens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Running, World, wait_until};
use web::tokens::KeyPair;

use super::Answer;
use super::tokens::{
    IMPORTS, SESSIONS, claims, header, issue_import, message, session_keys, sign, sign_by_hmac, sign_in,
    use_token,
};

#[tokio::test]
async fn keys_rotate() {
    let world = World::new().await;
    let (old, new) = (KeyPair::from_seed("old", &[1; 32]), KeyPair::from_seed("new", &[2; 32]));
    let with_keys = async |private: String, public: String| {
        let api = world.api_with(|loader| loader.set("tokens.signing_keys", private)).await;
        (api, world.recommender_with(|loader| loader.set("tokens.verifying_keys", public)).await)
    };
    let before = with_keys(old.signing.clone(), old.verifying.clone()).await;
    let (_, by_old) = before.0.account("ada").await;
    let [private, public] = [(&new.signing, &old.signing), (&new.verifying, &old.verifying)]
        .map(|(new, old)| format!("{new},{old}"));
    let between = with_keys(private, public).await;
    let by_new = sign_in(&between.0).await;
    let after = with_keys(new.signing, new.verifying).await;

    for (services, of_old, of_new) in [(before, 200, 401), (between, 200, 200), (after, 401, 200)] {
        for (token, expected) in [(&by_old, of_old), (&by_new, of_new)] {
            // The first check is not cached; the second one is.
            for _ in 0..2 {
                assert_eq!(use_token(&services.0, token).await.status, expected);
                assert_eq!(recommended(&services.1, token).await, expected);
            }
        }
    }
}

#[tokio::test]
async fn public_key_that_is_listed_early_lets_processes_rotate_one_by_one() {
    let world = World::new().await;
    let new = KeyPair::from_seed("new", &[2; 32]);
    let ahead = new.verifying.clone();
    let old = world.api_with(|loader| loader.set("tokens.verifying_keys", ahead)).await;
    let (_, by_old) = old.account("ada").await;
    let (signing, behind) = (new.signing, session_keys().verifying);
    let rotated = world
        .api_with(|loader| loader.set("tokens.signing_keys", signing).set("tokens.verifying_keys", behind))
        .await;
    let by_new = sign_in(&rotated).await;
    for api in [&old, &rotated] {
        use_token(api, &by_old).await.is(200);
        use_token(api, &by_new).await.is(200);
    }
}

#[tokio::test]
async fn settings_of_the_recommendation_api_cannot_issue_tokens() {
    let world = World::new().await;
    let (api, recommender) = (world.api().await, world.recommender_with(|loader| loader).await);
    let (ada, session) = api.account("ada").await;
    assert_eq!(recommended(&recommender, &session).await, 200);
    // All token settings of this service.
    let (id, public) = {
        let setting = session_keys().verifying;
        let (id, public) = setting.split_once(':').unwrap();
        (id.to_owned(), public.to_owned())
    };
    let bytes = STANDARD.decode(&public).unwrap();
    let seed: [u8; 32] = bytes.clone().try_into().unwrap();
    let mut of_import = claims(ada);
    of_import["scope"] = json!("import");
    for claims in [claims(ada), of_import] {
        for kid in [id.as_str(), IMPORTS.0] {
            for (what, token) in [
                ("HMAC by the public key", sign_by_hmac(&header("HS256", Some(kid)), &claims, &bytes)),
                ("HMAC by its text", sign_by_hmac(&header("HS256", Some(kid)), &claims, public.as_bytes())),
                ("HMAC under another name", sign_by_hmac(&header("EdDSA", Some(kid)), &claims, &bytes)),
                ("the public key as a seed", sign(&header("EdDSA", Some(kid)), &claims, &seed)),
                ("a key of one's own", sign(&header("EdDSA", Some(kid)), &claims, &[9; 32])),
                ("none", format!("{}.", message(&header("none", Some(kid)), &claims))),
            ] {
                assert_eq!(use_token(&api, &token).await.refused(401).status, 401, "{what}");
                assert_eq!(recommended(&recommender, &token).await, 401, "{what}");
                let paths = api.call(Method::POST, "/v1/source-paths", Some(&token));
                let answer = Answer::to(paths.json(&json!({"paths": []}))).await.refused(401);
                assert_eq!(answer.status, 401, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn recommendation_api_refuses_a_private_key_in_its_settings() {
    let variables = [("COMMONPLACE__TOKENS__SIGNING_KEYS".into(), session_keys().signing.into())];
    let loader = runtime::settings::Loader::new(recommendation_api::DEFAULTS).environment(variables);
    let refused = loader.load::<recommendation_api::Settings>().unwrap_err().to_string();
    assert!(refused.contains("tokens.signing_keys"), "{refused}");
}

#[tokio::test]
async fn key_decides_whether_its_tokens_may_import() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, _) = api.account("ada").await;
    let find = async |token: &str| {
        let paths = api.call(Method::POST, "/v1/source-paths", Some(token)).json(&json!({"paths": []}));
        Answer::to(paths).await.status
    };
    let with_scope = |(id, seed): (&str, &[u8; 32]), scope: &str| {
        let mut claims = claims(ada);
        claims["scope"] = json!(scope);
        claims["exp"] = json!(jiff::Timestamp::now().as_second() + 60);
        sign(&header("EdDSA", Some(id)), &claims, seed)
    };
    assert_eq!(find(&with_scope(IMPORTS, "import")).await, 200);
    assert_eq!(find(&with_scope(SESSIONS, "")).await, 403, "an ordinary token does not import");
    assert_eq!(find(&with_scope(SESSIONS, "import")).await, 401, "nor can its key allow it");
    assert_eq!(find(&with_scope(IMPORTS, "")).await, 401);
    use_token(&api, &with_scope(SESSIONS, "")).await.is(200);
    use_token(&api, &with_scope(IMPORTS, "")).await.refused(401);
    // A token with a longer lifetime than tokens for imports may have.
    let mut long = claims(ada);
    long["scope"] = json!("import");
    assert_eq!(find(&sign(&header("EdDSA", Some(IMPORTS.0)), &long, IMPORTS.1)).await, 401);
}

#[tokio::test]
async fn token_for_imports_is_refused_for_everything_but_imports() {
    let world = World::new().await;
    let (api, recommender) = (world.api().await, world.recommender_with(|loader| loader).await);
    let (ada, session) = api.account("ada").await;
    let blog = api.blog(&session, "Guarded").await;
    let importer = issue_import(ada);
    for (method, path, body) in [
        (Method::GET, "/v1/blogs".to_owned(), json!(null)),
        (Method::GET, format!("/v1/blogs/{blog}"), json!(null)),
        (Method::GET, format!("/v1/blogs/{blog}/stats"), json!(null)),
        (Method::GET, "/v1/notifications".to_owned(), json!(null)),
        (Method::POST, "/v1/notifications/read".to_owned(), json!({"all": true})),
        (Method::PATCH, format!("/v1/blogs/{blog}"), json!({"title": "Mine"})),
        (Method::DELETE, format!("/v1/blogs/{blog}"), json!(null)),
        (Method::POST, format!("/v1/blogs/{blog}/unpublish"), json!(null)),
        (Method::POST, format!("/v1/blogs/{blog}/views"), json!({})),
        (Method::POST, format!("/v1/blogs/{blog}/shares"), json!({"channel": "link"})),
        (Method::PUT, format!("/v1/blogs/{blog}/like"), json!(null)),
        (Method::PUT, format!("/v1/accounts/{}/follow", ada + 1), json!(null)),
        (
            Method::PUT,
            "/v1/accounts/me/password".to_owned(),
            json!({"password": super::PASSWORD, "new_password": "another battery staple"}),
        ),
        (Method::DELETE, "/v1/accounts/me".to_owned(), json!(null)),
        (Method::DELETE, "/v1/sessions".to_owned(), json!(null)),
        // This path accepts imports, but this blog is not one.
        (Method::POST, "/v1/blogs".to_owned(), json!({"title": "Of today", "body": ""})),
    ] {
        let request = api.call(method.clone(), &path, Some(&importer));
        let request = if body.is_null() { request } else { request.json(&body) };
        assert_eq!(Answer::to(request).await.refused(403).status, 403, "{method} {path}");
    }
    assert_eq!(recommended(&recommender, &importer).await, 401, "it does not even know the key");
    let events = json!([{"type": "blog.liked", "blog_id": blog}]);
    let batch = api.call(Method::POST, "/v1/engagement", Some(&importer)).header("X-Write-Path", "direct");
    let answer = Answer::to(batch.json(&events)).await.is(200);
    assert_eq!(answer.body["accepted"], 0, "{answer:?}");
    assert!(answer.body["rejected"][0]["reason"].as_str().unwrap().contains("scope import"), "{answer:?}");
    // It cannot sign in to the pages, either.
    let page = api.request(Method::GET, "/inbox").header("Cookie", format!("session={importer}"));
    assert_ne!(Answer::to(page).await.status, 200);
    assert_eq!(api.totals(blog).await, [0, 0, 0]);
    use_token(&api, &session).await.is(200);
}

#[tokio::test]
async fn cached_token_is_refused_after_revocation() {
    let world = World::new().await;
    // The cache of accounts expires quickly, so that only the token stays cached.
    let api = world.api_with(|loader| loader.set("tokens.epoch_age_max_s", 1)).await;
    let other = world.api().await;
    for (handle, leaves) in [("ada", false), ("grace", true)] {
        let (_, token) = api.account(handle).await;
        for _ in 0..3 {
            use_token(&api, &token).await.is(200);
        }
        let taken_back =
            if leaves { other.leave(&token).await } else { other.delete("/v1/sessions", Some(&token)).await };
        taken_back.is(204);
        let is_refused = wait_until(async || use_token(&api, &token).await.status == 401).await;
        assert!(is_refused, "leaves: {leaves}");
    }
}

async fn recommended(service: &Running, token: &str) -> u16 {
    let answer = service.send(Method::GET, "/v1/recommendations", Some(token), Value::Null).await;
    answer.0.as_u16()
}
