//! Whether a service's role still reaches the database: by Postgres's own catalogs, before and after the pending
//! migrations.

use tokio_postgres::Client;

use super::Contract;
use crate::{Error, Statement};

const ACCESS: Statement = crate::statement!("contract_access.sql");

/// What a role needs to reach the database, apart from privileges on its tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    logs_in: bool,
    expired: bool,
    no_connections: bool,
    connects: bool,
    groups: Vec<String>,
    settings: Vec<String>,
}

impl Access {
    /// Reads it; nothing where there is no such role.
    pub(super) async fn read(client: &Client, role: &str) -> Result<Option<Self>, Error> {
        let row = client.query_opt(ACCESS.sql, &[&role]).await.map_err(Error::statement(ACCESS.file))?;
        Ok(row.map(|row| Self {
            logs_in: row.get("logs_in"),
            expired: row.get("expired"),
            no_connections: row.get("no_connections"),
            connects: row.get("connects"),
            groups: row.get("groups"),
            settings: row.get("settings"),
        }))
    }

    pub(super) fn is_member_of(&self, group: &str) -> bool {
        self.groups.iter().any(|of| of == group)
    }

    /// What the role has lost since, for the service of this contract.
    pub(super) fn lost(&self, now: &Self, contract: &Contract, all: &[Contract]) -> Vec<String> {
        let mut lost = Vec::new();
        let mut lose = |had: bool, has: bool, reason: &str| {
            if had && !has {
                lost.push(reason.to_owned());
            }
        };
        lose(self.logs_in, now.logs_in, "may not log in any more");
        // A role that never logs in loses nothing by these.
        let logged_in = self.logs_in;
        lose(logged_in && !self.expired, !now.expired, "has a password that is not valid any more");
        lose(logged_in && !self.no_connections, !now.no_connections, "may not hold a connection any more");
        lose(logged_in && self.connects, now.connects, "may not connect to the database any more");
        let left = self.groups.iter().filter(|group| !now.is_member_of(group));
        let left = left.filter(|group| contract.needs_membership(group, all));
        lost.extend(left.map(|group| format!("is not a member of {group} any more")));
        let set = now.settings.iter().filter(|setting| !self.settings.contains(setting));
        lost.extend(set.map(|setting| format!("has the setting {setting} now")));
        let name = |setting: &String| setting.split_once('=').map_or("", |(name, _)| name).to_owned();
        let reset = self.settings.iter().filter(|had| !now.settings.iter().any(|has| name(has) == name(had)));
        lost.extend(reset.map(|setting| format!("has not the setting {setting} any more")));
        lost
    }
}

impl Contract {
    /// Whether losing this membership is this contract's loss: it is that of the contracts which name the group, and of
    /// every contract of the role where none does.
    fn needs_membership(&self, group: &str, all: &[Self]) -> bool {
        let names = |contract: &Self| contract.role == self.role && contract.where_member_of == Some(group);
        names(self) || !all.iter().any(names)
    }
}
