//! Where data are at home: on which server, in which database. The mark is a row of the database itself, and so a dump
//! carries it along. In a restored or copied database the mark names another place, which is how a copy is recognized
//! before services use it.

use crate::session::Session;
use crate::{Error, Statement};

const ANY: Statement = crate::statement!("home_any.sql");
const IS_HERE: Statement = crate::statement!("home_is_here.sql");
const MARK: Statement = crate::statement!("home_mark.sql");
const LEAVE: Statement = crate::statement!("home_leave.sql");

/// Where the data of a database are at home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// Nothing is marked: the database is new, or of a release that did not mark it.
    Unmarked,
    /// In this database.
    Here,
    /// In another one, of which this is a copy; or a restore is not finished.
    Elsewhere,
}

/// Where the data of the connected database are at home.
///
/// # Errors
/// What Postgres said.
pub async fn of(session: &Session) -> Result<Home, Error> {
    let client = &session.client;
    if !client.query_one(ANY.sql, &[]).await.map_err(Error::statement(ANY.file))?.get::<_, bool>(0) {
        return Ok(Home::Unmarked);
    }
    let row = client.query_opt(IS_HERE.sql, &[]).await.map_err(Error::statement(IS_HERE.file))?;
    Ok(match row.map(|row| row.get("is_here")) {
        None => Home::Unmarked,
        Some(true) => Home::Here,
        Some(false) => Home::Elsewhere,
    })
}

/// Makes the connected database the home of its data. The schema has to be up to date.
///
/// # Errors
/// What Postgres said.
pub async fn mark(session: &Session) -> Result<(), Error> {
    session.run(MARK.file, MARK.sql).await
}

/// Leaves the data without a home, so that a restore that is broken off is noticed.
///
/// # Errors
/// What Postgres said.
pub async fn leave(session: &Session) -> Result<(), Error> {
    session.run(LEAVE.file, LEAVE.sql).await
}
