//! Signing up and signing in.

use reqwest::Method;
use serde_json::{Value, json};
use test_servers::postgres_log;
use tests::{World, wait_until};
use tokio::task::JoinSet;

use super::{Answer, PASSWORD};

fn new_account(handle: &str, email: &str, password: &str) -> Value {
    json!({"handle": handle, "email": email, "password": password})
}

#[tokio::test]
async fn signing_up_names_every_field_that_is_wrong() {
    let world = World::new().await;
    let api = world.api().await;
    let long_email = format!("{}@example.org", "a".repeat(243));
    assert_eq!(long_email.len(), 255);
    let mut refused: Vec<(Value, Vec<&str>)> = vec![
        (new_account("A", "nowhere", "short"), vec!["handle", "email", "password"]),
        (json!({"handle": 7, "email": "a@b.c", "password": PASSWORD}), vec!["handle"]),
        (json!({"handle": "ada", "email": null, "password": PASSWORD}), vec!["email"]),
        (json!({"handle": "ada", "email": "a@b.c", "password": [PASSWORD]}), vec!["password"]),
        (json!({"handle": "ada", "email": "a@b.c", "password": PASSWORD, "admin": true}), vec!["admin"]),
    ];
    let too_long = "a".repeat(31);
    for handle in
        ["", "a", "-ada", "ada-", "a--b", "Ada", "ada lovelace", "a_b", "1815", "é1", "a\0b", &too_long]
    {
        refused.push((new_account(handle, "a@b.c", PASSWORD), vec!["handle"]));
    }
    for email in ["", "ada", "@b.c", "a@", "a@b", "a b@c.d", "a@b@c.d", "a\0@b.c", "a@b.c\r\n", &long_email] {
        refused.push((new_account("ada", email, PASSWORD), vec!["email"]));
    }
    for password in ["", "q7#xk2!vm", &"éàüöñ".repeat(13)] {
        refused.push((new_account("ada", "a@b.c", password), vec!["password"]));
    }
    for (body, fields) in refused {
        api.post_json("/v1/accounts", None, body).await.names(422, &fields);
    }
    for missing in ["handle", "email", "password"] {
        let mut body = new_account("ada", "a@b.c", PASSWORD);
        body.as_object_mut().unwrap().remove(missing);
        let answer = api.post_json("/v1/accounts", None, body).await.refused(422);
        assert!(answer.detail().contains(missing), "{answer:?}");
    }
    assert_eq!(world.value::<i64>("select count(*) from blogs.account", &[]).await, 0);
}

#[tokio::test]
async fn values_at_the_limits_are_allowed() {
    let world = World::new().await;
    let api = world.api().await;
    let long_handle = vec!["a"; 30].join("-");
    let long_email = format!("{}@example.org", "e".repeat(242));
    let long_password = "éàüöñ".repeat(12) + "ß#ß";
    assert_eq!(long_password.len(), 125);
    let long_password = long_password + "end";
    for (handle, email, password) in [
        ("a1", "a@b.c", "q7#xk2!vmd"),
        (long_handle.as_str(), "ada.lovelace+notes@example.org", PASSWORD),
        ("ada-1815", long_email.as_str(), PASSWORD),
        ("grace", "gräce@exämple.org", long_password.as_str()),
    ] {
        let account = api.post_json("/v1/accounts", None, new_account(handle, email, password)).await.is(201);
        assert_eq!(account.body, json!({"id": account.id(), "handle": handle}), "nothing else is shown");
        let session = api.sign_in(handle, password).await.is(201);
        assert!(session.body["token"].is_string(), "{session:?}");
    }
    let kept = "select count(*) from blogs.account where password_hash not like '$argon2id$%'";
    assert_eq!(world.value::<i64>(kept, &[]).await, 0, "every password is kept as an Argon2id hash");
}

#[tokio::test]
async fn passwords_that_guessers_try_first_are_refused() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("grace").await;
    let spaces = " ".repeat(10);
    for password in [
        spaces.as_str(),
        "aaaaaaaaaa",
        "ababababab",
        "1234567890",
        "Password123",
        "P@ssw0rd2026!",
        " qwertyuiop ",
        "abcdefghijkl",
        "1qaz2wsx3edc",
        "ada-lovelace",
        "Ada-Lovelace1",
        "AdaLovelace99",
        "ada.l1815@example.org",
        "ada.l1815!",
    ] {
        let new = new_account("ada-lovelace", "ada.l1815@example.org", password);
        let answer = api.post_json("/v1/accounts", None, new).await;
        assert_eq!(answer.status, 422, "{password:?}: {answer:?}");
        answer.names(422, &["password"]);
    }
    // A client that does not know the current password learns nothing about the new one from the answer.
    let guess = json!({"password": "not the current password", "new_password": "grace@example.org"});
    let request = api.call(Method::PUT, "/v1/accounts/me/password", Some(&token));
    Answer::to(request.json(&guess)).await.refused(403);
    for password in [spaces.as_str(), "1234567890", "grace12345", "grace@example.org"] {
        let change = json!({"password": PASSWORD, "new_password": password});
        let request = api.call(Method::PUT, "/v1/accounts/me/password", Some(&token));
        Answer::to(request.json(&change)).await.names(422, &["new_password"]);
    }
    api.sign_in("grace", PASSWORD).await.is(201);
}

#[tokio::test]
async fn handles_that_look_official_are_reserved() {
    let world = World::new().await;
    let api = world.api().await;
    for handle in
        ["admin", "administrator", "operator", "support", "root", "security", "moderator", "ad-min", "adm1n"]
    {
        let answer =
            api.post_json("/v1/accounts", None, new_account(handle, "eve@example.org", PASSWORD)).await;
        assert_eq!(answer.status, 422, "{handle}: {answer:?}");
        answer.names(422, &["handle"]);
    }
    let form = api.request(Method::POST, "/sign-up").header("sec-fetch-site", "same-origin");
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    let form = form.body("handle=support&email=eve%40example.org&password=correct+horse+battery");
    assert_eq!(form.send().await.unwrap().status(), 422);
    assert_eq!(world.value::<i64>("select count(*) from blogs.account", &[]).await, 0);
}

#[tokio::test]
async fn titles_hold_no_characters_that_reorder_or_hide_text() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("eve").await;
    let new = json!({"title": "Pay Ada", "body": ""});
    let id = api.post_json("/v1/blogs", Some(&token), new).await.is(201).id();
    for character in
        "\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}\u{200b}\u{2060}\u{feff}\u{2028}\u{7f}"
            .chars()
    {
        let title = json!({"title": format!("Pay {character}Ada")});
        let mut new = title.clone();
        new["body"] = json!("");
        let made = api.post_json("/v1/blogs", Some(&token), new).await;
        let changed = api.call(Method::PATCH, &format!("/v1/blogs/{id}"), Some(&token)).json(&title);
        for answer in [made, Answer::to(changed).await] {
            assert_eq!(answer.status, 422, "{character:?}: {answer:?}");
            answer.names(422, &["title"]);
        }
    }
    // Persian text needs the zero-width non-joiner, and some emoji need the zero-width joiner.
    for title in
        ["\u{646}\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}", "\u{1f469}\u{200d}\u{1f52c}"]
    {
        api.post_json("/v1/blogs", Some(&token), json!({"title": title, "body": ""})).await.is(201);
    }
}

#[tokio::test]
async fn conflict_names_the_field_that_is_taken() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let sign_up = async |handle: &str, email: &str| {
        api.post_json("/v1/accounts", None, new_account(handle, email, PASSWORD)).await
    };
    sign_up("ada", "other@example.org").await.names(409, &["handle"]);
    sign_up("other", "ada@example.org").await.names(409, &["email"]);
    sign_up("other", "ADA@Example.org").await.names(409, &["email"]);
    // A deleted account can be restored, so its handle and its e-mail address stay taken.
    api.leave(&token).await.is(204);
    sign_up("ada", "other@example.org").await.names(409, &["handle"]);
    sign_up("other", "ada@example.org").await.names(409, &["email"]);
}

#[tokio::test]
async fn a_refused_sign_up_leaves_no_address_in_the_servers_log() {
    let world = World::new().await;
    let api = world.api().await;
    let (handle, email) = ("logged-owner", "logged-secret-address@example.org");
    for (handle, status) in [(handle, 201), ("logged-other", 409), (handle, 409)] {
        let answer = api.post_json("/v1/accounts", None, new_account(handle, email, PASSWORD)).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    // Once Postgres has written this line, it has written everything before it.
    let mark = format!("mark of {}", world.name());
    world.run(&format!("do $$ begin raise log '{mark}'; end $$")).await;
    assert!(wait_until(async || postgres_log().contains(&mark)).await, "the mark is logged");
    let text = postgres_log();
    let leaked: Vec<&str> =
        text.lines().filter(|line| line.contains(email) || line.contains(handle)).collect();
    assert_eq!(leaked, [""; 0], "the server's log names the account");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_sign_ups_with_one_handle_make_one_account() {
    let world = World::new().await;
    let api = world.api().await;
    let mut requests = JoinSet::new();
    for n in 0..12 {
        let body = new_account("ada", &format!("ada{n}@example.org"), PASSWORD);
        requests.spawn(Answer::to(api.request(Method::POST, "/v1/accounts").json(&body)));
    }
    let answers = requests.join_all().await;
    let (made, refused): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 1, "{made:?}");
    for answer in refused {
        answer.names(409, &["handle"]);
    }
    assert_eq!(world.value::<i64>("select count(*) from blogs.account", &[]).await, 1);
}

#[tokio::test]
async fn failed_sign_in_does_not_reveal_accounts() {
    let world = World::new().await;
    let api = world.api().await;
    api.account("ada").await;
    let (_, grace) = api.account("grace").await;
    api.leave(&grace).await.is(204);
    world.age_deletions(14).await;
    let wrong_password = api.sign_in("ada", "wrong horse battery").await.refused(401);
    for (handle, password) in [
        ("stranger", PASSWORD),
        ("No Handle At All", PASSWORD),
        ("a\0b", PASSWORD),
        ("grace", PASSWORD),
        ("ada", ""),
        ("ada", &PASSWORD.to_uppercase()),
    ] {
        let answer = api.sign_in(handle, password).await.refused(401);
        assert_eq!(answer.body, wrong_password.body, "{handle:?}");
        let of_each = ["date", "x-request-id"];
        let names = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            for name in of_each {
                headers.remove(name);
            }
            headers
        };
        assert_eq!(names(&answer), names(&wrong_password), "{handle:?}");
    }
    api.sign_in("ada", PASSWORD).await.is(201);
}
