//! Open-loop requests at a fixed rate: each has a due time, and its latency counts from then, however slow the answers are.

use std::net::SocketAddr;
use std::time::Duration;

use load::{Answer, Latencies, Pace, Script, Sent, Terms};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Error;

/// Number of connections.
const CONNECTIONS: u16 = 16;

/// The results of the requests.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// Successful answers per second.
    pub per_s: f64,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Maximum.
    pub max_ms: f64,
    /// Answers other than 2xx, and unanswered requests.
    pub failed: u64,
}

/// Sends requests at this rate until `stop`; `request` makes each one from its number.
pub(super) async fn run(
    target: SocketAddr,
    per_s: u32,
    request: impl Fn(u64) -> Vec<u8> + Clone + Send + 'static,
    stop: CancellationToken,
) -> Result<Latency, Error> {
    let sender = |number| {
        let request = request.clone();
        let (bytes, latencies) = (Vec::new(), Latencies::default());
        (target, Sender { request, number: u64::from(number), bytes, latencies, failed: 0 })
    };
    let terms = Terms {
        pace: Pace::Open { per_s: f64::from(per_s) },
        duration: None,
        answer_max: crate::ANSWER_MAX,
        refused_pause: Duration::ZERO,
    };
    let ran = terms.run((0..CONNECTIONS).map(sender).collect(), &stop).await?;
    let (mut all, mut failed) = (Latencies::default(), 0);
    for sender in ran.scripts {
        all.add(&sender.latencies);
        failed += sender.failed;
    }
    let ms = |share| all.quantile(share).as_secs_f64() * 1000.0;
    Ok(Latency {
        per_s: all.total() as f64 / ran.elapsed.as_secs_f64(),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        max_ms: ms(1.0),
        failed,
    })
}

struct Sender<F> {
    request: F,
    /// The number of the next request.
    number: u64,
    bytes: Vec<u8>,
    latencies: Latencies,
    failed: u64,
}

impl<F: Fn(u64) -> Vec<u8> + Send + 'static> Script for Sender<F> {
    fn next(&mut self) -> &[u8] {
        self.bytes = (self.request)(self.number);
        self.number += u64::from(CONNECTIONS);
        &self.bytes
    }

    fn record(&mut self, sent: Sent<'_>) {
        match sent.answer {
            Ok(Answer { status: 200..=299, .. }) => {
                self.latencies.record(sent.ended.saturating_duration_since(sent.due));
            }
            _ => self.failed += 1,
        }
    }

    fn unopened(&mut self) {
        self.failed += 1;
    }
}
