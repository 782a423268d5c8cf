//! Takes over databases that were migrated before the migrations were squashed. A database at the last old migration has the
//! schema that the squashed migrations create. If a comparison confirms that, its history is rewritten and its comments are
//! replaced; nothing else changes.

use refinery::Migration;
use tokio_postgres::{Client, Config, GenericClient, Transaction};

use super::{ANY, apply_to};
use crate::session::Session;
use crate::{Error, Statement, TransactionStep, scratch, transaction};

const HISTORY: Statement = crate::statement!("migrations_history.sql");
const LOCK: Statement = crate::statement!("migrations_history_lock.sql");
const CLEAR: Statement = crate::statement!("migrations_history_clear.sql");
const INSERT: Statement = crate::statement!("migrations_history_insert.sql");
const PATH: Statement = crate::statement!("schema_path.sql");
const LINES: Statement = crate::statement!("schema_lines.sql");
const COMMENTS: Statement = crate::statement!("schema_comments.sql");

/// The last version of the squashed migrations.
pub(super) const SQUASHED: i32 = 12;
/// The name of the first old migration. The first squashed migration has a different name.
const FIRST_OLD: &str = "schemas";
/// The last old migration.
const LAST_OLD: (i32, &str) = (43, "exports");
const SCRATCH: &str = "commonplace_squashed";

/// Which migrations a history consists of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    /// Migrations of this build up to a version; 0 if none was applied.
    Squashed(i32),
    /// All of the old migrations.
    LastOld,
    /// The old migrations up to this one.
    Older(String),
}

/// A row of the history that refinery writes.
#[derive(Debug, Clone)]
struct Applied {
    version: i32,
    name: String,
    applied_on: Option<String>,
    checksum: Option<String>,
}

/// The schema, comments and history of a database that the squashed migrations created.
struct Squashed {
    lines: Vec<String>,
    comments: Vec<String>,
    history: Vec<Applied>,
}

/// Determines which migrations the history of a database consists of.
pub(super) async fn numbering<C: GenericClient + Sync>(client: &C) -> Result<Numbering, Error> {
    let any = client.query_one(ANY.sql, &[]).await.map_err(Error::statement(ANY.file))?;
    let history = if any.get::<_, bool>(0) { history(client).await? } else { Vec::new() };
    let applied = history.into_iter().map(|applied| (applied.version, applied.name));
    Ok(numbering_of(&applied.collect::<Vec<_>>()))
}

fn numbering_of(history: &[(i32, String)]) -> Numbering {
    let is_old = history.iter().any(|(version, name)| *version == 1 && name == FIRST_OLD);
    match history.last() {
        None => Numbering::Squashed(0),
        Some((version, _)) if !is_old => Numbering::Squashed(*version),
        Some((version, name)) if (*version, name.as_str()) == LAST_OLD => Numbering::LastOld,
        Some((version, name)) => Numbering::Older(format!("V{version}__{name}")),
    }
}

/// Rewrites the history if it is a complete old one. Returns whether it did.
///
/// # Errors
/// [`Error::OldHistory`] if the old history is incomplete; [`Error::SchemaDiffers`] if the schema is not the one that the
/// migrations created. Neither changes anything.
pub(super) async fn run(
    session: &mut Session,
    administrator: &Config,
    migrations: &[Migration],
) -> Result<bool, Error> {
    match numbering(&session.client).await? {
        Numbering::Squashed(_) => return Ok(false),
        Numbering::Older(newest) => return Err(Error::OldHistory { newest }),
        Numbering::LastOld => {}
    }
    let squashed = squashed(&session.client, administrator, migrations).await?;
    let transaction =
        session.client.transaction().await.map_err(Error::transaction(TransactionStep::Begin))?;
    rewrite(&transaction, &squashed).await?;
    transaction::commit_own(transaction).await?;
    Ok(true)
}

async fn rewrite(transaction: &Transaction<'_>, squashed: &Squashed) -> Result<(), Error> {
    transaction.batch_execute(LOCK.sql).await.map_err(Error::statement(LOCK.file))?;
    let differences = differences(&squashed.lines, &lines(transaction).await?);
    if !differences.is_empty() {
        return Err(Error::SchemaDiffers(differences));
    }
    for comment in &squashed.comments {
        transaction.batch_execute(comment).await.map_err(Error::statement(COMMENTS.file))?;
    }
    transaction.execute(CLEAR.sql, &[]).await.map_err(Error::statement(CLEAR.file))?;
    let history = &squashed.history;
    let versions: Vec<i32> = history.iter().map(|applied| applied.version).collect();
    let names: Vec<&str> = history.iter().map(|applied| applied.name.as_str()).collect();
    let times: Vec<Option<&str>> = history.iter().map(|applied| applied.applied_on.as_deref()).collect();
    let checksums: Vec<Option<&str>> = history.iter().map(|applied| applied.checksum.as_deref()).collect();
    let inserted = transaction.execute(INSERT.sql, &[&versions, &names, &times, &checksums]).await;
    inserted.map_err(Error::statement(INSERT.file))?;
    Ok(())
}

/// Applies the squashed migrations to a scratch database on the same server and reads it.
async fn squashed(
    client: &Client,
    administrator: &Config,
    migrations: &[Migration],
) -> Result<Squashed, Error> {
    let name = scratch::create(client, SCRATCH).await?;
    let mut config = administrator.clone();
    config.dbname(&name);
    let read = read(&config, migrations).await;
    scratch::drop(client, &name).await.and(read)
}

async fn read(scratch: &Config, migrations: &[Migration]) -> Result<Squashed, Error> {
    let mut session = Session::open(scratch).await?;
    apply_to(&mut session, migrations, Some(SQUASHED)).await?;
    let history = history(&session.client).await?;
    let comments = session.client.query(COMMENTS.sql, &[]).await.map_err(Error::statement(COMMENTS.file))?;
    let comments = comments.iter().map(|row| row.get("text")).collect();
    let transaction = session.read_only().await?;
    Ok(Squashed { lines: lines(&transaction).await?, comments, history })
}

async fn history<C: GenericClient + Sync>(client: &C) -> Result<Vec<Applied>, Error> {
    let rows = client.query(HISTORY.sql, &[]).await.map_err(Error::statement(HISTORY.file))?;
    let applied = rows.iter().map(|row| Applied {
        version: row.get("version"),
        name: row.get("name"),
        applied_on: row.get("applied_on"),
        checksum: row.get("checksum"),
    });
    Ok(applied.collect())
}

async fn lines(transaction: &Transaction<'_>) -> Result<Vec<String>, Error> {
    transaction.batch_execute(PATH.sql).await.map_err(Error::statement(PATH.file))?;
    let rows = transaction.query(LINES.sql, &[]).await.map_err(Error::statement(LINES.file))?;
    Ok(rows.iter().map(|row| row.get("line")).collect())
}

/// The missing and the unexpected lines, one sentence each.
fn differences(wanted: &[String], found: &[String]) -> Vec<String> {
    let missing = wanted.iter().filter(|line| !found.contains(line)).map(|line| format!("missing: {line}"));
    let unexpected =
        found.iter().filter(|line| !wanted.contains(line)).map(|line| format!("unexpected: {line}"));
    missing.chain(unexpected).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(history: &[(i32, &str)]) -> Numbering {
        numbering_of(
            &history.iter().map(|(version, name)| (*version, (*name).to_owned())).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn history_tells_old_numbers_from_squashed_ones() {
        assert_eq!(of(&[]), Numbering::Squashed(0));
        assert_eq!(of(&[(1, "owners"), (2, "days")]), Numbering::Squashed(2));
        assert_eq!(of(&[(1, "schemas"), (42, "deleted_accounts"), (43, "exports")]), Numbering::LastOld);
        assert_eq!(
            of(&[(1, "schemas"), (2, "accounts_and_blogs")]),
            Numbering::Older("V2__accounts_and_blogs".to_owned())
        );
        // Future migrations of this build will have the same numbers as old ones.
        assert_eq!(of(&[(1, "owners"), (43, "exports")]), Numbering::Squashed(43));
    }

    #[test]
    fn squashed_migrations_are_numbered_without_gaps() {
        let migrations = super::super::embedded();
        let mut versions: Vec<i32> = migrations.iter().map(Migration::version).collect();
        versions.sort_unstable();
        assert_eq!(versions, (1..=i32::try_from(versions.len()).unwrap()).collect::<Vec<_>>());
        assert!(versions.contains(&SQUASHED));
        assert!(migrations.iter().any(|migration| migration.version() == 1 && migration.name() != FIRST_OLD));
    }

    #[test]
    fn differences_name_both_sides() {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(differences(&lines(&["a", "b"]), &lines(&["a", "b"])), Vec::<String>::new());
        assert_eq!(differences(&lines(&["a", "b"]), &lines(&["b", "c"])), ["missing: a", "unexpected: c"]);
    }
}
