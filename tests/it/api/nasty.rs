//! Invalid input to every operation: the answer is never a server error, always one that the document describes, and says
//! what is wrong. The inputs are made from the document, so that a new operation is covered from its first day.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::RequestBuilder;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tests::{Running, World};

use super::document::{Operation, document};
use super::schema::properties;
use super::{Answer, PASSWORD, tokens};

/// Values for one field. They are JSON text, because JSON text can hold more than a `Value` can.
const VALUES: [&str; 38] = [
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "1e400",
    "-1e-400",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "123456789012345678901234567890",
    r#""""#,
    r#"" ""#,
    r#""\u0000""#,
    r#""a\u0000b""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud83d\ude82""#,
    r#""\u202eabc""#,
    r#""\r\n""#,
    "\"\u{1}\"",
    r#""'; drop table blogs.blog; --""#,
    r#""%00%ff""#,
    r#""../../etc/passwd""#,
    r#""<script>alert(1)</script>""#,
    r#""1970-01-01T00:00:00Z""#,
    r#""0000-01-01T00:00:00Z""#,
    r#""-009999-01-02T01:59:59Z""#,
    r#""9999-12-30T22:00:00.999999999Z""#,
    r#""2026-02-30T25:61:61+99:99""#,
    r#""blog.liked""#,
    r#""account.followed""#,
    "[]",
    "{}",
    "[null]",
    r#"["\u0000"]"#,
    r#"["a",["b"]]"#,
    r#"{"a":{"b":1}}"#,
];

/// Whole bodies.
fn bodies() -> Vec<Vec<u8>> {
    let text = [
        "",
        " ",
        "{",
        "[",
        "}",
        "null",
        "true",
        "7",
        "-0",
        "1e400",
        "NaN",
        "\"x\"",
        "{}",
        "[]",
        "[[]]",
        "[{}]",
        "[null]",
        "{}{}",
        "{\"\":1}",
        "{\"__proto__\":{}}",
        "{\"a\":1,\"a\":2}",
        "\u{feff}{}",
        "<a/>",
        "a=b",
    ];
    let mut bodies: Vec<Vec<u8>> = text.iter().map(|text| text.as_bytes().to_vec()).collect();
    bodies.push(b"\xff\xfe{\x00}\x00".to_vec());
    bodies.push(b"{\"\xff\":\"\xc3\x28\"}".to_vec());
    bodies.push(b"[".repeat(100_000));
    bodies.push(b"{\"a\":".repeat(50_000));
    bodies.push([&b"\""[..], &b"x".repeat(600_000), b"\""].concat());
    bodies.push([&b"["[..], &b"7,".repeat(2000), b"7]"].concat());
    bodies
}

/// The paths to which a token for imports is sent.
const IMPORTS: [&str; 3] = ["/v1/blogs", "/v1/engagement", "/v1/source-paths"];

/// Parameters in the path or the query, in URL encoding.
const ADDRESSES: [&str; 22] = [
    "0",
    "-1",
    "+1",
    "01",
    "1.0",
    "1e3",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "99999999999999999999999999",
    "null",
    "%00",
    "%ff",
    "%c3%28",
    "%",
    "%zz",
    "%2e%2e%2f%2e%2e",
    "%F0%9F%9A%82",
    "1%201",
    "1;drop",
    "'",
    "2026-02-30T25:61:61Z",
];

const HEADERS: [&str; 10] = [
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "x-write-path",
    "x-forwarded-for",
    "traceparent",
    "user-agent",
    "origin",
];

const HEADER_VALUES: [&[u8]; 8] = [
    b"",
    b"*",
    b"\"",
    b",,,;;;",
    b"\xff\xfe\x80",
    b"Bearer a.b.c",
    b"W/\"v99999999999999999999\"",
    b"00-00000000000000000000000000000000-0000000000000000-00",
];

/// An account with a blog. Each operation has a target of its own, because some operations delete accounts and blogs.
struct Target {
    session: String,
    importer: String,
    blog: i64,
    slug: String,
}

impl Target {
    async fn new(api: &Running) -> Self {
        let handle = fresh_handle();
        let (id, session) = api.account(&handle).await;
        let blog = api.blog(&session, &format!("Of {handle}")).await;
        Self { session, importer: tokens::issue_import(id), blog, slug: format!("of-{handle}") }
    }

    /// A value that a field takes, as JSON text.
    fn good(&self, field: &str) -> String {
        match field {
            "handle" => json!(fresh_handle()),
            "email" => json!(format!("{}@example.org", fresh_handle())),
            "password" | "new_password" => json!(PASSWORD),
            "blog_id" => json!(self.blog),
            "blog_ids" => json!([self.blog]),
            "all" => json!(false),
            "type" => json!("blog.viewed"),
            "tags" => json!(["a"]),
            "source_path" => json!(format!("example.org/{}", fresh_handle())),
            "paths" => json!(["example.org/one"]),
            "publish" => json!(true),
            "channel" => json!("link"),
            "occurred_at" => json!("2026-01-01T00:00:00Z"),
            "title" | "body" | "visitor" | "key" => json!("text"),
            other => panic!("{other} is new: say here what is a good value of it"),
        }
        .to_string()
    }
}

fn fresh_handle() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("reader{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The requests that are sent to an operation, and their results.
struct Battery<'a> {
    api: &'a Running,
    document: &'a Value,
    operation: &'a Operation,
    target: Target,
    seen: BTreeMap<u16, usize>,
}

impl Battery<'_> {
    /// The operation's path with this value as its parameter.
    fn path(&self, parameter: &str) -> String {
        self.operation.path.replace("{id}", parameter).replace("{slug}", parameter)
    }

    fn good_path(&self) -> String {
        let Target { blog, slug, .. } = &self.target;
        self.operation.path.replace("{id}", &blog.to_string()).replace("{slug}", slug)
    }

    fn call(&self, path: &str, token: bool) -> RequestBuilder {
        let Operation { method, path: template, .. } = self.operation;
        // On these paths the valid bodies are those of an import.
        let is_of_imports = *method == reqwest::Method::POST && IMPORTS.contains(&template.as_str());
        let Target { session, importer, .. } = &self.target;
        let of_target = if is_of_imports { importer } else { session };
        self.api.call(method.clone(), path, token.then_some(of_target.as_str()))
    }

    /// A body with one field set to a value and valid others; a list if the operation takes one.
    fn body(&self, field: Option<(&str, &str)>) -> Option<String> {
        let schema = self.operation.body_schema(self.document)?;
        let is_list = schema["type"] == "array";
        let object = if is_list { &schema["items"] } else { schema };
        let value = |name: &String| match field {
            Some((field, value)) if field == name => value.to_owned(),
            _ => self.target.good(name),
        };
        let all = properties(self.document, object);
        // An event has a channel only while the channel is tested, so that it is not a share and a view at once.
        let wanted = all
            .iter()
            .filter(|&name| !(is_list && name == "channel") || field.is_some_and(|(field, _)| field == name));
        let fields: Vec<String> = wanted.map(|name| format!("{}:{}", json!(name), value(name))).collect();
        let object = format!("{{{}}}", fields.join(","));
        Some(if is_list { format!("[{object},{object}]") } else { object })
    }

    async fn send(&mut self, request: RequestBuilder, about: &str) {
        let answer = Answer::to(request).await;
        let Operation { method, path, .. } = self.operation;
        assert!(answer.status < 500, "{method} {path} with {about:.200}: {answer:?}");
        if answer.status >= 400 {
            self.operation.allows(self.document, &answer.clone().refused(answer.status));
        } else {
            self.operation.allows(self.document, &answer);
        }
        *self.seen.entry(answer.status).or_default() += 1;
        if answer.status == 204 {
            // The operation may have revoked the token or deleted the blog.
            self.target = Target::new(self.api).await;
        }
    }

    async fn run(&mut self) {
        for token in [false, true] {
            self.send_fields(token, "message").await;
            if self.operation.parameters("header").iter().any(|name| name == "X-Write-Path") {
                // On this path the values reach the database.
                self.send_fields(token, "direct").await;
            }
            self.send_bodies(token).await;
            self.send_addresses(token).await;
            self.send_headers(token).await;
        }
    }

    async fn send_fields(&mut self, token: bool, write_path: &str) {
        let Some(schema) = self.operation.body_schema(self.document) else { return };
        let object = if schema["type"] == "array" { &schema["items"] } else { schema };
        let long = json!("x".repeat(300_000)).to_string();
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        for field in properties(self.document, object) {
            for value in VALUES.into_iter().chain([long.as_str(), deep.as_str()]) {
                let body = self.body(Some((&field, value))).unwrap();
                let request = self.call(&self.good_path(), token).header("X-Write-Path", write_path);
                let request = request.header(CONTENT_TYPE, "application/json").body(body);
                self.send(request, &format!("{field} = {value}")).await;
            }
        }
    }

    async fn send_bodies(&mut self, token: bool) {
        for body in bodies() {
            let about = String::from_utf8_lossy(&body).into_owned();
            let request = self.call(&self.good_path(), token);
            self.send(request.header(CONTENT_TYPE, "application/json").body(body), &about).await;
        }
    }

    async fn send_addresses(&mut self, token: bool) {
        let long = "a".repeat(5000);
        let parameters = self.operation.parameters("query");
        for value in ADDRESSES.into_iter().chain([long.as_str()]) {
            let mut paths = vec![format!("{}?{value}={value}", self.good_path())];
            paths.extend(parameters.iter().map(|name| format!("{}?{name}={value}", self.good_path())));
            if self.operation.path.contains('{') {
                paths.push(self.path(value));
            }
            for path in paths {
                let request = self.call(&path, token);
                let request = match self.body(None) {
                    Some(body) => request.header(CONTENT_TYPE, "application/json").body(body),
                    None => request,
                };
                self.send(request, &path).await;
            }
        }
    }

    async fn send_headers(&mut self, token: bool) {
        let long = b"a".repeat(5000);
        for name in HEADERS {
            for value in HEADER_VALUES.into_iter().chain([long.as_slice()]) {
                let request = self.call(&self.good_path(), token);
                let request = match self.body(None) {
                    Some(body) => request.header(CONTENT_TYPE, "application/json").body(body),
                    None => request,
                };
                // Replaces the header, unlike `header`.
                let header = (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
                let request = request.headers(HeaderMap::from_iter([header]));
                self.send(request, &format!("{name}: {}", String::from_utf8_lossy(value))).await;
            }
        }
    }
}

#[tokio::test]
async fn no_input_causes_a_server_error() {
    let world = World::new().await;
    let api = world.api().await;
    api.ready().await;
    let (document, operations) = document(&api).await;
    let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
    for operation in &operations {
        let target = Target::new(&api).await;
        let mut battery =
            Battery { api: &api, document: &document, operation, target, seen: BTreeMap::new() };
        battery.run().await;
        let sent: usize = battery.seen.values().sum();
        println!("{:<6} {:<30} {sent:>5} requests: {:?}", operation.method, operation.path, battery.seen);
        assert!(sent > 200 && battery.seen.len() > 1, "{operation:?} was asked little: {:?}", battery.seen);
        for (status, count) in battery.seen {
            *seen.entry(status).or_default() += count;
        }
    }
    for status in [200, 201, 202, 204, 304, 400, 401, 404, 412, 415, 422] {
        assert!(seen.contains_key(&status), "{status} was never answered: {seen:?}");
    }
    api.get("/healthz", None).await.is(200);
    world.assert_consistent().await;
}
