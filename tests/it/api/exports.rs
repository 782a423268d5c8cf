//! Exports of accounts: requested by the account, made once by an operator, and recorded.

use database::Session;
use jiff::{SignedDuration, Timestamp};
use tests::World;

use super::PASSWORD;

/// The statements that the operator's command sends.
const OPEN: &str = include_str!("../../../cli/sql/account_open_export.sql");
const EXPORT: &str = include_str!("../../../cli/sql/account_export.sql");
const RECORDS: &str = include_str!("../../../cli/sql/export_records.sql");
const REQUESTS: &str = include_str!("../../../cli/sql/export_requests.sql");

const REFUSED: &str = "42501";
const FUNCTIONS: [&str; 3] = ["blogs.export_account", "analytics.export_account", "notify.export_account"];
/// Every role that logs in.
const ROLES: [&str; 6] =
    ["blogs_api", "analytics_worker", "notification_worker", "recommendation_api", "operator", "console"];

/// Opens an export; the SQLSTATE if it is refused.
async fn open(operator: &Session, account: i64) -> Result<(), String> {
    let opened = operator.client.query_one(OPEN, &[&account]).await;
    opened.map(drop).map_err(|error| error.code().unwrap().code().to_owned())
}

/// The number of exported items; the SQLSTATE if the export is refused.
async fn export(operator: &Session, account: i64) -> Result<usize, String> {
    let exported = operator.client.query(EXPORT, &[&account]).await;
    exported.map(|items| items.len()).map_err(|error| error.code().unwrap().code().to_owned())
}

/// The number of rows that each owner's function returns; the SQLSTATE if it is refused.
async fn read(operator: &Session, account: i64) -> [Result<usize, String>; 3] {
    let mut read = FUNCTIONS.map(|_| Ok(0));
    for (function, read) in FUNCTIONS.into_iter().zip(&mut read) {
        let rows = operator.client.query(&format!("select * from {function}($1)"), &[&account]).await;
        *read = rows.map(|rows| rows.len()).map_err(|error| error.code().unwrap().code().to_owned());
    }
    read
}

fn refused<T>() -> Result<T, String> {
    Err(REFUSED.to_owned())
}

#[tokio::test]
async fn operator_cannot_export_account_without_a_request() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    let (grace, _) = api.account("grace").await;
    let operator = world.session("operator").await;
    assert_eq!(read(&operator, ada).await, FUNCTIONS.map(|_| refused()));
    api.request_export(&token, PASSWORD).await.is(200);
    assert_eq!(read(&operator, ada).await, FUNCTIONS.map(|_| refused()), "no record yet");
    assert_eq!(read(&operator, grace).await, FUNCTIONS.map(|_| refused()));
    assert_eq!(open(&operator, grace).await, refused());
    open(&operator, ada).await.unwrap();
    assert_eq!(export(&operator, grace).await, refused());
    assert_eq!(export(&operator, ada).await, Ok(1));
}

#[tokio::test]
async fn export_request_takes_password_and_stays_the_same_while_open() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    api.request_export(&token, "not the password").await.refused(403);
    let first = api.request_export(&token, PASSWORD).await.is(200).body;
    assert_eq!(api.request_export(&token, PASSWORD).await.is(200).body, first);
    let [asked, expires]: [Timestamp; 2] =
        ["requested_at", "expires_at"].map(|field| first[field].as_str().unwrap().parse().unwrap());
    assert_eq!(expires.duration_since(asked), SignedDuration::from_hours(7 * 24));

    let operator = world.session("operator").await;
    let open = operator.client.query(REQUESTS, &[&10_i64]).await.unwrap();
    assert_eq!(open.iter().map(|row| row.get("handle")).collect::<Vec<String>>(), ["ada"]);
    world.run("update blogs.export_request set requested_at = now() - interval '8 days'").await;
    assert!(operator.client.query(REQUESTS, &[&10_i64]).await.unwrap().is_empty());
    assert_ne!(api.request_export(&token, PASSWORD).await.is(200).body["id"], first["id"]);
}

#[tokio::test]
async fn concurrent_first_export_requests_become_one() {
    let world = World::new().await;
    let api = world.api().await;
    for n in 0..10 {
        let (_, token) = api.account(&format!("ada{n}")).await;
        let (one, other) =
            tokio::join!(api.request_export(&token, PASSWORD), api.request_export(&token, PASSWORD));
        assert_eq!(one.is(200).body, other.is(200).body);
    }
}

#[tokio::test]
async fn export_request_is_valid_for_one_export_within_seven_days() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    api.request_export(&token, PASSWORD).await.is(200);
    world.run("update blogs.export_request set requested_at = now() - interval '8 days'").await;
    let operator = world.session("operator").await;
    assert_eq!(open(&operator, ada).await, refused(), "the request has expired");

    let id = api.request_export(&token, PASSWORD).await.is(200).body["id"].as_str().unwrap().to_owned();
    open(&operator, ada).await.unwrap();
    assert_eq!(export(&operator, ada).await, Ok(1));
    assert_eq!(open(&operator, ada).await, refused(), "the request is used");
    // Another session cannot use the export that this session opened.
    let another = world.session("operator").await;
    assert_eq!(open(&another, ada).await, refused());
    assert_eq!(export(&another, ada).await, refused());

    let records = operator.client.query(RECORDS, &[&10_i64]).await.unwrap();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record.get::<_, uuid::Uuid>("request_id").to_string(), id);
    assert_eq!((record.get::<_, i64>("account_id"), record.get::<_, &str>("exported_by")), (ada, "operator"));
    assert!(record.get::<_, Timestamp>("exported_at") >= record.get::<_, Timestamp>("requested_at"));

    // An hour later the session has to open another export.
    world.run("update blogs.export_record set exported_at = exported_at - interval '1 hour'").await;
    assert_eq!(export(&operator, ada).await, refused());
    assert_ne!(api.request_export(&token, PASSWORD).await.is(200).body["id"], id);
    open(&operator, ada).await.unwrap();
}

#[tokio::test]
async fn export_returns_nothing_before_its_record_has_committed() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    api.request_export(&token, PASSWORD).await.is(200);
    let operator = world.session("operator").await;
    operator.client.batch_execute("begin").await.unwrap();
    open(&operator, ada).await.unwrap();
    operator.client.batch_execute("savepoint opened").await.unwrap();
    assert_eq!(export(&operator, ada).await, refused());
    operator.client.batch_execute("rollback").await.unwrap();
    assert_eq!(export(&operator, ada).await, refused());
    open(&operator, ada).await.unwrap();
    assert_eq!(export(&operator, ada).await, Ok(1));
}

#[tokio::test]
async fn no_service_role_can_change_or_delete_record_of_exports() {
    let world = World::new().await;
    let api = world.api().await;
    let (ada, token) = api.account("ada").await;
    api.request_export(&token, PASSWORD).await.is(200);
    let operator = world.session("operator").await;
    open(&operator, ada).await.unwrap();
    let record = "select e::text from blogs.export_record e";
    let before: String = world.value(record, &[]).await;
    for role in ROLES {
        let session = world.session(role).await;
        for statement in [
            "update blogs.export_record set exported_by = 'another'",
            "update blogs.export_record set exported_at = now()",
            "delete from blogs.export_record",
            "truncate blogs.export_record",
            "insert into blogs.export_record
             values (gen_random_uuid(), 1, now(), now(), 'another', null, pg_backend_pid(), '1')",
            "drop table blogs.export_record",
        ] {
            let code = session.client.batch_execute(statement).await.unwrap_err();
            assert_eq!(
                code.code().map(tokio_postgres::error::SqlState::code),
                Some(REFUSED),
                "{role}: {statement}"
            );
        }
    }
    assert_eq!(world.value::<String>(record, &[]).await, before);
}
