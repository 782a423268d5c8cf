//! The administrator's step, and services on a vhost where it has not run.

use std::sync::Arc;

use broker::Administration;
use broker::{Consumer, PublishError, Queue, State, queue_depth};
use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use serde_json::json;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use crate::fixture::*;

#[tokio::test]
async fn services_name_missing_objects_and_work_once_the_administrator_creates_them() {
    let (settings, vhost) = bare_settings().await;
    let publishing = Publishing::start(&settings);
    let named = |state: &State| {
        matches!(state, State::Disconnected(reason)
            if reason.contains("no exchange commonplace.events") && reason.contains("commonplace migrate"))
    };
    publishing.reached(named).await;
    let worker = Consumer::open(&settings, Queue::Engagement, 2, "test").await.unwrap_err().to_string();
    assert!(
        worker.contains("no queue analytics.engagement.v1 in this vhost: run `commonplace migrate`"),
        "{worker}"
    );
    let depth = queue_depth(&settings, Queue::Blogs).await.unwrap_err().to_string();
    assert!(depth.contains("no queue notification.blogs.v1"), "{depth}");

    let made = administer(&vhost).await;
    assert_eq!((made.made.len(), made.differences, made.leftovers), (12, vec![], vec![]), "{:?}", made.made);
    publishing.publisher.publish(event(1), late()).await.unwrap();
    publishing.stop().await;
    assert_eq!(drain(&settings).await.len(), 1);
}

#[tokio::test]
async fn objects_that_differ_are_reported_and_left_unchanged() {
    let (settings, vhost) = bare_settings().await;
    let raw = RawChannel::open(&settings).await;
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    raw.channel.queue_declare(Queue::Engagement.name().into(), options, Default::default()).await.unwrap();
    let publishing = Publishing::start(&settings);
    let outcome = publishing.publisher.publish(event(1), Instant::now()).await;
    assert_eq!(outcome, Err(PublishError::TimedOut));

    let report = administer(&vhost).await;
    assert_eq!(report.differences.len(), 1, "{report:?}");
    let difference = &report.differences[0];
    assert!(
        difference.starts_with("queue analytics.engagement.v1: arguments is {} but should be {"),
        "{difference}"
    );
    assert!(!report.made.iter().any(|made| made == "queue analytics.engagement.v1"), "{report:?}");
    // A binding that this release does not use.
    let (queue, exchange) = (Queue::Blogs.name().into(), "commonplace.events".into());
    let options = QueueBindOptions::default();
    raw.channel.queue_bind(queue, exchange, "blog.other".into(), options, Default::default()).await.unwrap();
    let again = administer(&vhost).await;
    assert_eq!(again.differences, report.differences);
    assert_eq!(again.leftovers, ["binding commonplace.events --blog.other--> notification.blogs.v1"]);
    assert_eq!(again.made, Vec::<String>::new());
    publishing.stop().await;
}

#[tokio::test]
async fn password_of_administrator_is_decoded() {
    let (_, vhost) = bare_settings().await;
    let report = tokio::task::spawn_blocking(move || {
        let url = rabbitmq().management_url();
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        for (path, body) in [
            ("users/other%20root".to_owned(), json!({ "password": "a/b%c@d:e", "tags": "administrator" })),
            (
                format!("permissions/{vhost}/other%20root"),
                json!({ "configure": ".*", "write": ".*", "read": ".*" }),
            ),
        ] {
            agent.put(format!("{url}/api/{path}")).send_json(body).unwrap();
        }
        let place = url.rsplit_once('@').unwrap().1;
        broker::administer(&Administration {
            management_url: format!("http://other%20root:a%2Fb%25c%40d%3Ae@{place}/").into(),
            vhost,
            passwords: broker::users().map(|user| (user.to_owned(), PASSWORD.into())).collect(),
            connections_max: 1000,
        })
    });
    assert_eq!(report.await.unwrap().unwrap().made.len(), 12);
}

#[tokio::test]
async fn administrators_who_create_the_users_at_the_same_time_all_succeed() {
    let rabbitmq = Arc::new(spawn_blocking(|| start("administrators")).await.unwrap());
    let mut steps = JoinSet::new();
    for index in 0..6 {
        let rabbitmq = Arc::clone(&rabbitmq);
        steps.spawn_blocking(move || {
            let vhost = format!("administrator-{index}");
            rabbitmq.create_vhost(&vhost).unwrap();
            administer_on(&rabbitmq, &vhost).made.len()
        });
    }
    assert_eq!(steps.join_all().await, [12; 6]);
}
