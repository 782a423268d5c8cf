//! Traces over processes: a small collector takes what a Blogs API and an Analytics worker export, each a process of
//! its own with its settings in the environment, on private servers. Another test checks the contents of logs at the
//! finest level.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use bench::{Service, Tables};
use database::Session;
use database::bootstrap::{RoleSettings, login_roles};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use serde_json::{Value, json};
use stack::{Options, Stack};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long a test waits for what it expects. Generous: two cores run all tests at once.
const DEADLINE: Duration = Duration::from_secs(60);
const CLIENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const VIEW: &str = "POST /v1/blogs/{id}/views";
/// The password of the services' users on RabbitMQ, as `lapin` writes the bytes of a login.
const LOGIN: &str = "108, 111, 99, 97, 108";
const CLIENT_THAT_REFUSES: &str = "00-11111111111111111111111111111111-b7ad6b7169203331-00";

#[tokio::test(flavor = "multi_thread")]
async fn traces_run_from_the_request_to_the_batch_without_blocking_requests() {
    let ground = Ground::prepare("traces").await;
    one_trace_runs_from_the_request_to_the_batch(&ground).await;
    unavailable_collector_blocks_no_request(&ground).await;
    tokio::task::spawn_blocking(|| ground.stack.stop()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_at_trace_level_hold_no_address_hash_or_password_and_only_their_owner_reads_them() {
    let ground = Ground::prepare("logs").await;
    let settings = [("COMMONPLACE__LOG__FILTER", "trace".to_owned())];
    let mut api = ground.api_with("logs", &settings);
    api.ready().await.unwrap();
    let (email, password, new) =
        ("ada.lovelace@example.org", "correct horse battery", "battery staple correct");
    let sign_up = |handle: &str, email: &str| json!({"handle": handle, "email": email, "password": password});
    let address = api.address();
    ground.post(address, "/v1/accounts", None, &sign_up("ada", email)).await;
    for again in [sign_up("ada", "other@example.org"), sign_up("other", email), sign_up("ada", email)] {
        let request = ground.client.post(format!("http://{address}/v1/accounts")).json(&again);
        assert_eq!(request.send().await.unwrap().status(), reqwest::StatusCode::CONFLICT);
    }
    let session = json!({"handle": "ada", "password": password});
    let session: Value =
        serde_json::from_str(&ground.post(address, "/v1/sessions", None, &session).await).unwrap();
    let change = json!({"password": password, "new_password": new});
    let request = ground.client.put(format!("http://{address}/v1/accounts/me/password")).json(&change);
    let changed = request.bearer_auth(session["token"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(changed.status(), reqwest::StatusCode::NO_CONTENT);
    api.stop().await.unwrap();

    let own = ground.directory("logs").join("blogs-api.log");
    let written = std::fs::read_to_string(&own).unwrap();
    assert!(written.contains(" DEBUG ") && written.contains("/v1/accounts"), "everything is logged");
    let servers = [ground.stack.postgres().log(), ground.stack.rabbitmq().log()];
    let directories = servers.iter().map(|log| log.parent().unwrap());
    let files = directories.flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let logs = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"));
    let logs: Vec<PathBuf> = logs.chain([own]).collect();
    assert!(servers.iter().all(|log| logs.contains(log)), "{logs:?}");
    let mut found = Vec::new();
    for log in &logs {
        let mode = std::fs::metadata(log).unwrap().permissions().mode() & 0o777;
        if mode != 0o600 {
            found.push(format!("{} has the mode {mode:o}", log.display()));
        }
        let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
        for secret in [email, "other@example.org", "$argon2", password, new, ":local@", LOGIN] {
            if let Some(line) = text.lines().find(|line| line.contains(secret)) {
                found.push(format!("{}: {}", log.display(), line.chars().take(300).collect::<String>()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    tokio::task::spawn_blocking(|| ground.stack.stop()).await.unwrap().unwrap();
}

async fn one_trace_runs_from_the_request_to_the_batch(ground: &Ground) {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let mut api = ground.api("traced", &endpoint);
    let mut worker = ground.worker("traced", &endpoint);
    api.ready().await.unwrap();
    worker.ready().await.unwrap();

    ground.view(api.address(), "a reader", None).await;
    let batches = collector.until("process analytics.engagement.v1", VIEW, 1).await;
    let [request] = &collector.named(VIEW)[..] else { panic!("one request") };
    let [publish] = &collector.named("publish commonplace.events")[..] else { panic!("one publish") };
    let [batch] = &batches[..] else { panic!("one batch") };
    assert_eq!((request.service.as_str(), request.span.kind), ("blogs-api", SpanKind::Server as i32));
    assert_eq!((publish.service.as_str(), publish.span.kind), ("blogs-api", SpanKind::Producer as i32));
    assert_eq!((batch.service.as_str(), batch.span.kind), ("analytics-worker", SpanKind::Consumer as i32));
    assert_eq!(request.span.parent_span_id, [0_u8; 0]);
    assert_eq!(request.attribute("http.response.status_code"), "202");
    assert_eq!(
        (&publish.span.trace_id, &publish.span.parent_span_id),
        (&request.span.trace_id, &request.span.span_id)
    );
    assert_eq!(
        (&batch.span.trace_id, &batch.span.parent_span_id),
        (&request.span.trace_id, &publish.span.span_id)
    );
    let [link] = &batch.span.links[..] else { panic!("one envelope, one link: {:?}", batch.span.links) };
    assert_eq!((&link.trace_id, &link.span_id), (&publish.span.trace_id, &publish.span.span_id));
    assert_eq!(publish.attribute("messaging.message.id"), text(&link.attributes, "messaging.message.id"));

    // A trace that a client has begun continues here, unless the client has switched sampling off.
    ground.view(api.address(), "a second reader", Some(CLIENT_THAT_REFUSES)).await;
    ground.view(api.address(), "a third reader", Some(CLIENT)).await;
    let batches = collector.until("process analytics.engagement.v1", VIEW, 2).await;
    assert_eq!(hex(&batches[1].span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    let requests = collector.named(VIEW);
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(hex(&requests[1].span.parent_span_id), "b7ad6b7169203331");

    a_publishing_is_one_trace_through_the_outbox(ground, api.address(), &collector).await;

    // The remaining spans are exported at shutdown, and requests of operators are not traced.
    ground.view(api.address(), "a fourth reader", Some(CLIENT)).await;
    api.stop().await.unwrap();
    assert_eq!(collector.named(VIEW).len(), 3);
    worker.stop().await.unwrap();
    let names: Vec<String> = collector.all().into_iter().map(|seen| seen.span.name).collect();
    assert!(!names.iter().any(|name| name.contains("/readyz")), "{names:?}");
}

async fn a_publishing_is_one_trace_through_the_outbox(
    ground: &Ground,
    api: SocketAddr,
    collector: &Collector,
) {
    let mut notifier = ground.notifier("traced", &format!("http://{}", collector.address));
    notifier.ready().await.unwrap();
    let account =
        json!({"handle": "author", "email": "author@example.org", "password": "correct horse battery"});
    ground.post(api, "/v1/accounts", None, &account).await;
    let session = json!({"handle": "author", "password": "correct horse battery"});
    let session: Value =
        serde_json::from_str(&ground.post(api, "/v1/sessions", None, &session).await).unwrap();
    let blog = json!({"title": "A blog", "body": "Some *text*.", "tags": [], "publish": true});
    ground.post(api, "/v1/blogs", session["token"].as_str(), &blog).await;
    let batches = collector.until("process notification.blogs.v1", "POST /v1/blogs", 1).await;
    let request = &collector.named("POST /v1/blogs")[0].span;
    let batch = &batches[0];
    assert_eq!(batch.service, "notification-worker");
    assert_eq!((&batch.span.trace_id, &batch.span.parent_span_id), (&request.trace_id, &request.span_id));
    notifier.stop().await.unwrap();
}

async fn unavailable_collector_blocks_no_request(ground: &Ground) {
    let silent = Silent::start().await;
    let mut api = ground.api("alone", &format!("http://{}", silent.address));
    api.ready().await.unwrap();
    let began = Instant::now();
    for reader in 0..1000 {
        ground.view(api.address(), &format!("reader {reader}"), None).await;
    }
    let log = ground.directory("alone").join("blogs-api.log");
    let complaints = || std::fs::read_to_string(&log).unwrap().matches("traces cannot be exported").count();
    while complaints() == 0 {
        assert!(began.elapsed() < DEADLINE, "the log does not report that the collector is down");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Wait until a third export has been tried: it begins when the second one has failed.
    while silent.tried() < 3 {
        assert!(began.elapsed() < 2 * DEADLINE, "{} exports were tried", silent.tried());
        ground.view(api.address(), "another reader", None).await;
    }
    api.stop().await.unwrap();
    assert_eq!(complaints(), 1, "it is logged once");
}

/// Private servers with a blog, and what services need to run on them.
struct Ground {
    stack: Stack,
    executable: PathBuf,
    common: Vec<(&'static str, String)>,
    urls: BTreeMap<&'static str, String>,
    blog: i64,
    client: reqwest::Client,
}

impl Ground {
    async fn prepare(name: &str) -> Self {
        let mut options = Options::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        (options.durable, options.fresh, options.max_connections) = (false, true, 100);
        let start = move || Stack::start(&options, &mut |_step| {}).expect("private servers start");
        let stack = tokio::task::spawn_blocking(start).await.unwrap();
        let mut administrator: tokio_postgres::Config = stack.postgres_url().parse().unwrap();
        let loader =
            runtime::settings::Loader::new(include_str!("../../config/migrate.toml")).environment([]);
        let loader =
            login_roles().fold(loader, |loader, role| loader.set(format!("roles.{role}_password"), "local"));
        #[derive(serde::Deserialize)]
        struct Settings {
            roles: RoleSettings,
        }
        let settings: Settings = loader.load().unwrap();
        database::bootstrap::run(&administrator, &settings.roles).await.unwrap();
        let rabbitmq = broker::Administration {
            management_url: stack.management_url().into(),
            vhost: "/".to_owned(),
            passwords: broker::users().map(|user| (user.to_owned(), "local".into())).collect(),
            connections_max: 128,
        };
        tokio::task::spawn_blocking(move || broker::administer(&rabbitmq)).await.unwrap().unwrap();
        let session = Session::open(&administrator).await.unwrap();
        session.client.batch_execute("create database traces").await.unwrap();
        administrator.dbname("traces");
        database::migrations::run(&administrator).await.unwrap();
        let blog = Tables::open(&administrator).await.unwrap().seed_blogs(1).await.unwrap()[0];
        let port = administrator.get_ports()[0];
        let urls =
            login_roles().map(|role| (role, format!("postgres://{role}:local@127.0.0.1:{port}/traces")));
        let common = vec![
            ("COMMONPLACE__TRACES__SAMPLE_RATIO", "1".to_owned()),
            ("COMMONPLACE__TRACES__EXPORT_TIMEOUT_MS", "500".to_owned()),
        ];
        let executable = env!("CARGO_BIN_EXE_commonplace").into();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { stack, executable, common, urls: urls.collect(), blog, client }
    }

    fn directory(&self, name: &str) -> PathBuf {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("traces-{name}"));
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn start(
        &self,
        service: &'static str,
        role: &str,
        name: &str,
        settings: &[(&'static str, String)],
    ) -> Service {
        let directory = self.directory(name);
        let _there_is_none = std::fs::remove_file(directory.join(format!("{service}.log")));
        let settings: Vec<_> = self.common.iter().chain(settings).cloned().collect();
        let amqp_url = broker::url_of(&self.stack.amqp_url(), role, &"local".to_owned().into()).unwrap();
        let own = vec![("DATABASE_URL", self.urls[role].clone()), ("AMQP_URL", amqp_url)];
        let settings = [settings, own].concat();
        Service::start(&self.executable, service, &settings, &directory).unwrap()
    }

    fn api(&self, name: &str, endpoint: &str) -> Service {
        self.api_with(name, &[("COMMONPLACE__TRACES__OTLP_ENDPOINT", endpoint.to_owned())])
    }

    fn api_with(&self, name: &str, settings: &[(&'static str, String)]) -> Service {
        let secret = "Zm9yIHRlc3RzIG9uIHRoaXMgbWFjaGluZSBvbmx5LCBsb25nIGVub3VnaA==";
        let own = [
            ("COMMONPLACE__ENGAGEMENT__VISITOR_SECRET", secret.to_owned()),
            ("COMMONPLACE__TOKENS__SIGNING_KEYS", web::tokens::KeyPair::from_seed("test", &[7; 32]).signing),
            ("COMMONPLACE__RATE_LIMITS__ENABLED", "false".to_owned()),
            ("COMMONPLACE__ENGAGEMENT__ACCEPT_TIMEOUT_MS", "10000".to_owned()),
        ];
        self.start("blogs-api", "blogs_api", name, &[&own, settings].concat())
    }

    fn notifier(&self, name: &str, endpoint: &str) -> Service {
        let settings = [("COMMONPLACE__TRACES__OTLP_ENDPOINT", endpoint.to_owned())];
        self.start("notification-worker", "notification_worker", name, &settings)
    }

    fn worker(&self, name: &str, endpoint: &str) -> Service {
        let settings = [("COMMONPLACE__TRACES__OTLP_ENDPOINT", endpoint.to_owned())];
        self.start("analytics-worker", "analytics_worker", name, &settings)
    }

    async fn post(&self, api: SocketAddr, path: &str, token: Option<&str>, body: &Value) -> String {
        let request = self.client.post(format!("http://{api}{path}")).json(body);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), reqwest::StatusCode::CREATED, "{path}");
        answer.text().await.unwrap()
    }

    async fn view(&self, api: SocketAddr, visitor: &str, traceparent: Option<&str>) {
        let request = self.client.post(format!("http://{api}/v1/blogs/{}/views", self.blog));
        let request = request.json(&json!({ "visitor": visitor }));
        let request = match traceparent {
            Some(traceparent) => request.header("traceparent", traceparent),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), reqwest::StatusCode::ACCEPTED, "{:?}", answer.text().await);
    }
}

/// A span, and the name of the service that exported it.
#[derive(Debug, Clone)]
struct Seen {
    service: String,
    span: Span,
}

impl Seen {
    fn attribute(&self, key: &str) -> String {
        text(&self.span.attributes, key)
    }
}

/// Takes connections, each for one export, and never answers.
struct Silent {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<TcpStream>>>,
    _taking: JoinSet<()>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let kept = Arc::clone(&taken);
        let mut taking = JoinSet::new();
        taking.spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                kept.lock().unwrap().push(connection);
            }
        });
        Self { address, taken, _taking: taking }
    }

    /// How many exports were tried.
    fn tried(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

/// Takes spans as a collector does.
struct Collector {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _serving: JoinSet<()>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let taken = Arc::clone(&seen);
        let take = async move |body: Bytes| {
            let export = ExportTraceServiceRequest::decode(body).unwrap();
            for resource in export.resource_spans {
                let service = text(&resource.resource.unwrap().attributes, "service.name");
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                taken.lock().unwrap().extend(spans.map(|span| Seen { service: service.clone(), span }));
            }
        };
        let router = Router::new().route("/v1/traces", post(take));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, _serving: serving }
    }

    fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The spans of this name, in the order in which they began.
    fn named(&self, name: &str) -> Vec<Seen> {
        let mut seen: Vec<Seen> = self.all().into_iter().filter(|seen| seen.span.name == name).collect();
        seen.sort_by_key(|seen| seen.span.start_time_unix_nano);
        seen
    }

    /// Waits until there are enough spans of both names, and returns those of the first.
    async fn until(&self, name: &str, and: &str, count: usize) -> Vec<Seen> {
        let began = Instant::now();
        loop {
            // Processes export each in its own time: the API's may come later than the worker's.
            let (seen, requests) = (self.named(name), self.named(and));
            if seen.len() >= count && requests.len() >= count {
                return seen;
            }
            assert!(began.elapsed() < DEADLINE, "{count} of {name}: {:#?}", self.all());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn text(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let value = attributes.iter().find(|attribute| attribute.key == key).unwrap_or_else(|| panic!("{key}"));
    match value.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
