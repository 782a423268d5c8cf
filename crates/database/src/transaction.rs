//! Commits transactions. Every COMMIT goes through this file, so that each failure becomes an [`Error::Commit`], which says
//! whether the transaction may have committed anyway.

#![expect(clippy::disallowed_methods, reason = "this is where transactions are committed")]

use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use crate::{Error, TransactionStep};

/// Commits a transaction of a pooled connection.
///
/// # Errors
/// [`Error::Commit`].
pub async fn commit(transaction: deadpool_postgres::Transaction<'_>) -> Result<(), Error> {
    transaction.commit().await.map_err(Error::commit)
}

/// Commits a transaction of a connection outside any pool.
pub(crate) async fn commit_own(transaction: Transaction<'_>) -> Result<(), Error> {
    transaction.commit().await.map_err(Error::commit)
}

/// Runs SQL text after a savepoint. If Postgres rejects it with one of these codes, rolls back to the savepoint and returns
/// false.
pub(crate) async fn run_unless(
    transaction: &mut Transaction<'_>,
    file: &'static str,
    text: &str,
    refusals: &[SqlState],
) -> Result<bool, Error> {
    let savepoint = transaction.transaction().await.map_err(Error::transaction(TransactionStep::Save))?;
    match savepoint.batch_execute(text).await {
        // In the driver, `commit` of a savepoint releases it.
        Ok(()) => {
            savepoint.commit().await.map_err(Error::transaction(TransactionStep::Release))?;
            Ok(true)
        }
        Err(error) if error.code().is_some_and(|code| refusals.contains(code)) => {
            savepoint.rollback().await.map_err(Error::transaction(TransactionStep::RollBackTo))?;
            Ok(false)
        }
        Err(error) => Err(Error::statement(file)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinSet;
    use tokio_postgres::{Client, Config, NoTls};

    use super::*;
    use crate::{CommitOutcome, Fault, within};

    /// What the server does when it receives one particular statement; it accepts all others.
    #[derive(Debug, Clone, Copy)]
    enum Reply {
        Error(&'static str, &'static str),
        HangUp,
        Nothing,
    }

    const LOST: Reply = Reply::HangUp;

    /// A server that speaks just enough of Postgres's protocol for transactions.
    async fn serve(mut stream: DuplexStream, statement: &'static str, reply: Reply) -> std::io::Result<()> {
        let mut startup = vec![0; usize::try_from(stream.read_i32().await?).unwrap() - 4];
        stream.read_exact(&mut startup).await?;
        stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
        loop {
            let kind = stream.read_u8().await?;
            let mut body = vec![0; usize::try_from(stream.read_i32().await?).unwrap() - 4];
            stream.read_exact(&mut body).await?;
            if kind != b'Q' {
                return Ok(());
            }
            match reply {
                _ if !body.starts_with(statement.as_bytes()) => {
                    stream.write_all(b"C\0\0\0\x09DONE\0Z\0\0\0\x05T").await?;
                }
                Reply::Error(severity, code) => {
                    let fields = format!("S{severity}\0V{severity}\0C{code}\0Mno\0\0");
                    let length = i32::try_from(fields.len()).unwrap() + 4;
                    stream.write_u8(b'E').await?;
                    stream.write_i32(length).await?;
                    stream.write_all(fields.as_bytes()).await?;
                    if severity == "FATAL" {
                        return Ok(());
                    }
                    stream.write_all(b"Z\0\0\0\x05I").await?;
                }
                Reply::HangUp => return Ok(()),
                Reply::Nothing => {}
            }
        }
    }

    /// A connection to such a server. It ends with the tasks.
    async fn connected(statement: &'static str, reply: Reply) -> (Client, JoinSet<()>) {
        let (ours, theirs) = duplex(4096);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(serve(theirs, statement, reply).await) });
        let (client, connection) = Config::new().user("test").connect_raw(ours, NoTls).await.unwrap();
        tasks.spawn(async move { drop(connection.await) });
        (client, tasks)
    }

    /// The error of a transaction whose COMMIT gets this reply.
    async fn refused(reply: Reply) -> Error {
        let (mut client, _tasks) = connected("COMMIT", reply).await;
        let transaction = client.transaction().await.unwrap();
        transaction.batch_execute("select").await.unwrap();
        commit_own(transaction).await.unwrap_err()
    }

    fn outcome(error: &Error) -> Option<CommitOutcome> {
        if let Error::Commit { outcome, .. } = error { Some(*outcome) } else { None }
    }

    #[tokio::test]
    async fn error_that_answers_commit_is_a_certain_refusal() {
        for (code, fault) in [
            ("23505", Fault::BadValue),
            ("22003", Fault::BadValue),
            ("40001", Fault::Unavailable),
            ("40P01", Fault::Unavailable),
            ("53100", Fault::Unavailable),
            ("57014", Fault::Unavailable),
            ("42501", Fault::Broken),
            ("P0001", Fault::Broken),
        ] {
            let error = refused(Reply::Error("ERROR", code)).await;
            assert_eq!(outcome(&error), Some(CommitOutcome::Refused), "{code}");
            assert_eq!((error.fault(), error.sqlstate()), (fault, Some(code)));
        }
    }

    #[tokio::test]
    async fn commit_without_an_answer_has_an_unknown_outcome() {
        for reply in [
            LOST,
            // The session ended because of a shutdown, or in a pooler between Postgres and this process.
            Reply::Error("FATAL", "57P01"),
            Reply::Error("ERROR", "08P01"),
            Reply::Error("ERROR", "08006"),
            Reply::Error("ERROR", "40003"),
            Reply::Error("ERROR", "XX000"),
        ] {
            let error = refused(reply).await;
            assert_eq!(outcome(&error), Some(CommitOutcome::Unknown), "{reply:?}");
        }
        assert!(refused(LOST).await.is_unavailable());
    }

    #[tokio::test]
    async fn commit_cut_short_by_a_limit_is_no_refusal() {
        let (mut client, _tasks) = connected("COMMIT", Reply::Nothing).await;
        let transaction = client.transaction().await.unwrap();
        let cut = within(Duration::from_millis(20), commit_own(transaction)).await;
        // `NoAnswer` means that the request may have been carried out.
        assert!(matches!(cut, Err(Error::NoAnswer(_))), "{cut:?}");
    }

    #[tokio::test]
    async fn no_other_step_of_a_transaction_is_reported_as_a_commit() {
        let unless = [SqlState::INSUFFICIENT_PRIVILEGE];
        for (statement, step) in [
            ("START", TransactionStep::Begin),
            ("SAVEPOINT", TransactionStep::Save),
            ("RELEASE", TransactionStep::Release),
        ] {
            for reply in [LOST, Reply::Error("ERROR", "40001"), Reply::Error("FATAL", "57P01")] {
                let (mut client, _tasks) = connected(statement, reply).await;
                let failed = match client.transaction().await {
                    Ok(mut transaction) => run_unless(&mut transaction, "x.sql", "select", &unless).await,
                    Err(error) => Err(Error::transaction(TransactionStep::Begin)(error)),
                };
                let failed = failed.unwrap_err();
                assert!(matches!(failed, Error::Transaction { step: at, .. } if at == step), "{failed:?}");
                assert_eq!(outcome(&failed), None);
            }
        }
        let (mut client, _tasks) = connected("ROLLBACK", LOST).await;
        let transaction = client.transaction().await.unwrap();
        let error = Error::transaction(TransactionStep::RollBack)(transaction.rollback().await.unwrap_err());
        assert_eq!(outcome(&error), None);
        let (mut client, _tasks) = connected("select", LOST).await;
        let mut transaction = client.transaction().await.unwrap();
        let error = run_unless(&mut transaction, "x.sql", "select", &unless).await.unwrap_err();
        assert!(
            matches!(error, Error::Statement { file: "x.sql", .. }) && error.is_unavailable(),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn text_refused_with_an_expected_code_leaves_the_transaction_as_it_was() {
        let expected = Reply::Error("ERROR", "42501");
        let (mut client, _tasks) = connected("alter", expected).await;
        let mut transaction = client.transaction().await.unwrap();
        let unless = [SqlState::INSUFFICIENT_PRIVILEGE];
        run_unless(&mut transaction, "x.sql", "alter", &unless).await.unwrap();
        commit_own(transaction).await.unwrap();
    }
}
