//! `commonplace up` as a person runs it: it starts, a second one is refused, it ends without a trace, and starts
//! again on the same data.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also in the functions around it"
)]

mod fixture;

use std::net::TcpStream;
use std::path::Path;
use std::process::Output;

use database::Session;
use nix::sys::signal::Signal;
use serde_json::Value;
use stack::{Options, Stack};

use fixture::{Up, directory, up};

const NAME: &str = "up";
const NAME_ON_GIVEN_SERVERS: &str = "up-given";
const BLOGS: usize = 12;

/// Views, likes and shares of all blogs.
fn totals(up: &Up) -> [i64; 3] {
    let mut answer = ureq::get(format!("{}/v1/blogs?limit={BLOGS}", up.api)).call().unwrap();
    let page: Value = answer.body_mut().read_json().unwrap();
    let blogs = page["items"].as_array().unwrap();
    assert_eq!(blogs.len(), BLOGS);
    ["total_views", "total_likes", "total_shares"]
        .map(|name| blogs.iter().map(|blog| blog[name].as_i64().unwrap()).sum())
}

#[test]
fn up_starts_refuses_a_second_instance_stops_and_resumes() {
    let first = Up::start(NAME, &["--fresh"], &[]);
    let counted = totals(&first);
    assert!(counted.iter().all(|total| *total > 0), "the demo was counted: {counted:?}");

    let Output { status, stderr, .. } = up(NAME, &[]).output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(1), "{said}");
    let expected =
        format!("already running in {} (process {})", directory(NAME).display(), first.process.id());
    assert!(said.contains(&expected), "{said}");
    assert_eq!(totals(&first), counted, "the first one did not notice");
    first.end(Signal::SIGTERM);

    let second = Up::start(NAME, &[], &[]);
    assert_eq!(totals(&second), counted, "the data was kept, and the demo is loaded once");
    second.end(Signal::SIGINT);
}

/// Whether every role may create temporary tables in the database, a right that a dump does not contain. With `give`,
/// grants it first.
async fn is_open(database: &str, give: bool) -> bool {
    let session = Session::open(&database.parse().unwrap()).await.unwrap();
    if give {
        session.client.batch_execute("grant temporary on database given to public").await.unwrap();
    }
    let asked = "select has_database_privilege('console', current_database(), 'temporary')";
    session.client.query_one(asked, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn given_servers_are_used_and_left_running() {
    let mut options = Options::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("given"));
    (options.durable, options.fresh) = (false, true);
    let given = Stack::start(&options, &mut |_step| ()).unwrap();
    let database = given.postgres_url().strip_suffix("postgres").unwrap().to_owned() + "given";
    let vhost = given.create_vhost("given").unwrap();
    let management = given.management_url();
    let servers = [
        ("DATABASE_URL", database.as_str()),
        ("AMQP_URL", vhost.as_str()),
        ("RABBITMQ_MANAGEMENT_URL", management.as_str()),
    ];

    let first = Up::start(NAME_ON_GIVEN_SERVERS, &["--fresh"], &servers);
    let counted = totals(&first);
    assert!(counted.iter().all(|total| *total > 0), "the demo was counted: {counted:?}");
    assert_eq!(first.processes(), [], "it starts no server of its own");
    first.end_process(Signal::SIGINT);

    assert!(is_open(&database, true).await, "as after a restore");
    // `--fresh` deletes the data of private servers only.
    let second = Up::start(NAME_ON_GIVEN_SERVERS, &["--fresh"], &servers);
    assert_eq!(totals(&second), counted, "what is on given servers stays");
    assert!(!is_open(&database, false).await, "only its roles may use it");
    second.end_process(Signal::SIGTERM);
    TcpStream::connect(("127.0.0.1", given.postgres().port())).unwrap();
    given.create_vhost("still-there").unwrap();
    given.stop().unwrap();
}
