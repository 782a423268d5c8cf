//! Waiting in tests.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How long a test waits for what it expects. Generous: two cores run all tests at once.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until the condition is true. Returns false when the deadline passes.
pub async fn wait_until(mut is_so: impl AsyncFnMut() -> bool) -> bool {
    let asked = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if is_so().await {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.is_ok()
}

/// If midnight (UTC) is near, waits until it has passed: for tests whose events must fall on one day, because of visitors'
/// numbers or the longest window.
pub async fn away_from_midnight() {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let midnight = now.date().tomorrow().unwrap().to_zoned(TimeZone::UTC).unwrap();
    let left = midnight.timestamp().duration_since(now.timestamp()).unsigned_abs();
    if left < 2 * DEADLINE {
        tokio::time::sleep_until(tokio::time::Instant::now() + left).await;
    }
}
