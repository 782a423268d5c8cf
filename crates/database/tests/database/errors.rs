//! Errors of the database name the failure and reveal no data.

use std::error::Error as _;

use database::{Error, Fault};
use test_servers::Database;

#[tokio::test]
async fn an_error_quotes_no_row() {
    let world = Database::new().await;
    let insert =
        "insert into blogs.account (handle, email, password_hash) values ('ada', 'ada@example.org', '')";
    world.run(insert).await;
    let twice = world.client().execute(insert, &[]).await.unwrap_err();
    assert!(twice.as_db_error().unwrap().detail().unwrap().contains("ada"), "Postgres itself quotes it");
    let error = Error::statement("account_create.sql")(twice);
    let mut said = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push(error.to_string());
        cause = error.source();
    }
    let said = said.join(": ");
    assert!(said.contains("account_create.sql") && said.contains("23505"), "{said}");
    assert!(!said.contains("ada"), "{said}");
    assert_eq!((error.fault(), error.sqlstate()), (Fault::BadValue, Some("23505")));
    assert_eq!(error.constraint(), Some("account_handle_key"));
}

#[tokio::test]
async fn a_statement_that_a_read_only_server_refused_may_be_retried() {
    let world = Database::new().await;
    let refused =
        world.client().batch_execute("begin read only; delete from blogs.outbox").await.unwrap_err();
    let error = Error::statement("outbox_delete.sql")(refused);
    assert_eq!((error.sqlstate(), error.is_unavailable()), (Some("25006"), true));
}

#[tokio::test]
async fn value_that_the_driver_cannot_write_or_read_is_a_bad_value() {
    let world = Database::new().await;
    let unwritten = world.client().query("select $1::bigint", &[&"one"]).await.unwrap_err();
    let row = world.client().query_one("select 'one'::text", &[]).await.unwrap();
    let unread = row.try_get::<_, i64>(0).unwrap_err();
    for refused in [unwritten, unread] {
        let error = Error::statement("number.sql")(refused);
        assert_eq!((error.fault(), error.sqlstate()), (Fault::BadValue, None), "{error:?}");
    }
}
