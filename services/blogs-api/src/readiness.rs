//! The readiness check. The API is ready while the broker or the database works, since either can store what is
//! accepted. It is not ready while its clock is known to be wrong ([`ClockCheck`]). A database that responds but cannot
//! store anything (read-only, full, locked) counts as not working.

use std::time::Duration;

use broker::State;
use database::Pool;
use runtime::health::{Health, ReadyRule};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clock_check::ClockCheck;
use crate::outbox::Outbox;

const EVERY: Duration = Duration::from_secs(2);
/// The pause before the comparison that confirms a clock skew.
const CONFIRM_AFTER: Duration = Duration::from_millis(200);

const ENDED: &str = "the publisher has ended";
const BROKER: &str = "broker";
const DATABASE: &str = "database";

/// One of the two is enough.
pub(crate) const RULE: ReadyRule = ReadyRule::AnyOf(&[BROKER, DATABASE]);

/// Checks the database every two seconds, and the broker also whenever its state changes, until `shutdown`.
pub(crate) async fn watch(
    health: Health,
    pool: Pool,
    outbox: Outbox,
    clock: ClockCheck,
    mut broker: watch::Receiver<State>,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            // An error means that the publisher has ended; the ticks continue and report it.
            Ok(()) = broker.changed() => {}
            _ = ticks.tick() => {
                let compared = clock.compare(&pool).await.map_err(|error| error.to_string());
                if compared == Ok(true) {
                    ticks.reset_after(CONFIRM_AFTER);
                }
                // A failed spill counts for one check only. While nothing is spilled, no spill can show that the database
                // has recovered, so the database is trusted again.
                let trouble = outbox.take_trouble().map_or(Ok(()), Err);
                health.report(DATABASE, compared.map(drop).and(clock.verdict()).and(trouble));
            }
        }
        let ended = broker.has_changed().is_err();
        let state = if ended { Err(ENDED.to_owned()) } else { works(&broker.borrow_and_update()) };
        health.report(BROKER, state.and(clock.verdict()));
    }
}

fn works(state: &State) -> Result<(), String> {
    match state {
        State::Connected => Ok(()),
        State::Blocked(reason) => Err(format!("blocked: {reason}")),
        State::Disconnected(reason) => Err(reason.clone()),
    }
}
