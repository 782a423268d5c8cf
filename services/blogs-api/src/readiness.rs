//! What `/readyz` says: ready while the broker or the database works, since either can take a promise, and
//! not while this machine's clock and the database's are far apart: days, windows and versions come from both.
//! A database that answers and yet keeps nothing (read only, full, locked) does not work.

use std::time::Duration;

use broker::State;
use database::Pool;
use runtime::health::{Health, ReadyRule};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;

const EVERY: Duration = Duration::from_secs(2);
const SKEW_MAX: Duration = Duration::from_secs(5);

const ENDED: &str = "the publisher has ended";
const BROKER: &str = "broker";
const DATABASE: &str = "database";

/// Either promise path will do.
pub(crate) const RULE: ReadyRule = ReadyRule::AnyOf(&[BROKER, DATABASE]);

/// Looks at the database every two seconds and at the broker also whenever its state changes, until `shutdown`.
pub(crate) async fn watch(
    health: Health,
    pool: Pool,
    outbox: Outbox,
    mut broker: watch::Receiver<State>,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut skewed = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            // An error means that the publisher has ended: then the ticks go on alone, and say so.
            Ok(()) = broker.changed() => {}
            _ = ticks.tick() => {
                let database = database::clock_skew(&pool).await.map_err(|error| error.to_string());
                skewed = database.as_ref().ok().and_then(|skew| database::in_step(*skew, SKEW_MAX).err());
                // Asked once: while nothing is spilled the database is believed again, or nobody would ever
                // come to find out that it has recovered.
                let trouble = skewed.clone().or(outbox.take_trouble());
                health.report(DATABASE, database.map(drop).and(trouble.map_or(Ok(()), Err)));
            }
        }
        let ended = broker.has_changed().is_err();
        let state = if ended { Err(ENDED.to_owned()) } else { works(&broker.borrow_and_update()) };
        health.report(BROKER, state.and(skewed.clone().map_or(Ok(()), Err)));
    }
}

fn works(state: &State) -> Result<(), String> {
    match state {
        State::Connected => Ok(()),
        State::Blocked(reason) => Err(format!("blocked: {reason}")),
        State::Disconnected(reason) => Err(reason.clone()),
    }
}
