//! Determines what one statement needs from a schema by preparing, explaining and pinning it under its service's role.

use tokio_postgres::Client;

use crate::{Error, Statement};

const BEGIN_AS: Statement = crate::statement!("contract_begin_as.sql");
const END: Statement = crate::statement!("contract_end.sql");
const AS_ADMINISTRATOR: Statement = crate::statement!("contract_as_administrator.sql");
const EXPLAIN: Statement = crate::statement!("contract_explain.sql");
const PIN: Statement = crate::statement!("contract_pin.sql");
const COLUMNS: Statement = crate::statement!("contract_columns.sql");
const COLUMN_TYPE: Statement = crate::statement!("contract_column_type.sql");

/// A column, its type, and its relation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    relation: String,
    name: String,
    type_name: String,
}

/// What a statement needs from the schema.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Facts {
    parameters: Vec<String>,
    results: Vec<(String, String)>,
    columns: Vec<Column>,
}

/// Why a statement is broken, if it is. Also reports statements that were already broken before.
pub(super) async fn reasons(
    client: &Client,
    before: Result<Facts, String>,
    after: Result<Facts, String>,
) -> Result<Vec<String>, Error> {
    let (before, after) = match (before, after) {
        (_, Err(reason)) => return Ok(vec![reason]),
        (Err(_), Ok(_)) => return Ok(Vec::new()),
        (Ok(before), Ok(after)) => (before, after),
    };
    let mut reasons = Vec::new();
    for column in before.columns {
        let Column { relation, name, type_name } = &column;
        let row = client
            .query_opt(COLUMN_TYPE.sql, &[relation, name])
            .await
            .map_err(Error::statement(COLUMN_TYPE.file))?;
        match row.map(|row| row.get::<_, String>(0)) {
            None => reasons.push(format!("column {relation}.{name} no longer exists")),
            Some(now) if now != *type_name => {
                reasons.push(format!("column {relation}.{name} is now {now}, was {type_name}"));
            }
            Some(_) => {}
        }
    }
    if before.parameters != after.parameters {
        reasons.push(format!("now takes {:?}, took {:?}", after.parameters, before.parameters));
    }
    if before.results != after.results {
        reasons.push(format!("now returns {:?}, returned {:?}", after.results, before.results));
    }
    Ok(reasons)
}

/// Prepares, explains and pins a statement in a transaction that is rolled back. The inner error says why Postgres rejects
/// the statement.
pub(super) async fn facts(client: &Client, role: &str, text: &str) -> Result<Result<Facts, String>, Error> {
    let begin: String =
        client.query_one(BEGIN_AS.sql, &[&role]).await.map_err(Error::statement(BEGIN_AS.file))?.get(0);
    client.batch_execute(&begin).await.map_err(Error::statement(BEGIN_AS.file))?;
    let facts = refusable_facts(client, text).await;
    client.batch_execute(END.sql).await.map_err(Error::statement(END.file))?;
    match facts {
        Ok(facts) => Ok(Ok(facts)),
        Err(error) => match error.as_db_error() {
            Some(refusal) => Ok(Err(format!("{} ({})", refusal.message(), refusal.code().code()))),
            None => Err(Error::statement(EXPLAIN.file)(error)),
        },
    }
}

async fn refusable_facts(client: &Client, text: &str) -> Result<Facts, tokio_postgres::Error> {
    let prepared = client.prepare(text).await?;
    let parameters: Vec<String> = prepared.params().iter().map(type_name).collect();
    let results = prepared
        .columns()
        .iter()
        .map(|column| (column.name().to_owned(), type_name(column.type_())))
        .collect();

    // Under the role: Postgres checks privileges when it plans a statement.
    let name = format!("contract_statement_{:016x}", rand::random::<u64>());
    let explain: String = client.query_one(EXPLAIN.sql, &[&text, &parameters, &name]).await?.get(0);
    client.batch_execute(&explain).await?;

    // As the administrator: read what the statement depends on.
    client.batch_execute(AS_ADMINISTRATOR.sql).await?;
    let pin: String = client.query_one(PIN.sql, &[&text, &parameters]).await?.get(0);
    client.batch_execute(&pin).await?;
    let column = |row: &tokio_postgres::Row| Column {
        relation: row.get("relation"),
        name: row.get("name"),
        type_name: row.get("type_name"),
    };
    let columns = client.query(COLUMNS.sql, &[]).await?.iter().map(column).collect();
    Ok(Facts { parameters, results, columns })
}

/// The type's name in SQL. The catalog's name of an array type starts with an underscore.
fn type_name(of: &tokio_postgres::types::Type) -> String {
    match of.name().strip_prefix('_') {
        Some(element) => format!("{element}[]"),
        None => of.name().to_owned(),
    }
}
