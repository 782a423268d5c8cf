//! A neighbour in the same database that runs heavy reports, one after the other, over two sessions.

use database::{Statement, statement};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::setting::Place;
use crate::tables::Tables;

const NEIGHBOUR: Statement = statement!("neighbour.sql");

const SESSIONS: usize = 2;
/// Number of other blogs that each blog is joined with: with 1000 blogs half a million hashes to sort.
const OTHERS: i64 = 500;

/// Runs reports until `enough`, finishes the running one, and returns the number of finished reports.
pub(super) async fn report(place: &Place, enough: CancellationToken) -> Result<u64, Error> {
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS {
        let (tables, enough) = (Tables::open(&place.database).await?, enough.clone());
        sessions.spawn(async move {
            let mut reports = 0;
            while !enough.is_cancelled() {
                tables.query_one(NEIGHBOUR, &[&OTHERS]).await?;
                reports += 1;
            }
            Ok::<_, database::Error>(reports)
        });
    }
    let mut reports = 0;
    while let Some(session) = sessions.join_next().await {
        reports += session??;
    }
    Ok(reports)
}
