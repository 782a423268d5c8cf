//! The statements of the services against a schema that is about to change.
//!
//! A service's `sql/` folder is its contract with the owners of the tables. The check builds the schema twice: as it
//! is, then with the pending migrations. Before and after, each statement is prepared and explained under the
//! service's own role. Preparing finds what is gone and what no longer fits; only explaining finds a missing
//! privilege (`PREPARE` does not look at privileges). A retyped column passes both when a cast can bridge it, so the
//! columns that a statement depends on are read from Postgres itself: the statement is stored as the body of a
//! function that is never called, and `pg_depend` then names its columns. What each role needs to log in at all is
//! compared as well.
//!
//! Migrations may contain commands on roles and settings, which belong to the whole server and would stay. So
//! [`check`] works in a cluster that was made for it and is thrown away. [`check_on_server`] works in a scratch
//! database of a server that others use: it refuses such commands before it runs anything, and compares what belongs
//! to the server before and after.

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
    /// The statements are only sent where the role is a member of this one.
    pub where_member_of: Option<&'static str>,
}

/// What of a service breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The role that it connects as.
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
    /// Whose it is.
    pub service: &'static str,
    /// Which one.
    pub part: Part,
    /// Why the statement can no longer be sent, or no longer means the same; or what the role lost.
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

/// Where the migrations run, which says how they are applied.
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

/// Checks contracts against migrations, of which those up to version `deployed` are in force and the others
/// pending. Needs an empty database of a cluster that nothing else uses, with the roles made
/// ([`crate::bootstrap`]): the migrations may do there what they like.
///
/// # Errors
/// That a migration does not run at all.
pub async fn check(
    database: &Config,
    contracts: &[Contract],
    schema: &Schema,
    deployed: i32,
) -> Result<Report, Error> {
    judge(database, Ground::Private, contracts, schema, deployed).await
}

/// The same in a scratch database on a server that others use, with the roles made.
///
/// # Errors
/// [`Error::Refused`] before anything runs, where a migration contains commands that act on the whole server or
/// control its transaction. [`Error::ChangesServer`] and [`Error::ServerChanged`] where a change of the server shows.
/// Else that the scratch database could not be made, or that a migration does not run at all.
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
    // Worse than whatever else the check has found.
    if !changes.is_empty() {
        return Err(Error::ServerChanged(changes));
    }
    dropped.and(checked)
}

/// What a contract was before the pending migrations.
struct Before<'a> {
    contract: &'a Contract,
    access: Option<Access>,
    /// File, text, and what the text needs or why it is refused.
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
    // A grant names an object that a pending migration makes, or one that the deployed schema has. The latter are in force: what
    // the pending ones take away of them is missing until `migrate` gives it again, and services fail meanwhile.
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

/// Gives what can be given now, and returns the other grants.
async fn grant(database: &Config, grants: Vec<String>) -> Result<Vec<String>, Error> {
    Grants::apply_existing(&mut Session::open(database).await?.client, grants).await
}

/// What a contract is now; nothing where its statements are left out, which the report then says.
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

/// What of the contract breaks now, and why.
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
