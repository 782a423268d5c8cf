//! The home of the data: the server and the database to which the data belong. The mark is a row in the database itself, so
//! a dump contains it. In a restored or copied database the mark names another place, so the copy is recognized before
//! services use it.

use crate::session::Session;
use crate::{Error, Statement};

const ANY: Statement = crate::statement!("home_any.sql");
const IS_HERE: Statement = crate::statement!("home_is_here.sql");
const MARK: Statement = crate::statement!("home_mark.sql");
const LEAVE: Statement = crate::statement!("home_leave.sql");

/// The home of a database's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// There is no mark: the database is new, or a release without marks created it.
    Unmarked,
    /// In this database.
    Here,
    /// In another database, of which this is a copy; or a restore is unfinished.
    Elsewhere,
}

/// Reads the home of the connected database's data.
///
/// # Errors
/// The error from Postgres.
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

/// Makes the connected database the home of its data. The schema must be up to date.
///
/// # Errors
/// The error from Postgres.
pub async fn mark(session: &Session) -> Result<(), Error> {
    session.run(MARK.file, MARK.sql).await
}

/// Marks the data as having no home, so that an interrupted restore is noticed.
///
/// # Errors
/// The error from Postgres.
pub async fn leave(session: &Session) -> Result<(), Error> {
    session.run(LEAVE.file, LEAVE.sql).await
}
