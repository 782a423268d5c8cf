//! Checks the statements of the services against a pending schema change.
//!
//! A service's `sql/` folder is its contract with the owners of the tables. The check builds the deployed schema, then
//! applies the pending migrations. Before and after, it prepares and explains each statement under the service's own role.
//! PREPARE detects missing objects and types that do not match; only EXPLAIN detects a missing privilege. A column of a new
//! type passes both if an implicit cast exists, so the check also reads from Postgres which columns a statement uses: it
//! stores the statement as the body of a function that is never called, and `pg_depend` lists the columns. It also compares
//! what each role needs to log in.
//!
//! Migrations may contain commands on roles and settings, which belong to the whole server and would stay. [`check`]
//! therefore works in a temporary cluster. [`check_on_server`] works in a scratch database of a shared server: it refuses
//! such commands before it runs anything, and compares the state of the whole server before and after.

mod access;
mod change;
mod facts;
mod lexer;
mod refusal;
mod rehearsal;
mod server;

use include_dir::Dir;
use tokio_postgres::{Client, Config};

use self::access::Access;
pub use self::change::Change;
use self::facts::{Facts, facts, reasons};
pub use self::refusal::{Effect, Refusal};
use crate::migrations::{self, Grants, Schema};
use crate::session::Session;
use crate::{Error, scratch};

const SCRATCH: &str = "commonplace_contract";
const NO_ROLE: &str = "does not exist";

/// The statements that one service sends under one role.
#[derive(Debug, Clone, Copy)]
pub struct Contract {
    /// The service.
    pub service: &'static str,
    /// Its role.
    pub role: &'static str,
    /// Its files.
    pub sql: &'static Dir<'static>,
    /// The service sends the statements only if its role is a member of this one.
    pub where_member_of: Option<&'static str>,
}

/// The part of a service that breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The role it connects as.
    Role(&'static str),
    /// A statement, by its file.
    Statement(String),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Role(role) => write!(f, "role {role}"),
            Self::Statement(file) => f.write_str(file),
        }
    }
}

/// One statement or role that the pending migrations break.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breakage {
    /// The service it belongs to.
    pub service: &'static str,
    /// The statement or role.
    pub part: Part,
    /// Why the statement fails or changes its meaning, or what the role loses.
    pub reason: String,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The pending migrations.
    pub pending: Vec<String>,
    /// The statements checked, as service and file.
    pub checked: Vec<(&'static str, String)>,
    /// Services whose statements were skipped, and why.
    pub left_out: Vec<(&'static str, String)>,
    /// Everything that would break.
    pub broken: Vec<Breakage>,
}

/// Where the migrations run, which determines how they are applied.
#[derive(Debug, Clone, Copy)]
enum Ground {
    Private,
    Server,
}

impl Ground {
    async fn apply(
        self,
        database: &Config,
        schema: &Schema,
        up_to: Option<i32>,
    ) -> Result<Vec<String>, Error> {
        match self {
            Self::Private => migrations::apply(database, &schema.migrations, up_to).await,
            Self::Server => rehearsal::apply(database, &schema.migrations, up_to).await,
        }
    }
}

/// Checks contracts against migrations. Those up to version `deployed` are in force, the others pending. Needs an empty
/// database in a cluster that nothing else uses and that has the roles ([`crate::bootstrap`]), because the migrations run
/// without restrictions.
///
/// # Errors
/// A migration fails.
pub async fn check(
    database: &Config,
    contracts: &[Contract],
    schema: &Schema,
    deployed: i32,
) -> Result<Report, Error> {
    judge(database, Ground::Private, contracts, schema, deployed).await
}

/// Like [`check`], but in a scratch database on a shared server that has the roles.
///
/// # Errors
/// [`Error::Refused`], before anything runs, if a migration contains commands that act on the whole server or control its
/// transaction. [`Error::ChangesServer`] or [`Error::ServerChanged`] if the server's state changed. Otherwise: the scratch
/// database could not be created, or a migration failed.
pub async fn check_on_server(
    administrator: &Config,
    contracts: &[Contract],
    schema: &Schema,
    deployed: i32,
) -> Result<Report, Error> {
    let refused = refusal::refusals(schema.files());
    if !refused.is_empty() {
        return Err(Error::Refused(refused));
    }
    let outer = Session::open(administrator).await?;
    let before = server::State::read(&outer.client).await?;
    let name = scratch::create(&outer.client, SCRATCH).await?;
    let mut database = administrator.clone();
    database.dbname(&name);
    let checked = judge(&database, Ground::Server, contracts, schema, deployed).await;
    let dropped = scratch::drop(&outer.client, &name).await;
    let changes = before.changes(&server::State::read(&outer.client).await?);
    // This matters more than the check's other findings.
    if !changes.is_empty() {
        return Err(Error::ServerChanged(changes));
    }
    dropped.and(checked)
}

/// A contract before the pending migrations.
struct Before<'a> {
    contract: &'a Contract,
    access: Option<Access>,
    /// File, text, and what the text needs or why Postgres rejects it.
    statements: Vec<(String, &'static str, Result<Facts, String>)>,
}

async fn judge(
    database: &Config,
    ground: Ground,
    contracts: &[Contract],
    schema: &Schema,
    deployed: i32,
) -> Result<Report, Error> {
    ground.apply(database, schema, Some(deployed)).await?;
    // Grants on objects of the deployed schema are in force before the pending migrations. If a pending migration revokes one,
    // services fail until `migrate` grants it again, so it counts as lost. Grants on new objects follow the migrations.
    let new_grants = grant(database, schema.grants.statements()).await?;
    let mut report = Report::default();
    let mut before = Vec::new();
    {
        let session = Session::open(database).await?;
        for contract in contracts {
            before.extend(read(&session.client, contract, &mut report).await?);
        }
    }
    report.pending = ground.apply(database, schema, None).await?;
    grant(database, new_grants).await?;
    let session = Session::open(database).await?;
    for before in before {
        let service = before.contract.service;
        let broken = broken(&session.client, before, contracts).await?;
        report.broken.extend(broken.into_iter().map(|(part, reason)| Breakage { service, part, reason }));
    }
    report.broken.sort();
    report.broken.dedup();
    Ok(report)
}

/// Applies the grants whose objects exist, and returns the others.
async fn grant(database: &Config, grants: Vec<String>) -> Result<Vec<String>, Error> {
    Grants::apply_existing(&mut Session::open(database).await?.client, grants).await
}

/// Reads a contract's present state. Returns None, with an entry in the report, if its statements are skipped.
async fn read<'a>(
    client: &Client,
    contract: &'a Contract,
    report: &mut Report,
) -> Result<Option<Before<'a>>, Error> {
    let access = Access::read(client, contract.role).await?;
    let is_member = |group| access.as_ref().is_some_and(|access| access.is_member_of(group));
    if let Some(group) = contract.where_member_of.filter(|group| !is_member(group)) {
        let reason = format!("{} is not a member of {group}", contract.role);
        report.left_out.push((contract.service, reason));
        return Ok(None);
    }
    let mut statements = Vec::new();
    for file in contract.sql.files() {
        let name = file.path().display().to_string();
        let text = file.contents_utf8().unwrap_or_default();
        let facts = match access {
            Some(_) => facts(client, contract.role, text).await?,
            None => Err(NO_ROLE.to_owned()),
        };
        report.checked.push((contract.service, name.clone()));
        statements.push((name, text, facts));
    }
    Ok(Some(Before { contract, access, statements }))
}

/// The parts of the contract that break now, and why.
async fn broken(
    client: &Client,
    before: Before<'_>,
    contracts: &[Contract],
) -> Result<Vec<(Part, String)>, Error> {
    let Before { contract, access, statements } = before;
    let role = Part::Role(contract.role);
    let Some(now) = Access::read(client, contract.role).await? else {
        return Ok(vec![(role, NO_ROLE.to_owned())]);
    };
    let lost = access.iter().flat_map(|access| access.lost(&now, contract, contracts));
    let mut broken: Vec<_> = lost.map(|reason| (role.clone(), reason)).collect();
    for (file, text, before) in statements {
        let after = facts(client, contract.role, text).await?;
        let reasons = reasons(client, before, after).await?;
        broken.extend(reasons.into_iter().map(|reason| (Part::Statement(file.clone()), reason)));
    }
    Ok(broken)
}
