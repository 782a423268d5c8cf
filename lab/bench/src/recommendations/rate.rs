//! Requests at a given rate, whatever the answers do: each has a moment at which it is due, and its time counts from there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::connection::Connection;

/// Connections that the requests are shared by.
const CONNECTIONS: u32 = 16;
const LONGEST_US: u64 = 60_000_000;

/// What became of the requests.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// Good answers in a second.
    pub per_s: f64,
    /// Half were answered within this, in milliseconds.
    pub p50_ms: f64,
    /// All but a hundredth.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Answers that were not 2xx, and requests without one.
    pub failed: u64,
}

/// So many requests a second until `stop`, each made by `request` from its number.
pub(super) async fn run(
    target: SocketAddr,
    per_s: u32,
    request: impl Fn(u64) -> Vec<u8> + Clone + Send + 'static,
    stop: CancellationToken,
) -> Result<Latency, Error> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for first in 0..CONNECTIONS {
        let (request, stop) = (request.clone(), stop.clone());
        tasks.spawn(async move {
            let mut taken = histogram();
            let (mut failed, mut connection) = (0_u64, None);
            for number in (u64::from(first)..).step_by(16) {
                let due = began + Duration::from_secs_f64(number as f64 / f64::from(per_s));
                if stop.run_until_cancelled(tokio::time::sleep_until(due.into())).await.is_none() {
                    break;
                }
                let bytes = request(number);
                let answered = exchange(&mut connection, target, &bytes).await;
                match answered {
                    Ok(200..=299) => {
                        let us = u64::try_from(due.elapsed().as_micros()).unwrap_or(LONGEST_US);
                        taken.saturating_record(us);
                    }
                    _ => {
                        failed += 1;
                        connection = None;
                    }
                }
            }
            (taken, failed)
        });
    }
    let (mut all, mut failed) = (histogram(), 0);
    while let Some(ended) = tasks.join_next().await {
        let (taken, some) = ended?;
        if all.add(&taken).is_err() {
            unreachable!("all histograms have the same bounds");
        }
        failed += some;
    }
    let ms = |quantile| all.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Latency {
        per_s: all.len() as f64 / began.elapsed().as_secs_f64(),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        max_ms: ms(1.0),
        failed,
    })
}

async fn exchange(
    connection: &mut Option<Connection>,
    target: SocketAddr,
    request: &[u8],
) -> Result<u16, Error> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(target).await?),
    };
    Ok(open.exchange(request).await?.status)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3)
        .unwrap_or_else(|_| unreachable!("the bounds are constants, and good"))
}
