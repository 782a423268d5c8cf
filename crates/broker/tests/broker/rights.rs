//! The operations that RabbitMQ allows each service's user. The administrator's column proves that each operation works.

use broker::Settings;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::{BasicProperties, Channel, ErrorKind, ExchangeKind};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::fixture::*;

const EVENTS: &str = "commonplace.events";
const DEAD: &str = "commonplace.dead";
const ENGAGEMENT: &str = "analytics.engagement.v1";
const ENGAGEMENT_DEAD: &str = "analytics.engagement.v1.dead";
const BLOGS: &str = "notification.blogs.v1";
const BLOGS_DEAD: &str = "notification.blogs.v1.dead";
const USERS: [&str; 5] = ["blogs_api", "analytics_worker", "notification_worker", "console", "administrator"];

#[derive(Clone, Copy)]
enum Operation {
    Publish(&'static str, &'static str),
    Depth(&'static str),
    Consume(&'static str),
    Get(&'static str),
    Purge(&'static str),
    DeclareQueue,
    DeclareExchange,
    BindQueue,
    UnbindQueue,
    BindExchange,
    DeleteQueue(&'static str),
    DeleteExchange(&'static str),
    /// A request to the management API: method, path, and body.
    Manage(&'static str, &'static str, fn() -> Value),
}
use Operation::*;

/// All operations, with `y` for allowed or `-` for denied, in the order of `USERS`.
const TABLE: [(&str, Operation); 38] = [
    ("y---y", Publish(EVENTS, "engagement")),
    ("y---y", Publish(EVENTS, "blog.published")),
    ("y---y", Publish(EVENTS, "account.followed")),
    ("----y", Publish(EVENTS, "blog.other")),
    ("----y", Publish(EVENTS, "engagement.forged")),
    ("----y", Publish("", ENGAGEMENT)),
    ("----y", Publish(DEAD, ENGAGEMENT)),
    ("----y", Publish("amq.topic", "engagement")),
    ("yyyyy", Depth(ENGAGEMENT)),
    ("yyyyy", Depth(BLOGS_DEAD)),
    ("-y--y", Consume(ENGAGEMENT)),
    ("-y--y", Consume(ENGAGEMENT_DEAD)),
    ("--y-y", Consume(BLOGS)),
    ("----y", Consume(BLOGS_DEAD)),
    ("-y--y", Get(ENGAGEMENT)),
    ("-y--y", Get(ENGAGEMENT_DEAD)),
    ("--y-y", Get(BLOGS)),
    ("----y", Get(BLOGS_DEAD)),
    ("-y--y", Purge(ENGAGEMENT)),
    ("-y--y", Purge(ENGAGEMENT_DEAD)),
    ("--y-y", Purge(BLOGS)),
    ("----y", Purge(BLOGS_DEAD)),
    ("----y", DeclareQueue),
    ("----y", DeclareExchange),
    ("----y", BindQueue),
    ("----y", UnbindQueue),
    ("----y", BindExchange),
    ("---yy", Manage("GET", "overview", || Value::Null)),
    ("----y", Manage("GET", "users", || Value::Null)),
    ("----y", Manage("GET", "definitions", || Value::Null)),
    ("----y", Manage("PUT", "users/intruder", || json!({"password": "x", "tags": "administrator"}))),
    (
        "----y",
        Manage(
            "PUT",
            "permissions/{vhost}/{user}",
            || json!({"configure": ".*", "write": ".*", "read": ".*"}),
        ),
    ),
    (
        "----y",
        Manage(
            "POST",
            "exchanges/{vhost}/commonplace.events/publish",
            || json!({"properties": {}, "routing_key": "engagement", "payload": "x", "payload_encoding": "string"}),
        ),
    ),
    (
        "----y",
        Manage(
            "POST",
            "queues/{vhost}/analytics.engagement.v1/get",
            || json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}),
        ),
    ),
    (
        "----y",
        Manage(
            "PUT",
            "policies/{vhost}/forget",
            || json!({"pattern": "^forget$", "definition": {"max-length": 1}}),
        ),
    ),
    ("----y", DeleteQueue(ENGAGEMENT)),
    ("----y", DeleteQueue(BLOGS_DEAD)),
    ("----y", DeleteExchange(EVENTS)),
];

impl Operation {
    fn name(self) -> String {
        match self {
            Publish("", key) => format!("publish to the default exchange, {key}"),
            Publish(exchange, key) => format!("publish to {exchange}, {key}"),
            Depth(queue) => format!("ask how deep {queue} is"),
            Consume(queue) => format!("consume {queue}"),
            Get(queue) => format!("get from {queue}"),
            Purge(queue) => format!("purge {queue}"),
            DeclareQueue => "declare a queue".to_owned(),
            DeclareExchange => "declare an exchange".to_owned(),
            BindQueue => format!("bind {ENGAGEMENT}"),
            UnbindQueue => format!("unbind {ENGAGEMENT}"),
            BindExchange => format!("bind {DEAD} to {EVENTS}"),
            DeleteQueue(queue) => format!("delete {queue}"),
            DeleteExchange(exchange) => format!("delete {exchange}"),
            Manage(method, path, _) => format!("management API: {method} {path}"),
        }
    }

    /// Tries the operation. Returns false if RabbitMQ denies it.
    async fn is_allowed(self, settings: &Settings) -> bool {
        if let Manage(method, path, body) = self {
            let login = settings.url.expose_secret().to_owned();
            return tokio::task::spawn_blocking(move || manage(&login, method, path, body())).await.unwrap();
        }
        let raw = RawChannel::open(settings).await;
        match Box::pin(self.try_on(&raw.channel)).await {
            Ok(()) => true,
            Err(error) => match error.kind() {
                ErrorKind::ProtocolError(error)
                    if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) =>
                {
                    false
                }
                _ => panic!("{}: {error}", self.name()),
            },
        }
    }

    async fn try_on(self, channel: &Channel) -> lapin::Result<()> {
        match self {
            Publish(exchange, key) => {
                channel.confirm_select(ConfirmSelectOptions::default()).await?;
                let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
                channel.basic_publish(exchange.into(), key.into(), options, b"[]", properties).await?.await?;
            }
            Depth(queue) => {
                let options = QueueDeclareOptions { passive: true, ..Default::default() };
                channel.queue_declare(queue.into(), options, Default::default()).await?;
            }
            Consume(queue) => {
                let options = BasicConsumeOptions::default();
                channel.basic_consume(queue.into(), "".into(), options, Default::default()).await?;
            }
            Get(queue) => drop(channel.basic_get(queue.into(), BasicGetOptions::default()).await?),
            Purge(queue) => drop(channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?),
            DeclareQueue => {
                channel.queue_declare("forged".into(), Default::default(), Default::default()).await?;
            }
            DeclareExchange => {
                let options = ExchangeDeclareOptions::default();
                channel
                    .exchange_declare("forged".into(), ExchangeKind::Topic, options, Default::default())
                    .await?;
            }
            BindQueue => {
                let (queue, options) = (ENGAGEMENT.into(), QueueBindOptions::default());
                channel.queue_bind(queue, EVENTS.into(), "#".into(), options, Default::default()).await?;
            }
            UnbindQueue => {
                let (queue, exchange) = (ENGAGEMENT.into(), EVENTS.into());
                channel.queue_unbind(queue, exchange, "engagement".into(), Default::default()).await?;
            }
            BindExchange => {
                let (to, from) = (DEAD.into(), EVENTS.into());
                channel.exchange_bind(to, from, "#".into(), Default::default(), Default::default()).await?;
            }
            DeleteQueue(queue) => {
                channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
            }
            DeleteExchange(exchange) => {
                channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await?;
            }
            Manage(..) => unreachable!("it is no operation of AMQP"),
        }
        Ok(())
    }
}

/// Sends a request to the management API with the login and the vhost of an AMQP address.
fn manage(amqp_url: &str, method: &str, path: &str, body: Value) -> bool {
    let (login, place) = amqp_url.strip_prefix("amqp://").unwrap().rsplit_once('@').unwrap();
    let (user, vhost) = (login.split_once(':').unwrap().0, place.rsplit_once('/').unwrap().1);
    let management = rabbitmq().management_url();
    let url = format!("http://{login}@{}/api/", management.rsplit_once('@').unwrap().1);
    let url = url + &path.replace("{vhost}", vhost).replace("{user}", user);
    let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let response = match method {
        "GET" => agent.get(url).call(),
        "PUT" => agent.put(url).send_json(body),
        _ => agent.post(url).send_json(body),
    };
    let mut response = response.unwrap();
    let (status, text) = (response.status(), response.body_mut().read_to_string().unwrap());
    match status.as_u16() {
        200..300 => true,
        401 | 403 => false,
        // AMQP denied the operation to the connection that the API opened for the user.
        400 if text.contains("ACCESS_REFUSED") => false,
        // The API does not admit the user to the vhost, because it has no permission there.
        400 if text.contains("not_authorised") => false,
        other => panic!("{method} {path} for {user}: {other} {text}"),
    }
}

#[expect(clippy::print_stdout, reason = "the table of rights is the report of this test")]
#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_denies_each_user_what_its_service_does_not_need() {
    let mut found = vec![String::new(); TABLE.len()];
    for user in USERS {
        // Each user gets a new vhost, in which no other user has deleted anything.
        let administrator = settings().await;
        let settings = match user {
            "administrator" => administrator,
            user => as_user(&administrator, user),
        };
        for (marks, (_, operation)) in found.iter_mut().zip(TABLE) {
            marks.push(if operation.is_allowed(&settings).await { 'y' } else { '-' });
        }
    }
    let lines = |marks: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        let named = marks.zip(TABLE).map(|(marks, (_, operation))| format!("{marks} {}", operation.name()));
        named.collect()
    };
    let found = lines(&mut found.iter().map(String::as_str));
    println!("{}\n{}", USERS.join(", "), found.join("\n"));
    assert_eq!(found, lines(&mut TABLE.iter().map(|(marks, _)| *marks)));
}

/// Each user has a connection limit, so that a stolen login cannot use up the others' connections.
#[tokio::test]
async fn each_user_has_a_limit_of_connections_and_channels() {
    settings().await;
    let url = format!("{}/api/user-limits", rabbitmq().management_url());
    let limits = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        agent.get(url).call().unwrap().body_mut().read_json::<Value>().unwrap()
    });
    let limits = limits.await.unwrap();
    for user in &USERS[..4] {
        let found = limits.as_array().unwrap().iter().find(|limit| limit["user"] == *user);
        assert_eq!(found.unwrap()["value"], json!({"max-connections": 1000, "max-channels": 1000}), "{user}");
    }
}
