//! The environment of the procedure: private servers, the commands, and the services as processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bench::Service;
use database::Session;
use database::bootstrap::login_roles;
use reqwest::Method;
use serde_json::{Value, json};
use stack::{Options, Stack};

/// How long a test waits for what it expects. Generous: two cores run all tests at once.
const DEADLINE: Duration = Duration::from_secs(60);
const SECRET: &str = "Zm9yIHRlc3RzIG9uIHRoaXMgbWFjaGluZSBvbmx5LCBsb25nIGVub3VnaA==";
const PASSWORD: &str = "correct horse battery";

/// Private servers, a folder for the files, and what services run with.
pub(crate) struct Ground {
    pub(crate) stack: Stack,
    pub(crate) folder: PathBuf,
    pub(crate) client: reqwest::Client,
}

/// The services that are running.
pub(crate) struct Services {
    pub(crate) api: Service,
    pub(crate) rest: Vec<(&'static str, Service)>,
}

impl Ground {
    pub(crate) async fn prepare() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("restore");
        let mut options = Options::new(&folder);
        (options.durable, options.fresh, options.max_connections) = (false, true, 100);
        let start = move || Stack::start(&options, &mut |_step| {}).expect("private servers start");
        let stack = tokio::task::spawn_blocking(start).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let ground = Self { stack, folder, client };
        let _there_is_none = std::fs::remove_file(ground.erased());
        ground.done(&["migrate"]);
        ground
    }

    pub(crate) fn erased(&self) -> PathBuf {
        self.folder.join("erased-accounts")
    }

    pub(crate) fn dump_file(&self) -> PathBuf {
        self.folder.join("commonplace.dump")
    }

    /// The address of a database for one of the roles, or for the administrator.
    pub(crate) fn url(&self, role: &str, database: &str) -> String {
        let administrator = self.stack.postgres_url();
        let (login, server) = administrator.rsplit_once('@').unwrap();
        let server = server.strip_suffix("/postgres").unwrap();
        match role {
            "postgres" => format!("{login}@{server}/{database}"),
            role => format!("postgres://{role}:local@{server}/{database}"),
        }
    }

    /// The command as one of the roles.
    pub(crate) fn command(&self, arguments: &[&str], role: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commonplace"));
        command.args(arguments).env("DATABASE_URL", self.url(role, "commonplace")).env_remove("AMQP_URL");
        for role in login_roles() {
            command.env(format!("COMMONPLACE__ROLES__{}_PASSWORD", role.to_uppercase()), "local");
        }
        command.env("COMMONPLACE__RABBITMQ__MANAGEMENT_URL", self.stack.management_url());
        for user in broker::users() {
            command.env(format!("COMMONPLACE__RABBITMQ__{}_PASSWORD", user.to_uppercase()), "local");
        }
        command
    }

    /// The output of an administrator's command, which must succeed.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        printed(&self.command(arguments, "postgres").output().unwrap(), 0)
    }

    /// The error of an administrator's command, which must fail.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        printed(&self.command(arguments, "postgres").output().unwrap(), 1)
    }

    /// Runs one of PostgreSQL's programs as the administrator.
    #[track_caller]
    pub(crate) fn postgres(&self, program: &str, arguments: &[&str]) {
        let path = self.stack.postgres().program(program).expect("PostgreSQL is installed");
        let url = self.url("postgres", "postgres");
        let (user_and_password, server) = url.strip_prefix("postgres://").unwrap().rsplit_once('@').unwrap();
        let (host, port) = server.split_once('/').unwrap().0.split_once(':').unwrap();
        let (user, password) = user_and_password.split_once(':').unwrap();
        let mut command = Command::new(path);
        command.args(arguments).envs([
            ("PGHOST", host),
            ("PGPORT", port),
            ("PGUSER", user),
            ("PGPASSWORD", password),
        ]);
        printed(&command.output().unwrap(), 0);
    }

    pub(crate) fn dump(&self) {
        self.postgres("pg_dump", &["-d", "commonplace", "-Fc", "-f", self.dump_file().to_str().unwrap()]);
    }

    pub(crate) fn lose_and_load_the_dump(&self) {
        self.postgres("dropdb", &["--force", "commonplace"]);
        self.postgres("createdb", &["commonplace"]);
        let dump = self.dump_file();
        self.postgres("pg_restore", &["-d", "commonplace", "--exit-on-error", dump.to_str().unwrap()]);
    }

    pub(crate) fn start_one(&self, name: &'static str) -> (&'static str, Service) {
        let keys = web::tokens::KeyPair::from_seed("test", &[7; 32]);
        let settings = [
            ("DATABASE_URL", self.url(&name.replace('-', "_"), "commonplace")),
            ("AMQP_URL", self.stack.amqp_url()),
            ("COMMONPLACE__TOKENS__SIGNING_KEYS", keys.signing),
            ("COMMONPLACE__TOKENS__VERIFYING_KEYS", keys.verifying),
            ("COMMONPLACE__ENGAGEMENT__VISITOR_SECRET", SECRET.to_owned()),
            ("COMMONPLACE__RATE_LIMITS__ENABLED", "false".to_owned()),
            ("COMMONPLACE__ENGAGEMENT__ACCEPT_TIMEOUT_MS", "30000".to_owned()),
            ("COMMONPLACE__REQUESTS__TIMEOUT_MS", "60000".to_owned()),
            ("COMMONPLACE__REQUESTS__DRAIN_TIMEOUT_MS", "60000".to_owned()),
            ("COMMONPLACE__LEARNING__POLL_MS", "20".to_owned()),
        ];
        let service =
            Service::start(Path::new(env!("CARGO_BIN_EXE_commonplace")), name, &settings, &self.folder)
                .unwrap();
        (name, service)
    }

    pub(crate) async fn start(&self, besides: &[&'static str]) -> Services {
        let (_, mut api) = self.start_one("blogs-api");
        let mut rest: Vec<_> = besides.iter().map(|name| self.start_one(name)).collect();
        api.ready().await.unwrap();
        for (_, service) in &mut rest {
            service.ready().await.unwrap();
        }
        let services = Services { api, rest };
        let connected = async || {
            let (_, ready) = self.send(services.api(), Method::GET, "/readyz", None, Value::Null).await;
            ready["parts"]["broker"]["works"] == true
        };
        wait_until("the API is connected to RabbitMQ", connected).await;
        services
    }

    pub(crate) async fn send(
        &self,
        to: SocketAddr,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Value,
    ) -> (u16, Value) {
        let mut request = self.client.request(method, format!("http://{to}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Signs up and in: the account's id and a token.
    pub(crate) async fn account(&self, services: &Services, handle: &str) -> (i64, String) {
        let account =
            json!({"handle": handle, "email": format!("{handle}@example.org"), "password": PASSWORD});
        let (status, made) = self.send(services.api(), Method::POST, "/v1/accounts", None, account).await;
        assert_eq!(status, 201, "{made}");
        (made["id"].as_i64().unwrap(), self.sign_in(services, handle).await)
    }

    pub(crate) async fn sign_in(&self, services: &Services, handle: &str) -> String {
        let session = json!({"handle": handle, "password": PASSWORD});
        let (status, session) = self.send(services.api(), Method::POST, "/v1/sessions", None, session).await;
        assert_eq!(status, 201, "{session}");
        session["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn blog(&self, services: &Services, token: &str, title: &str) -> i64 {
        let blog = json!({"title": title, "body": "Some text.", "tags": [], "publish": true});
        let (status, blog) = self.send(services.api(), Method::POST, "/v1/blogs", Some(token), blog).await;
        assert_eq!(status, 201, "{blog}");
        blog["id"].as_i64().unwrap()
    }

    pub(crate) async fn share(&self, services: &Services, blog: i64, times: usize) {
        for _ in 0..times {
            let share = json!({"channel": "link"});
            let path = format!("/v1/blogs/{blog}/shares");
            let (status, body) = self.send(services.api(), Method::POST, &path, None, share).await;
            assert_eq!(status, 202, "{body}");
        }
    }

    /// Sends a request, which must be answered with 202.
    pub(crate) async fn sent(&self, services: &Services, method: Method, path: &str, token: &str) {
        let (status, body) = self.send(services.api(), method, path, Some(token), Value::Null).await;
        assert_eq!(status, 202, "{body}");
    }

    pub(crate) async fn session(&self, database: &str) -> Session {
        Session::open(&self.url("postgres", database).parse().unwrap()).await.unwrap()
    }

    /// The only number of a query; -1 when it is null.
    pub(crate) async fn value(&self, sql: &str) -> i64 {
        let row = self.session("commonplace").await.client.query_one(sql, &[]).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get::<_, Option<i64>>(0).unwrap_or(-1)
    }

    pub(crate) async fn until(&self, sql: &str, expected: i64) {
        wait_until(&format!("{sql} is {expected}"), async || self.value(sql).await == expected).await;
    }
}

impl Services {
    pub(crate) fn api(&self) -> SocketAddr {
        self.api.address()
    }

    pub(crate) fn of(&self, name: &str) -> SocketAddr {
        self.rest.iter().find(|(known, _)| *known == name).unwrap().1.address()
    }

    pub(crate) async fn stop(self) {
        self.api.stop().await.unwrap();
        for (_, service) in self.rest {
            service.stop().await.unwrap();
        }
    }
}

/// Asserts a command's exit code, and returns everything that it has printed.
#[track_caller]
pub(crate) fn printed(output: &Output, code: i32) -> String {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// Polls until the condition is true.
pub(crate) async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
