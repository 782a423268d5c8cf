//! What `/readyz` says: ready while the broker or the database works, since either can take a promise, and
//! not while this machine's clock and the database's are far apart: days, windows and versions come from both.
//! A database that answers and yet keeps nothing (read only, full, locked) does not work.

use std::time::Duration;

use broker::State;
use database::Pool;
use jiff::SignedDuration;
use runtime::health::{Health, ReadyRule};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;

const EVERY: Duration = Duration::from_secs(2);
const ANSWER_MAX: Duration = Duration::from_secs(3);
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(5);

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
                let database = look(&pool).await;
                skewed = database.as_ref().ok().and_then(|skew| out_of_step(*skew));
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

async fn look(pool: &Pool) -> Result<SignedDuration, String> {
    match timeout(ANSWER_MAX, database::clock_skew(pool)).await {
        Ok(Ok(skew)) => Ok(skew),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn works(state: &State) -> Result<(), String> {
    match state {
        State::Connected => Ok(()),
        State::Blocked(reason) => Err(format!("blocked: {reason}")),
        State::Disconnected(reason) => Err(reason.clone()),
    }
}

fn out_of_step(skew: SignedDuration) -> Option<String> {
    (skew.abs() > SKEW_MAX)
        .then(|| format!("this clock and the database's are {} s apart", skew.abs().as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_off_by_five_seconds() {
        assert_eq!(out_of_step(SignedDuration::from_secs(-5)), None);
        assert!(out_of_step(SignedDuration::from_secs(-7)).unwrap().contains("7 s apart"));
    }
}
