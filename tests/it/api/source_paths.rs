//! The previous paths of imported blogs, each used once.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Running, World};

use super::{Answer, tokens};

fn blog_of(path: &str) -> Value {
    json!({"title": "From elsewhere", "body": "", "publish": true, "source_path": path})
}

async fn create(api: &Running, token: &str, path: &str) -> Answer {
    Answer::to(api.call(Method::POST, "/v1/blogs", Some(token)).json(&blog_of(path))).await
}

async fn find(api: &Running, token: &str, paths: &[&str]) -> Answer {
    Answer::to(api.call(Method::POST, "/v1/source-paths", Some(token)).json(&json!({"paths": paths}))).await
}

#[tokio::test]
async fn source_path_has_one_blog_and_is_visible_to_importers_only() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, session) = api.account("ada").await;
    let importer = tokens::issue_import(ada);
    create(&api, &session, "example.org/one").await.refused(403);
    find(&api, &session, &["example.org/one"]).await.refused(403);

    let one = create(&api, &importer, "example.org/one").await.is(201).id();
    let two = create(&api, &importer, "example.org/two").await.is(201).id();
    create(&api, &importer, "example.org/one").await.names(409, &["source_path"]);
    let (grace, _) = api.account("grace").await;
    create(&api, &tokens::issue_import(grace), "example.org/one").await.names(409, &["source_path"]);

    let asked = ["example.org/two", "example.org/three", "example.org/one"];
    let found = find(&api, &importer, &asked).await.is(200);
    let expected = json!([
        {"source_path": "example.org/one", "blog_id": one},
        {"source_path": "example.org/two", "blog_id": two},
    ]);
    assert_eq!(found.body["items"], expected);
    // A hidden blog cannot receive imported views.
    api.post(&format!("/v1/blogs/{two}/unpublish"), Some(&session)).await.is(200);
    let found = find(&api, &importer, &asked).await.is(200);
    assert_eq!(found.body["items"], json!([{"source_path": "example.org/one", "blog_id": one}]));
}

#[tokio::test]
async fn invalid_source_path_is_named() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, _) = api.account("ada").await;
    let importer = tokens::issue_import(ada);
    let long = "x".repeat(1025);
    for path in ["", "a\0b", &long] {
        create(&api, &importer, path).await.names(422, &["source_path"]);
        find(&api, &importer, &["fine", path]).await.names(422, &["paths[1]"]);
    }
    find(&api, &importer, &vec!["fine"; 1001]).await.names(422, &["paths"]);
    assert_eq!(find(&api, &importer, &[]).await.is(200).body["items"], json!([]));
}
