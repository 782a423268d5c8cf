//! The rights of services and operators: `migrations/grants.sql`, applied after the migrations.

use std::path::Path;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::{Error, TransactionStep, transaction};

const EMBEDDED: &str = include_str!("../../../../migrations/grants.sql");
const FILE: &str = "grants.sql";

/// The text of a `grants.sql`: GRANT statements, and comments on separate lines. It contains no quoted text.
#[derive(Debug, Clone)]
pub struct Grants(String);

impl Grants {
    /// The grants of this build.
    pub(crate) fn embedded() -> Self {
        Self(EMBEDDED.to_owned())
    }

    /// The grants in a folder of migrations.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, Error> {
        let file = folder.join(FILE);
        let text = std::fs::read_to_string(&file);
        text.map(Self).map_err(|error| Error::Settings(format!("cannot read {}: {error}", file.display())))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Applies all grants in one transaction.
    pub(crate) async fn apply(&self, client: &mut Client) -> Result<(), Error> {
        let transaction = client.transaction().await.map_err(Error::transaction(TransactionStep::Begin))?;
        transaction.batch_execute(&self.0).await.map_err(Error::statement(FILE))?;
        transaction::commit_own(transaction).await
    }

    /// Runs the statements whose objects exist, and returns the others.
    pub(crate) async fn apply_existing(
        client: &mut Client,
        statements: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let mut transaction =
            client.transaction().await.map_err(Error::transaction(TransactionStep::Begin))?;
        let mut left = Vec::new();
        for statement in statements {
            if !transaction::run_unless(&mut transaction, FILE, &statement, &MISSING).await? {
                left.push(statement);
            }
        }
        transaction::commit_own(transaction).await?;
        Ok(left)
    }

    /// Each GRANT as a separate statement.
    pub(crate) fn statements(&self) -> Vec<String> {
        let lines = self.0.lines().filter(|line| !line.trim_start().starts_with("--"));
        let code = lines.collect::<Vec<_>>().join("\n");
        code.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
    }
}

const MISSING: [SqlState; 5] = [
    SqlState::UNDEFINED_TABLE,
    SqlState::UNDEFINED_COLUMN,
    SqlState::UNDEFINED_FUNCTION,
    SqlState::UNDEFINED_OBJECT,
    SqlState::INVALID_SCHEMA_NAME,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_contains_only_grants_to_login_roles_and_groups() {
        let statements = Grants::embedded().statements();
        assert!(statements.len() > 50, "{}", statements.len());
        for statement in statements {
            assert!(statement.starts_with("grant "), "{statement}");
            let grantee = statement.rsplit_once(" to ").map(|(_, grantee)| grantee.trim());
            assert!(grantee.is_some_and(|role| !role.ends_with("_owner")), "{statement}");
        }
    }
}
