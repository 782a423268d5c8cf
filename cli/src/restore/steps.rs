//! The steps that move a restored database past every id and token issued after its dump. Each may be repeated.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use database::{Pool, Session, Statement, statement};

use crate::account::{Account, Name, erase, look_up};
use crate::erased::{self, RecordedAccount};
use crate::terminal;

const SEQUENCES: Statement = statement!("administrator/restore_sequences.sql");
const EPOCHS: Statement = statement!("administrator/restore_epochs.sql");
const PROGRESS: Statement = statement!("administrator/restore_progress.sql");
const VACUUM: Statement = statement!("administrator/restore_vacuum.sql");

/// Skips the ids of lost rows, which tokens, queued events and links may still name.
///
/// # Errors
/// The error of Postgres, for example because a sequence has too few values left.
pub(super) async fn advance_sequences(session: &Session, margin: i64) -> anyhow::Result<()> {
    let rows = session.client.query(SEQUENCES.sql, &[&margin]).await;
    let rows = rows.map_err(database::Error::statement(SEQUENCES.file)).context("advancing the sequences")?;
    for row in rows {
        let (sequence, last_value): (String, i64) = (row.get("sequence"), row.get("last_value"));
        terminal::line(format_args!("{sequence} continues after {last_value} ({margin} ids skipped)"));
    }
    Ok(())
}

/// Revokes every token; otherwise tokens that were revoked after the dump, and tokens of lost accounts, would be valid again.
///
/// # Errors
/// The error of Postgres.
pub(super) async fn take_tokens_back(session: &Session, epochs: i32) -> anyhow::Result<()> {
    let accounts = session.client.execute(EPOCHS.sql, &[&epochs]).await;
    let accounts = accounts.map_err(database::Error::statement(EPOCHS.file)).context("revoking tokens")?;
    terminal::line(format_args!(
        "tokens of {accounts} accounts are refused from now on; users have to sign in again"
    ));
    Ok(())
}

/// Restarts the recommendations, whose progress is a transaction number that is meaningful only on the original server.
///
/// # Errors
/// The error of Postgres.
pub(super) async fn recompute_recommendations(session: &Session) -> anyhow::Result<()> {
    session.run(PROGRESS.file, PROGRESS.sql).await?;
    terminal::line("recommendations will be computed again; until then readers see those of the dump");
    Ok(())
}

/// Erases the accounts that the dump has brought back. An account that an envelope in the outbox or a parked message still
/// names is only deleted, and its id is returned.
///
/// # Errors
/// If an account could not be erased for another reason.
pub(super) async fn erase_again(
    pool: &Pool,
    record: &BTreeSet<RecordedAccount>,
    wait_max: Duration,
) -> anyhow::Result<Vec<i64>> {
    let (mut back, mut left) = (0_usize, Vec::new());
    let client = pool.get().await?;
    let ids: BTreeSet<i64> = record.iter().map(|account| account.id).collect();
    for &id in &ids {
        if let Some(Account { created_at, .. }) = look_up(&client, &Name::Id(id)).await? {
            if !erased::names(record, id, created_at) {
                terminal::note(format_args!(
                    "account {id} was created at {created_at}, and the record names an older account of this id: it is left \
                     alone"
                ));
                continue;
            }
            back += 1;
        }
        match erase::rewrite(&client, id, wait_max).await {
            Err(error) if erase::still_waits(&error) => {
                terminal::note(format_args!("account {id} is not erased yet: {error:#}"));
                left.push(id);
            }
            rewritten => rewritten?,
        }
    }
    if !ids.is_empty() {
        erase::tidy(&client).await?;
    }
    terminal::line(format_args!(
        "erased accounts: {} in the record, {back} brought back by the dump, {} erased again",
        ids.len(),
        back.saturating_sub(left.len())
    ));
    Ok(left)
}

/// Collects statistics, which the planner needs from the first request on.
///
/// # Errors
/// The error of Postgres.
pub(super) async fn vacuum(session: &Session) -> anyhow::Result<()> {
    session.run(VACUUM.file, VACUUM.sql).await?;
    terminal::line("statistics are collected");
    Ok(())
}
