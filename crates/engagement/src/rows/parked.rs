//! The rows of `analytics.parked`: inserts them, reads them, and marks them when their events are counted.

use database::{Error, Statement, statement};
use deadpool_postgres::{GenericClient, Object, Transaction};
use events::EnvelopeId;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::prepare_all;
use crate::batch::Redriving;

pub(super) const PARKED_INSERT: Statement = statement!("parked_insert.sql");
const PARKED_WAITING: Statement = statement!("parked_waiting.sql");
const PARKED_LATE_COUNT: Statement = statement!("parked_late_count.sql");
const PARKED_ADOPT: Statement = statement!("parked_adopt.sql");
const PARKED_REDRIVEN: Statement = statement!("parked_redriven.sql");
const PARKED_REFUSED: Statement = statement!("parked_refused.sql");
const TRANSACTION_ID: Statement = statement!("transaction_id.sql");

/// A row of `parked`.
#[derive(Debug)]
pub(crate) struct Parked<'batch> {
    pub(crate) envelope_id: Uuid,
    pub(crate) index: i32,
    pub(crate) kind: Option<&'static str>,
    pub(crate) reason: String,
    pub(crate) sqlstate: Option<&'batch str>,
    pub(crate) body: Vec<u8>,
    pub(crate) traceparent: Option<&'batch str>,
    pub(crate) in_ledger: bool,
    pub(crate) attempts: i32,
    /// The event's key. The database does not forget it while the row waits.
    pub(crate) key: Option<Uuid>,
    /// The message itself is at fault.
    pub(crate) unfit: bool,
}

/// Parks events and returns the number of new rows.
pub(crate) async fn park<C: GenericClient + Sync>(client: &C, parked: &[Parked<'_>]) -> Result<u64, Error> {
    if parked.is_empty() {
        return Ok(0);
    }
    let envelopes: Vec<_> = parked.iter().map(|row| row.envelope_id).collect();
    let indexes: Vec<_> = parked.iter().map(|row| row.index).collect();
    let kinds: Vec<_> = parked.iter().map(|row| row.kind).collect();
    let reasons: Vec<_> = parked.iter().map(|row| storable(&row.reason)).collect();
    let sqlstates: Vec<_> = parked.iter().map(|row| row.sqlstate).collect();
    let bodies: Vec<_> = parked.iter().map(|row| row.body.as_slice()).collect();
    let traces: Vec<_> =
        parked.iter().map(|row| row.traceparent.map(|text| text.replace('\0', ""))).collect();
    let in_ledger: Vec<_> = parked.iter().map(|row| row.in_ledger).collect();
    let attempts: Vec<_> = parked.iter().map(|row| row.attempts).collect();
    let keys: Vec<_> = parked.iter().map(|row| row.key).collect();
    let unfit: Vec<_> = parked.iter().map(|row| row.unfit).collect();
    let parameters: [&(dyn ToSql + Sync); 11] = [
        &envelopes, &indexes, &kinds, &reasons, &sqlstates, &bodies, &traces, &in_ledger, &attempts, &keys,
        &unfit,
    ];
    PARKED_INSERT.execute(client, &parameters).await
}

/// A parked event that still waits, or a whole message if the index is negative.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) envelope_id: Uuid,
    pub(crate) index: i32,
    pub(crate) kind: Option<String>,
    pub(crate) first_seen_at: Timestamp,
    pub(crate) body: Vec<u8>,
    pub(crate) traceparent: Option<String>,
    pub(crate) in_ledger: bool,
    pub(crate) key: Option<Uuid>,
}

/// Reads a parked event if it still waits.
pub(crate) async fn waiting(
    client: &Object,
    envelope_id: Uuid,
    index: i32,
) -> Result<Option<Waiting>, Error> {
    let row = PARKED_WAITING.query_opt(client, &[&envelope_id, &index]).await?;
    Ok(row.map(|row| Waiting {
        envelope_id,
        index,
        kind: row.get("kind"),
        first_seen_at: row.get("first_seen_at"),
        body: row.get("body"),
        traceparent: row.get("traceparent"),
        in_ledger: row.get("in_ledger"),
        key: row.get("key"),
    }))
}

/// Prepares the statements that a redrive needs in addition to those of a batch.
pub(crate) async fn prepare_redrive(client: &Object) -> Result<(), Error> {
    prepare_all(client, &[TRANSACTION_ID, PARKED_REDRIVEN]).await
}

/// Assigns the transaction its id and returns its time by the database's clock.
pub(crate) async fn take_transaction_id(transaction: &Transaction<'_>) -> Result<Timestamp, Error> {
    Ok(TRANSACTION_ID.query_one(transaction, &[]).await?.get("now"))
}

/// Marks the redriven row, if there is one. Returns false if the row no longer waits unchanged.
pub(crate) async fn mark_redriven(
    transaction: &Transaction<'_>,
    redriving: Option<&Redriving>,
) -> Result<bool, Error> {
    let Some(row) = redriving else { return Ok(true) };
    let in_ledger = row.parked_as.is_some();
    Ok(PARKED_REDRIVEN.execute(transaction, &[&row.envelope_id, &row.index, &in_ledger]).await? == 1)
}

/// Records why a parked event was refused again. Returns false if it no longer waits.
pub(crate) async fn mark_refused(
    client: &Object,
    row: &Waiting,
    reason: &str,
    sqlstate: Option<&str>,
) -> Result<bool, Error> {
    let (envelope_id, index, reason) = (row.envelope_id, row.index, storable(reason));
    Ok(PARKED_REFUSED.execute(client, &[&envelope_id, &index, &reason, &sqlstate]).await? == 1)
}

/// The number of an envelope's parked events that the ledger does not hold.
pub(crate) async fn late_count(transaction: &Transaction<'_>, id: EnvelopeId) -> Result<i32, Error> {
    Ok(PARKED_LATE_COUNT.query_one(transaction, &[&id.as_uuid()]).await?.get("late"))
}

/// Marks the late events of an envelope as held by the ledger. Returns the kind of each and the time it was parked.
pub(crate) async fn adopt(
    transaction: &Transaction<'_>,
    id: EnvelopeId,
) -> Result<Vec<(Option<String>, Timestamp)>, Error> {
    let rows = PARKED_ADOPT.query(transaction, &[&id.as_uuid()]).await?;
    Ok(rows.iter().map(|row| (row.get("kind"), row.get("first_seen_at"))).collect())
}

/// Replaces NUL, which a text column cannot store. A reason may quote what a client sent.
fn storable(reason: &str) -> String {
    reason.replace('\0', "\u{fffd}")
}
