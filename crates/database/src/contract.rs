//! The statements of the services against a schema that is about to change.
//!
//! A service's `sql/` folder is its contract with the owners of the tables. The check builds the schema twice in
//! a scratch database: as it is, then with the pending migrations. Before and after, each statement is prepared
//! and explained under the service's own role. Preparing finds what is gone and what no longer fits; only
//! explaining finds a missing privilege (`PREPARE` does not look at privileges). A retyped column passes both
//! when a cast can bridge it, so the columns that a statement depends on are read from Postgres itself: the
//! statement is stored as the body of a function that is never called, and `pg_depend` then names its columns.

use include_dir::Dir;
use refinery::Migration;
use tokio_postgres::{Client, Config};

use crate::session::Session;
use crate::{Error, Statement, migrations};

const CREATE: Statement = crate::statement!("scratch_create.sql");
const DROP: Statement = crate::statement!("scratch_drop.sql");
const BEGIN_AS: Statement = crate::statement!("contract_begin_as.sql");
const END: Statement = crate::statement!("contract_end.sql");
const AS_ADMINISTRATOR: Statement = crate::statement!("contract_as_administrator.sql");
const IS_MEMBER: Statement = crate::statement!("contract_is_member.sql");
const EXPLAIN: Statement = crate::statement!("contract_explain.sql");
const PIN: Statement = crate::statement!("contract_pin.sql");
const COLUMNS: Statement = crate::statement!("contract_columns.sql");
const COLUMN_TYPE: Statement = crate::statement!("contract_column_type.sql");

/// The statements that one service sends under one role.
#[derive(Debug, Clone, Copy)]
pub struct Contract {
    /// The service.
    pub service: &'static str,
    /// Its role.
    pub role: &'static str,
    /// Its files.
    pub sql: &'static Dir<'static>,
    /// The statements are only sent where the role is a member of this one.
    pub where_member_of: Option<&'static str>,
}

/// One statement that the pending migrations break.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breakage {
    /// Whose statement.
    pub service: &'static str,
    /// Which one.
    pub file: String,
    /// Why it can no longer be sent, or no longer means the same.
    pub reason: String,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Migrations that were pending.
    pub pending: Vec<String>,
    /// Statements that were checked, as service and file.
    pub checked: Vec<(&'static str, String)>,
    /// Services whose statements were left out, and why.
    pub left_out: Vec<(&'static str, String)>,
    /// What would break.
    pub broken: Vec<Breakage>,
}

/// A column, its type, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    relation: String,
    name: String,
    type_name: String,
}

/// What a statement needs of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Facts {
    parameters: Vec<String>,
    results: Vec<(String, String)>,
    columns: Vec<Column>,
}

/// Checks contracts against migrations, of which those up to version `deployed` are in force and the others
/// pending. Needs a cluster with the roles made ([`crate::bootstrap`]); works in a scratch database of its own.
///
/// # Errors
/// That the scratch database could not be made, or that a migration does not run at all.
pub async fn check(
    administrator: &Config,
    contracts: &[Contract],
    migrations: &[Migration],
    deployed: i32,
) -> Result<Report, Error> {
    let outer = Session::open(administrator).await?;
    let name = format!("commonplace_contract_{:016x}", rand::random::<u64>());
    run_made(&outer.client, CREATE, &name).await?;
    let mut scratch = administrator.clone();
    scratch.dbname(&name);
    let checked = check_in(&scratch, contracts, migrations, deployed).await;
    run_made(&outer.client, DROP, &name).await?;
    checked
}

async fn check_in(
    scratch: &Config,
    contracts: &[Contract],
    all: &[Migration],
    deployed: i32,
) -> Result<Report, Error> {
    migrations::apply(scratch, all, Some(deployed)).await?;
    let mut before = Vec::new();
    let mut report = Report::default();
    {
        let session = Session::open(scratch).await?;
        for contract in contracts {
            if let Some(group) = contract.where_member_of
                && !is_member(&session.client, contract.role, group).await?
            {
                let reason = format!("{} is not a member of {group}", contract.role);
                report.left_out.push((contract.service, reason));
                continue;
            }
            for file in contract.sql.files() {
                let name = file.path().display().to_string();
                let text = file.contents_utf8().unwrap_or_default();
                let facts = facts(&session.client, contract.role, text).await?;
                report.checked.push((contract.service, name.clone()));
                before.push((contract, name, text, facts));
            }
        }
    }
    report.pending = migrations::apply(scratch, all, None).await?.applied;
    let session = Session::open(scratch).await?;
    for (contract, file, text, before) in before {
        let after = facts(&session.client, contract.role, text).await?;
        for reason in reasons(&session.client, before, after).await? {
            report.broken.push(Breakage { service: contract.service, file: file.clone(), reason });
        }
    }
    report.broken.sort();
    report.broken.dedup();
    Ok(report)
}

/// Why a statement is broken, if it is. What was broken before is broken still, and said.
async fn reasons(
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
            None => reasons.push(format!("column {relation}.{name} is gone")),
            Some(now) if now != *type_name => {
                reasons.push(format!("column {relation}.{name} is {now} now, it was {type_name}"));
            }
            Some(_) => {}
        }
    }
    if before.parameters != after.parameters {
        reasons.push(format!("takes {:?} now, it took {:?}", after.parameters, before.parameters));
    }
    if before.results != after.results {
        reasons.push(format!("returns {:?} now, it returned {:?}", after.results, before.results));
    }
    Ok(reasons)
}

/// Prepares, explains and pins a statement in a transaction that is rolled back. The inner error is Postgres's
/// refusal of the statement.
async fn facts(client: &Client, role: &str, text: &str) -> Result<Result<Facts, String>, Error> {
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

    // Under the role: privileges are looked at when a plan is made.
    let name = format!("contract_statement_{:016x}", rand::random::<u64>());
    let explain: String = client.query_one(EXPLAIN.sql, &[&text, &parameters, &name]).await?.get(0);
    client.batch_execute(&explain).await?;

    // As the administrator: what the statement depends on.
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

async fn is_member(client: &Client, role: &str, group: &str) -> Result<bool, Error> {
    let row =
        client.query_one(IS_MEMBER.sql, &[&role, &group]).await.map_err(Error::statement(IS_MEMBER.file))?;
    Ok(row.get(0))
}

/// Runs the statement whose text another statement makes.
async fn run_made(client: &Client, maker: Statement, name: &str) -> Result<(), Error> {
    let text: String =
        client.query_one(maker.sql, &[&name]).await.map_err(Error::statement(maker.file))?.get(0);
    client.batch_execute(&text).await.map_err(Error::statement(maker.file))
}

/// The type's name as SQL understands it: an array's own name starts with an underscore.
fn type_name(of: &tokio_postgres::types::Type) -> String {
    match of.name().strip_prefix('_') {
        Some(element) => format!("{element}[]"),
        None => of.name().to_owned(),
    }
}
