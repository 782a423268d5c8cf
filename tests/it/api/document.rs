//! `/openapi.json` and `/docs`: they describe exactly the existing API.

use std::collections::BTreeSet;

use reqwest::{Method, Url};
use serde_json::{Value, json};
use tests::{Running, World};

use super::schema::{differences, resolve};
use super::{Answer, tokens};

/// Every route of the API.
const ROUTES: [&str; 31] = [
    "POST /v1/accounts",
    "DELETE /v1/accounts/me",
    "PUT /v1/accounts/me/password",
    "PUT /v1/accounts/me/export-request",
    "POST /v1/sessions",
    "DELETE /v1/sessions",
    "POST /v1/blogs",
    "GET /v1/blogs",
    "GET /v1/blogs/{id}",
    "PATCH /v1/blogs/{id}",
    "DELETE /v1/blogs/{id}",
    "GET /v1/blogs/by-slug/{slug}",
    "POST /v1/source-paths",
    "POST /v1/blogs/{id}/publish",
    "POST /v1/blogs/{id}/unpublish",
    "POST /v1/blogs/{id}/views",
    "PUT /v1/blogs/{id}/like",
    "DELETE /v1/blogs/{id}/like",
    "POST /v1/blogs/{id}/shares",
    "POST /v1/engagement",
    "GET /v1/blogs/{id}/stats",
    "PUT /v1/accounts/{id}/follow",
    "DELETE /v1/accounts/{id}/follow",
    "GET /v1/accounts/{id}/followers",
    "GET /v1/accounts/{id}/following",
    "GET /v1/notifications",
    "POST /v1/notifications/read",
    "GET /v1/blogs/{id}/fan-out",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
];

/// An operation of the document.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: Method,
    /// The path, with `{id}` or `{slug}`.
    pub(super) path: String,
    pub(super) definition: Value,
}

impl Operation {
    /// The schema of its JSON body, if it takes one.
    pub(super) fn body_schema<'document>(
        &'document self,
        document: &'document Value,
    ) -> Option<&'document Value> {
        let schema = self.definition.pointer("/requestBody/content/application~1json/schema")?;
        // The schema of an optional body allows null.
        let chosen = schema["oneOf"].as_array().and_then(|any| any.iter().find(|one| one["type"] != "null"));
        Some(resolve(document, chosen.unwrap_or(schema)))
    }

    /// The names of its parameters in one place, `query` or `header`.
    pub(super) fn parameters(&self, place: &str) -> Vec<String> {
        let parameters = self.definition["parameters"].as_array().into_iter().flatten();
        let in_place = parameters.filter(|parameter| parameter["in"] == place);
        in_place.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Asserts that the document describes an answer, including the fields of its body.
    #[track_caller]
    pub(super) fn allows(&self, document: &Value, answer: &Answer) {
        let Self { method, path, definition } = self;
        let declared = &definition["responses"][answer.status.to_string()];
        assert!(declared.is_object(), "{method} {path} does not declare this: {answer:?}");
        let content = declared["content"].as_object().into_iter().flatten().next();
        let Some((media_type, content)) = content else {
            assert!(
                answer.body.is_null() || path == "/healthz",
                "{method} {path} declares no body: {answer:?}"
            );
            return;
        };
        assert_eq!(answer.header("content-type"), Some(media_type.as_str()), "{method} {path}: {answer:?}");
        let differences = differences(document, &content["schema"], &answer.body);
        assert!(differences.is_empty(), "{method} {path}: {differences:#?} {answer:?}");
    }
}

/// The document, and its operations on the API proper.
pub(super) async fn document(api: &Running) -> (Value, Vec<Operation>) {
    let document = api.get("/openapi.json", None).await.is(200).body;
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, definition) in methods.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            operations.push(Operation { method, path: path.clone(), definition: definition.clone() });
        }
    }
    operations.retain(|operation| operation.path.starts_with("/v1/"));
    (document, operations)
}

#[tokio::test]
async fn openapi_document_has_every_route_and_no_other() {
    let world = World::new().await;
    let api = world.api().await;
    let answer = api.get("/openapi.json", None).await.is(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let (document, operations) = document(&api).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    let mut listed = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        listed.extend(
            methods.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())),
        );
    }
    assert_eq!(listed, ROUTES.map(str::to_owned).into());
    for operation in &operations {
        let path = operation.path.replace("{id}", "1").replace("{slug}", "x");
        let answer = Answer::to(api.request(operation.method.clone(), &path)).await;
        assert_ne!(answer.status, 405, "{operation:?}");
        assert!(!answer.detail().contains("nothing at this path"), "{operation:?}");
        let needs_token = operation.definition["security"] == json!([{"bearer": []}]);
        assert_eq!(answer.status == 401, needs_token, "{} {path}: {answer:?}", operation.method);
        let text = operation.definition["summary"].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{} {path} says what it is for", operation.method);
    }
}

/// A request for every operation, with its status of success, in an order in which all succeed.
fn requests(blog: i64) -> Vec<(&'static str, Value, u16)> {
    let paths = json!({"paths": ["example.org/one"]});
    let password = json!({"password": super::PASSWORD, "new_password": "another good password"});
    let sign_up = json!({"handle": "grace", "email": "grace@example.org", "password": super::PASSWORD});
    let events = json!([{"type": "blog.viewed", "blog_id": blog}, {"type": "blog.viewed", "blog_id": 0}]);
    vec![
        ("POST /v1/accounts", sign_up, 201),
        ("POST /v1/blogs", json!({"title": "Another", "body": "Text", "tags": ["a"]}), 201),
        ("POST /v1/source-paths", paths, 200),
        ("GET /v1/blogs?limit=1", Value::Null, 200),
        ("GET /v1/blogs/{id}", Value::Null, 200),
        ("GET /v1/blogs/by-slug/{slug}", Value::Null, 200),
        ("PATCH /v1/blogs/{id}", json!({"body": "Changed"}), 200),
        ("POST /v1/blogs/{id}/views", json!({"visitor": "reader"}), 202),
        ("PUT /v1/blogs/{id}/like", Value::Null, 202),
        ("DELETE /v1/blogs/{id}/like", Value::Null, 202),
        ("POST /v1/blogs/{id}/shares", json!({"channel": "link"}), 202),
        ("POST /v1/engagement", events, 202),
        ("GET /v1/blogs/{id}/stats", Value::Null, 200),
        ("GET /v1/blogs/{id}/fan-out", Value::Null, 200),
        ("GET /v1/notifications?limit=1", Value::Null, 200),
        ("POST /v1/notifications/read", json!({"all": true}), 204),
        ("GET /v1/accounts/{id}/followers", Value::Null, 200),
        ("GET /v1/accounts/{id}/following", Value::Null, 200),
        ("DELETE /v1/accounts/{id}/follow", Value::Null, 204),
        ("PUT /v1/accounts/{id}/follow", Value::Null, 204),
        ("POST /v1/blogs/{id}/unpublish", Value::Null, 200),
        ("POST /v1/blogs/{id}/publish", Value::Null, 200),
        ("DELETE /v1/blogs/{id}", Value::Null, 204),
        ("POST /v1/sessions", json!({"handle": "ada", "password": super::PASSWORD}), 201),
        ("PUT /v1/accounts/me/export-request", json!({"password": super::PASSWORD}), 200),
        ("PUT /v1/accounts/me/password", password, 204),
        ("DELETE /v1/sessions", Value::Null, 204),
        ("DELETE /v1/accounts/me", json!({"password": "another good password"}), 204),
    ]
}

#[tokio::test]
async fn successful_answers_match_the_openapi_document() {
    let world = World::new().await;
    let (api, notifier) = (world.api().await, world.notifier().await);
    api.ready().await;
    let (document, operations) = document(&api).await;
    let mut left: BTreeSet<String> =
        operations.iter().map(|operation| format!("{} {}", operation.method, operation.path)).collect();
    let (ada, token) = api.account("ada").await;
    let importer = tokens::issue_import(ada);
    let (grace, of_grace) = api.account("grace-the-first").await;
    let follow = format!("/v1/accounts/{grace}/follow");
    Answer::to(api.call(Method::PUT, &follow, Some(&token))).await.is(204);
    api.blog(&of_grace, "To be told of").await;
    let blog = api.blog(&token, "Documented").await;
    // Now the inbox has a notification, and there is a fan-out to show.
    world.until("select count(*) from notify.fan_out where state = 'done'", 2_i64).await;
    let mut token = token;
    for (request, body, expected) in requests(blog) {
        if request == "DELETE /v1/sessions" || request == "DELETE /v1/accounts/me" {
            let session = api.sign_in("ada", "another good password").await.is(201);
            token = session.body["token"].as_str().unwrap().to_owned();
        }
        let signed = if request == "POST /v1/source-paths" { &importer } else { &token };
        let (method, path) = request.split_once(' ').unwrap();
        let template = path.split('?').next().unwrap();
        let operation = operations
            .iter()
            .find(|operation| operation.method == method && operation.path == template)
            .unwrap_or_else(|| panic!("{request} is not in the document"));
        for write_path in ["direct", "message"] {
            let engages = expected == 202;
            if write_path == "direct" && !engages {
                continue;
            }
            let id = if path.starts_with("/v1/accounts") { grace } else { blog };
            let path = path.replace("{id}", &id.to_string()).replace("{slug}", "documented");
            let call =
                api.call(operation.method.clone(), &path, Some(signed)).header("X-Write-Path", write_path);
            let answer = Answer::to(if body.is_null() { call } else { call.json(&body) }).await;
            assert_eq!(
                answer.status,
                if write_path == "direct" { 200 } else { expected },
                "{request}: {answer:?}"
            );
            operation.allows(&document, &answer);
        }
        left.remove(&format!("{method} {template}"));
    }
    assert!(left.is_empty(), "asked of every operation but {left:?}");
    notifier.stop().await;
}

/// What an HTML page loads: the values of `src` and `href`.
fn references(html: &str) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in ["src=\"", "href=\""] {
        let values = html.split(attribute).skip(1);
        found.extend(values.map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
    found
}

#[tokio::test]
async fn docs_page_loads_nothing_from_other_hosts() {
    let world = World::new().await;
    let api = world.api().await;
    assert_eq!(api.get("/docs", None).await.is(303).header("location"), Some("/docs/"));
    let page = api.get("/docs/", None).await.is(200);
    let html = page.body.as_str().unwrap();
    // The browser enforces this policy on everything that the page's scripts load.
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    for source in policy.split([' ', ';']).filter(|word| word.contains([':', '.', '*'])) {
        assert_eq!(source, "data:", "{policy}");
    }
    // The page works under the policy, because its scripts are files of this host.
    assert!(policy.contains("script-src 'self'") && policy.contains("connect-src 'self'"), "{policy}");
    let scripts = html.split("<script").skip(1).map(|script| script.split("</script>").next().unwrap());
    for script in scripts {
        let (tag, inline) = script.split_once('>').unwrap();
        assert!(tag.contains("src=") && inline.trim().is_empty(), "{script}");
    }
    let references = references(html);
    assert!(references.len() >= 5, "{references:?}");
    let base: Url = format!("http://{}/docs/", api.address).parse().unwrap();
    for reference in &references {
        let url = base.join(reference).unwrap();
        assert_eq!(url.origin(), base.origin(), "{reference}");
        let asset = api.request(Method::GET, url.path()).send().await.unwrap();
        assert_eq!(asset.status(), 200, "{reference}");
        let bytes = asset.bytes().await.unwrap();
        assert!(!bytes.is_empty(), "{reference}");
        let text = String::from_utf8_lossy(&bytes);
        if reference.ends_with(".css") {
            let foreign = text
                .split("url(")
                .skip(1)
                .find(|rest| !rest.starts_with("data:") && !rest.starts_with("\"data:"));
            assert!(foreign.is_none() && !text.contains("@import"), "{reference}: {foreign:.80?}");
        }
        if reference.contains("initializer") {
            assert!(text.contains("/openapi.json") && !text.contains("://"), "{text}");
            assert!(
                text.contains("\"validatorUrl\": \"none\""),
                "it would ask a validator on the internet: {text}"
            );
        }
    }
}
