use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;

const ISSUER: &str = "commonplace";
const LIFETIME_S: u32 = 3600;
const IMPORT_LIFETIME_S: u32 = 600;

/// A key of this id; its seed is this byte 32 times.
fn pair(id: &str, seed: u8) -> KeyPair {
    KeyPair::from_seed(id, &[seed; 32])
}

fn settings(verifying: &[KeyPair]) -> TokenSettings {
    let keys: Vec<&str> = verifying.iter().map(|pair| pair.verifying.as_str()).collect();
    TokenSettings {
        verifying_keys: VerifyingKeys::new(keys.join(",")),
        issuer: ISSUER.to_owned(),
        import_lifetime_s: IMPORT_LIFETIME_S,
        epoch_age_max_s: 45,
        epochs_max: 100,
        epoch_wait_max_ms: 50,
        verified_max: 100,
    }
}

/// A service that verifies sessions of these keys.
fn verifier(verifying: &[KeyPair]) -> Tokens {
    let settings = settings(verifying);
    Tokens::new(&settings, Epochs::without_database(&settings)).unwrap()
}

/// The Blogs API with these keys, and with those of imports.
fn blogs_api(signing: &[KeyPair], import: &[KeyPair]) -> std::result::Result<Tokens, String> {
    let signing: Vec<&str> = signing.iter().map(|pair| pair.signing.as_str()).collect();
    let import: Vec<&str> = import.iter().map(|pair| pair.verifying.as_str()).collect();
    let settings = settings(&[]);
    let (signing, import) = (SigningKeys::new(signing.join(",")), VerifyingKeys::new(import.join(",")));
    Tokens::of_issuer(&settings, &signing, &import, Epochs::without_database(&settings))
}

fn issuer(purpose: Purpose, signing: &[KeyPair]) -> Issuer {
    let keys: Vec<&str> = signing.iter().map(|pair| pair.signing.as_str()).collect();
    let lifetime_s = if purpose == Purpose::Import { IMPORT_LIFETIME_S } else { LIFETIME_S };
    Issuer::new(purpose, &SigningKeys::new(keys.join(",")), ISSUER, lifetime_s).unwrap()
}

fn session(account_id: i64, epoch: i32) -> String {
    issuer(Purpose::Session, &[pair("new", 1)]).issue(account_id, epoch).unwrap().token
}

fn message(header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

/// A token of these claims by this private key, whatever its header says.
fn forged(header: &Value, claims: &Value, seed: u8) -> String {
    let message = message(header, claims);
    let signature = SigningKey::from_bytes(&[seed; 32]).sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// HMAC-SHA-256, whose key is at most 64 bytes.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

fn claims(scope: &str) -> Value {
    let now = Timestamp::now().as_second();
    json!({"iss": ISSUER, "sub": "7", "epoch": 0, "scope": scope, "iat": now, "exp": now + 60})
}

fn header(algorithm: &str, kid: &str) -> Value {
    json!({"typ": "JWT", "alg": algorithm, "kid": kid})
}

async fn status(tokens: &Tokens, token: &str) -> u16 {
    tokens.verify(token).await.map_or_else(|problem| problem.status().as_u16(), |_| 200)
}

/// An account of this epoch that is a minute old.
fn known(epoch: i32) -> Known {
    Known::Account { epoch, created_at: Timestamp::now() - SignedDuration::from_secs(60) }
}

#[tokio::test]
async fn token_says_account_and_purpose() {
    let tokens = blogs_api(&[pair("new", 1)], &[pair("import", 3)]).unwrap();
    let signed = tokens.verify(&session(7, 0)).await.unwrap();
    assert_eq!(signed, Signed { account_id: 7, purpose: Purpose::Session });
    let import = issuer(Purpose::Import, &[pair("import", 3)]).issue(8, 0).unwrap();
    let signed = tokens.verify(&import.token).await.unwrap();
    assert_eq!(signed, Signed { account_id: 8, purpose: Purpose::Import });
    assert!(signed.may_import());
}

#[tokio::test]
async fn keys_rotate() {
    let (old, new) = (|| pair("old", 2), || pair("new", 1));
    let of_old = issuer(Purpose::Session, &[old()]).issue(7, 0).unwrap().token;
    let of_new = issuer(Purpose::Session, &[new(), old()]).issue(7, 0).unwrap().token;
    for (keys, old_counts, new_counts) in
        [(&[old()][..], 200, 401), (&[new(), old()], 200, 200), (&[new()], 401, 200)]
    {
        for tokens in [verifier(keys), blogs_api(keys, &[]).unwrap()] {
            assert_eq!(status(&tokens, &of_old).await, old_counts);
            assert_eq!(status(&tokens, &of_new).await, new_counts);
        }
    }
}

#[tokio::test]
async fn service_that_verifies_cannot_make_a_token() {
    // Everything that the Recommendation API has: the public keys, their ids, and tokens that it was sent.
    let victims = [verifier(&[pair("new", 1)]), blogs_api(&[pair("new", 1)], &[pair("import", 3)]).unwrap()];
    for (scope, kid, public) in [("", "new", pair("new", 1)), ("import", "import", pair("import", 3))] {
        let public = public.verifying.split_once(':').unwrap().1.to_owned();
        let bytes = base64::engine::general_purpose::STANDARD.decode(&public).unwrap();
        let unsigned = |algorithm: &str, claims: &Value| message(&header(algorithm, kid), claims);
        let by_hmac = |algorithm: &str, secret: &[u8]| {
            let message = unsigned(algorithm, &claims(scope));
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac(secret, message.as_bytes())))
        };
        let good = forged(&header("EdDSA", kid), &claims(scope), if scope.is_empty() { 1 } else { 3 });
        assert_eq!(status(&victims[1], &good).await, 200, "the forger's own tools work");
        let (_, signature) = good.rsplit_once('.').unwrap();
        let signed_as = |algorithm: &str, account: &str, signature: &str| {
            let mut claims = claims(scope);
            claims["sub"] = json!(account);
            format!("{}.{signature}", unsigned(algorithm, &claims))
        };
        for (what, token) in [
            ("the public key as an HMAC secret", by_hmac("HS256", &bytes)),
            ("its text as an HMAC secret", by_hmac("HS256", public.as_bytes())),
            ("HMAC that says EdDSA", by_hmac("EdDSA", &bytes)),
            ("a key of its own under a known id", forged(&header("EdDSA", kid), &claims(scope), 9)),
            ("a key of its own that is not listed", forged(&header("EdDSA", "else"), &claims(scope), 9)),
            ("no key's id", forged(&json!({"alg": "EdDSA"}), &claims(scope), 9)),
            ("another algorithm over a good signature", signed_as("HS256", "7", signature)),
            ("no algorithm", signed_as("none", "7", "")),
            ("no algorithm in capitals", signed_as("NONE", "7", signature)),
            ("the signature of another token", signed_as("EdDSA", "8", signature)),
            ("a signature of zeros", signed_as("EdDSA", "7", &URL_SAFE_NO_PAD.encode([0; 64]))),
        ] {
            for victim in &victims {
                assert_eq!(status(victim, &token).await, 401, "{what}: {token}");
            }
        }
    }
}

#[tokio::test]
async fn key_determines_the_purpose_of_its_tokens() {
    let tokens = blogs_api(&[pair("new", 1)], &[pair("import", 3)]).unwrap();
    assert_eq!(status(&tokens, &forged(&header("EdDSA", "new"), &claims(""), 1)).await, 200);
    assert_eq!(status(&tokens, &forged(&header("EdDSA", "import"), &claims("import"), 3)).await, 200);
    for (kid, seed, scope) in
        [("new", 1, "import"), ("import", 3, ""), ("import", 3, "import write"), ("new", 1, "imports")]
    {
        let token = forged(&header("EdDSA", kid), &claims(scope), seed);
        assert_eq!(status(&tokens, &token).await, 401, "{kid} signs {scope:?}");
    }
    // A service without imports takes none of their tokens.
    let token = forged(&header("EdDSA", "import"), &claims("import"), 3);
    assert_eq!(status(&verifier(&[pair("new", 1)]), &token).await, 401);
}

#[test]
fn key_has_one_id_and_one_purpose() {
    for (signing, import, said) in [
        (&[][..], &[][..], "tokens.signing_keys must contain 1 to 16 keys"),
        (&[pair("a", 1)], &[pair("a", 3)], "tokens.import_verifying_keys contains the id \"a\""),
        (
            &[pair("a", 1)],
            &[pair("b", 1)],
            "key \"b\" of tokens.import_verifying_keys is also listed under another id",
        ),
        (
            &[pair("a", 1), pair("b", 1)],
            &[],
            "key \"b\" of tokens.signing_keys is also listed under another id",
        ),
    ] {
        let error = blogs_api(signing, import).err().unwrap();
        assert!(error.starts_with(said), "{error}");
    }
    let empty = settings(&[]);
    let error = Tokens::new(&empty, Epochs::without_database(&empty)).err().unwrap();
    assert!(error.starts_with("tokens.verifying_keys must contain 1 to 16 keys"), "{error}");
    // The Blogs API may list the public halves of its own keys.
    let both = settings(&[pair("a", 1), pair("next", 2)]);
    let (signing, none) = (SigningKeys::new(pair("a", 1).signing), VerifyingKeys::default());
    Tokens::of_issuer(&both, &signing, &none, Epochs::without_database(&both)).unwrap();
}

#[tokio::test]
async fn token_for_imports_cannot_live_longer_than_set() {
    let tokens = blogs_api(&[pair("new", 1)], &[pair("import", 3)]).unwrap();
    for (lifetime_s, expected) in
        [(i64::from(IMPORT_LIFETIME_S), 200), (i64::from(IMPORT_LIFETIME_S) + 60, 401)]
    {
        let mut claims = claims("import");
        claims["exp"] = json!(Timestamp::now().as_second() + lifetime_s);
        assert_eq!(status(&tokens, &forged(&header("EdDSA", "import"), &claims, 3)).await, expected);
    }
}

#[tokio::test]
async fn an_older_epoch_is_refused_and_without_a_database_a_newer_one_is_not() {
    let tokens = verifier(&[pair("new", 1)]);
    tokens.epochs().raised(7, known(3)).await;
    assert_eq!(status(&tokens, &session(7, 2)).await, 401);
    assert_eq!(status(&tokens, &session(7, 3)).await, 200);
    assert_eq!(status(&tokens, &session(7, 4)).await, 200);
    tokens.epochs().raised(7, Known::Gone).await;
    assert_eq!(status(&tokens, &session(7, 4)).await, 401);
}

#[tokio::test]
async fn cached_token_is_refused_once_it_is_revoked() {
    let tokens = verifier(&[pair("new", 1)]);
    let token = session(7, 3);
    tokens.epochs().raised(7, known(3)).await;
    assert_eq!(status(&tokens, &token).await, 200);
    assert_eq!(tokens.verified.len(), 1);
    for taken_back in [
        known(4),
        Known::Gone,
        Known::Account { epoch: 3, created_at: Timestamp::now() + SignedDuration::from_secs(60) },
    ] {
        tokens.epochs().raised(7, taken_back).await;
        assert_eq!(status(&tokens, &token).await, 401, "{taken_back:?}");
    }
    tokens.epochs().raised(7, known(3)).await;
    assert_eq!(status(&tokens, &token).await, 200);
}

#[tokio::test]
async fn cached_token_is_refused_once_it_expires() {
    let tokens = verifier(&[pair("new", 1)]);
    let token = session(7, 0);
    let exp = Timestamp::now().as_second() - 1;
    // The contents, as cached before the token expired.
    let remembered = Verified { account_id: 7, purpose: Purpose::Session, epoch: 0, iat: exp - 60, exp };
    let verified = tokens.verified.get_or_verify(&token, || Ok(remembered)).unwrap();
    assert_eq!(verified, remembered);
    // Moka may have dropped the expired entry; then the closure returns the error.
    let again = tokens.verified.get_or_verify(&token, || Err(expired()));
    assert!(again.unwrap_err().detail().contains("expired"));
    let second = |second: i64| Timestamp::from_second(second).unwrap();
    assert!(!remembered.has_expired(second(exp)) && remembered.has_expired(second(exp + 1)));
}

#[tokio::test]
async fn token_is_cached_until_it_expires_and_then_dropped() {
    let verified = VerifiedTokens::new(10);
    let exp = Timestamp::now().as_second();
    let token = Verified { account_id: 7, purpose: Purpose::Session, epoch: 0, iat: exp, exp };
    verified.get_or_verify("token", || Ok(token)).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while verified.len() > 0 {
        assert!(std::time::Instant::now() < deadline, "an expired token is still remembered");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn only_valid_tokens_are_cached_and_no_more_than_the_limit() {
    let mut settings = settings(&[pair("new", 1)]);
    settings.verified_max = 10;
    let tokens = Tokens::new(&settings, Epochs::without_database(&settings)).unwrap();
    for bad in 0..20 {
        assert_eq!(status(&tokens, &forged(&header("EdDSA", "new"), &claims(""), 2 + bad)).await, 401);
    }
    assert_eq!(tokens.verified.len(), 0);
    for account in 0..50 {
        assert_eq!(status(&tokens, &session(account, 0)).await, 200);
    }
    assert!((1..=10).contains(&tokens.verified.len()), "{}", tokens.verified.len());
}

#[tokio::test]
async fn a_token_older_than_its_account_is_refused_beyond_the_skew_of_clocks() {
    let tokens = verifier(&[pair("new", 1)]);
    let issuer = issuer(Purpose::Session, &[pair("new", 1)]);
    // The account is created late in a second, because only whole seconds are compared.
    let second = Timestamp::now().as_second() - 60;
    let created_at = Timestamp::new(second, 999_000_000).unwrap();
    tokens.epochs().raised(7, Known::Account { epoch: 0, created_at }).await;
    for (early_s, counts) in [(-1, 200), (0, 200), (4, 200), (5, 200), (6, 401), (3000, 401)] {
        let at = Timestamp::from_second(second - early_s).unwrap();
        let token = issuer.issue_at(at, 7, 0).unwrap().token;
        assert_eq!(status(&tokens, &token).await, counts, "{early_s} s before the account");
    }
}

#[tokio::test]
async fn the_error_says_that_the_token_has_expired() {
    let tokens = verifier(&[pair("new", 1)]);
    let past = Timestamp::now() - SignedDuration::from_secs(3602);
    let token = issuer(Purpose::Session, &[pair("new", 1)]).issue_at(past, 7, 0).unwrap().token;
    assert!(tokens.verify(&token).await.unwrap_err().detail().contains("expired"));
}

#[tokio::test]
async fn tokens_of_other_issuers_are_refused() {
    let tokens = verifier(&[pair("new", 1)]);
    let good = session(7, 0);
    assert_eq!(status(&tokens, &good).await, 200);
    let with = |field: &str, value: Value| {
        let mut claims = claims("");
        claims[field] = value;
        forged(&header("EdDSA", "new"), &claims, 1)
    };
    let (head, rest) = good.split_once('.').unwrap();
    for bad in [
        with("iss", json!("else")),
        with("nbf", json!(4_000_000_000_u32)),
        with("sub", json!("ada")),
        with("epoch", json!("0")),
        format!("{head}.{}", rest.replace('.', "A.")),
        good[..good.len() - 4].to_owned(),
        String::new(),
        "a.b.c".to_owned(),
        "\u{0}.é.\u{7f}".to_owned(),
    ] {
        assert_eq!(status(&tokens, &bad).await, 401, "{bad}");
    }
}

/// What verifying costs, to be run by hand: `cargo test --release -p web --lib -- --ignored --nocapture costs`.
#[tokio::test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "what it measures is what it is for")]
async fn verifying_costs() {
    const ROUNDS: u32 = 20_000;
    let tokens = verifier(&[pair("new", 1)]);
    let token = session(7, 0);
    tokens.epochs().raised(7, known(0)).await;
    let began = std::time::Instant::now();
    for _ in 0..ROUNDS {
        tokens.read(&token).unwrap();
    }
    println!("signature verified: {:?}", began.elapsed() / ROUNDS);
    let began = std::time::Instant::now();
    for _ in 0..ROUNDS {
        tokens.verify(&token).await.unwrap();
    }
    println!("remembered, with the epoch: {:?}", began.elapsed() / ROUNDS);
}
