//! Checks in Postgres's catalogs whether a service's role can still reach the database after the pending migrations.

use tokio_postgres::Client;

use super::Contract;
use crate::{Error, Statement};

const ACCESS: Statement = crate::statement!("contract_access.sql");

/// What a role needs to reach the database, except privileges on tables.
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
    /// Reads it; None if the role does not exist.
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

    /// What the role has lost since then, as far as this contract's service is concerned.
    pub(super) fn lost(&self, now: &Self, contract: &Contract, all: &[Contract]) -> Vec<String> {
        let mut lost = Vec::new();
        let mut lose = |had: bool, has: bool, reason: &str| {
            if had && !has {
                lost.push(reason.to_owned());
            }
        };
        lose(self.logs_in, now.logs_in, "may no longer log in");
        // These do not affect a role that could not log in before.
        let logged_in = self.logs_in;
        lose(logged_in && !self.expired, !now.expired, "has an expired password");
        lose(logged_in && !self.no_connections, !now.no_connections, "may no longer hold a connection");
        lose(logged_in && self.connects, now.connects, "may no longer connect to the database");
        let left = self.groups.iter().filter(|group| !now.is_member_of(group));
        let left = left.filter(|group| contract.needs_membership(group, all));
        lost.extend(left.map(|group| format!("is no longer a member of {group}")));
        let set = now.settings.iter().filter(|setting| !self.settings.contains(setting));
        lost.extend(set.map(|setting| format!("now has the setting {setting}")));
        let name = |setting: &String| setting.split_once('=').map_or("", |(name, _)| name).to_owned();
        let reset = self.settings.iter().filter(|had| !now.settings.iter().any(|has| name(has) == name(had)));
        lost.extend(reset.map(|setting| format!("no longer has the setting {setting}")));
        lost
    }
}

impl Contract {
    /// Whether losing this membership affects this contract. It affects the contracts that name the group, or all contracts
    /// of the role if none names it.
    fn needs_membership(&self, group: &str, all: &[Self]) -> bool {
        let names = |contract: &Self| contract.role == self.role && contract.where_member_of == Some(group);
        names(self) || !all.iter().any(names)
    }
}
