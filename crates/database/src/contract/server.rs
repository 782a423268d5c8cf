//! The state of a whole server, read before and after a migration runs: roles, memberships, settings, databases and
//! tablespaces.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::change::Change;
use crate::{Error, Statement};

const MAY_SEE: Statement = crate::statement!("contract_server_may_see.sql");
const STATE: Statement = crate::statement!("contract_server_state.sql");
const FILES: Statement = crate::statement!("contract_server_files.sql");
const PASSWORDS: Statement = crate::statement!("contract_server_passwords.sql");

/// The state of a server, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State(BTreeMap<String, String>);

impl State {
    /// Reads everything that the connected role may read.
    pub(super) async fn read(client: &Client) -> Result<Self, Error> {
        let may_see = client.query_one(MAY_SEE.sql, &[]).await.map_err(Error::statement(MAY_SEE.file))?;
        let mut statements = vec![STATE];
        statements.extend(may_see.get::<_, bool>("files").then_some(FILES));
        statements.extend(may_see.get::<_, bool>("passwords").then_some(PASSWORDS));
        let mut lines = BTreeMap::new();
        for statement in statements {
            let rows = client.query(statement.sql, &[]).await.map_err(Error::statement(statement.file))?;
            lines.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
        }
        Ok(Self(lines))
    }

    /// The differences between this state and a later one.
    pub(super) fn changes(&self, now: &Self) -> Vec<Change> {
        let added = now.0.keys().filter(|line| !self.0.contains_key(*line));
        let differs = |line: &&String| self.0.get(*line) != now.0.get(*line);
        let of = |line: &String| Change {
            line: line.clone(),
            was: self.0.get(line).cloned(),
            is: now.0.get(line).cloned(),
        };
        self.0.keys().chain(added).filter(differs).map(of).collect()
    }
}
