//! Messages that end workers, and releases that park everything.
//!
//! *Suspects.* A worker that dies takes with it which message killed it: all that it had fetched comes back with a
//! higher count. So the count alone sets nothing aside. An envelope that has come back a few times is taken alone, and
//! the try is committed before its body is read. Tries that end in order are forgotten; what is left are those that
//! ended with their worker, and after a few of them the envelope is parked unread.
//!
//! *The stop rule.* One bad event is parked and the rest goes on. When everything is parked, the fault is more likely
//! in the worker than in the events, and a bad release must not drain the queue. What was taken in and parked stands in
//! the tables, so that a restart does not forget it and siblings see it: then they stop consuming, stay up, and say
//! why. When the parked events have been redriven or given up, they go on.
//!
//! Only events that the worker can read and the database refuses count for that rule. An unfit event is its producer's
//! doing: it cannot be read, its time lies outside the days that can be counted, or the broker gave it up. Any number of
//! them stops no worker, unless the worker fails the `rehearsal`: then it is the worker that takes sound events for unfit.

use database::{Error, Pool, Statement, statement};
use engagement::Engagement;
use events::EnvelopeId;
use uuid::Uuid;

use crate::rehearsal;
use crate::settings::PoisonSettings;

const LEDGER_KNOWS: Statement = statement!("ledger_knows.sql");
const ATTEMPT_BEGIN: Statement = statement!("attempt_begin.sql");
const ATTEMPT_END: Statement = statement!("attempt_end.sql");
const PARKING_STATE: Statement = statement!("parking_state.sql");

/// What is to be done with a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspect {
    /// It has been applied; only its ack was lost.
    Applied,
    /// The next try is noted.
    Try,
    /// So many tries ended with their worker.
    Deadly(i32),
}

/// Looks after suspects and the stop rule.
#[derive(Debug, Clone)]
pub(crate) struct Poison {
    settings: PoisonSettings,
    pool: Pool,
    engagement: Engagement,
}

impl Poison {
    pub(crate) fn new(settings: PoisonSettings, pool: Pool, engagement: Engagement) -> Self {
        Self { settings, pool, engagement }
    }

    /// Notes that a suspect is about to be tried, unless it must not be. Whoever does not hear the answer asks again with
    /// the same number, or one worker that lives would count for several that died.
    pub(crate) async fn begin(&self, id: EnvelopeId, number: Uuid) -> Result<Suspect, Error> {
        let client = self.pool.get().await?;
        if LEDGER_KNOWS.query_one(&client, &[&id.day(), &id.as_uuid()]).await?.get("known") {
            return Ok(Suspect::Applied);
        }
        let attempts: i32 =
            ATTEMPT_BEGIN.query_one(&client, &[&id.as_uuid(), &number]).await?.get("attempts");
        let most = self.settings.attempts_max;
        Ok(if attempts > most { Suspect::Deadly(most) } else { Suspect::Try })
    }

    /// A suspect is settled, or its try was given up in order.
    pub(crate) async fn end(&self, id: EnvelopeId) -> Result<(), Error> {
        let client = self.pool.get().await?;
        ATTEMPT_END.query_one(&client, &[&id.as_uuid()]).await?;
        Ok(())
    }

    /// Why nothing should be consumed, if nothing should.
    pub(crate) async fn verdict(&self) -> Result<Option<String>, engagement::Error> {
        let parking = self.parking().await?;
        if let Some(verdict) = self.settings.verdict(&parking) {
            return Ok(Some(verdict));
        }
        if !self.settings.is_rehearsal_due(&parking) || rehearsal::passes(&self.engagement).await? {
            return Ok(None);
        }
        Ok(Some(stopped(
            "this release would park an envelope in which nothing is wrong, as it parked the last ones",
        )))
    }

    async fn parking(&self) -> Result<Parking, Error> {
        let client = self.pool.get().await?;
        let PoisonSettings { stop_in_a_row, stop_minutes, .. } = self.settings;
        let row = PARKING_STATE.query_one(&client, &[&stop_minutes, &stop_in_a_row]).await?;
        Ok(Parking {
            events: row.get("events"),
            refused: row.get("refused"),
            unfit: row.get("unfit"),
            refused_in_a_row: row.get("refused_in_a_row"),
            unfit_in_a_row: row.get("unfit_in_a_row"),
        })
    }
}

/// What was taken in and parked lately.
#[derive(Debug, Clone, Copy, Default)]
struct Parking {
    events: i64,
    refused: i64,
    unfit: i64,
    refused_in_a_row: i64,
    unfit_in_a_row: i64,
}

impl PoisonSettings {
    /// Says why to stop. Unfit events count neither as parked nor as taken in: they would hide the share of the others.
    fn verdict(&self, parking: &Parking) -> Option<String> {
        let &Parking { refused, refused_in_a_row, .. } = parking;
        let events = (parking.events - parking.unfit).max(refused);
        if refused_in_a_row >= self.stop_in_a_row {
            Some(stopped(&format!(
                "the last {refused_in_a_row} events or more were all parked (poison.stop_in_a_row)"
            )))
        } else if refused >= self.stop_parked_min && refused * 100 > events * self.stop_percent {
            Some(stopped(&format!("{refused} of the last {events} events were parked (poison.stop_percent)")))
        } else {
            None
        }
    }

    /// Are there so many unfit events that the worker may be the reason?
    fn is_rehearsal_due(&self, parking: &Parking) -> bool {
        parking.unfit_in_a_row >= self.stop_in_a_row || parking.unfit >= self.stop_parked_min
    }
}

fn stopped(cause: &str) -> String {
    format!(
        "nothing is consumed: {cause}; `commonplace parked list` says why, and when they are redriven or dropped this \
         goes on"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> PoisonSettings {
        PoisonSettings {
            suspect_after_deliveries: 3,
            attempts_max: 3,
            stop_in_a_row: 100,
            stop_percent: 10,
            stop_minutes: 10,
            stop_parked_min: 50,
            check_interval_ms: 5000,
        }
    }

    #[test]
    fn a_few_bad_events_stop_nothing_and_many_do() {
        let stops = |events, refused, refused_in_a_row| {
            let parking = Parking { events, refused, refused_in_a_row, ..Parking::default() };
            settings().verdict(&parking).is_some()
        };
        assert!(!stops(0, 0, 0));
        assert!(!stops(49, 49, 49), "too few to judge by");
        assert!(stops(50, 50, 50));
        assert!(!stops(1000, 100, 99), "a tenth is not more than a tenth");
        assert!(stops(1000, 101, 0));
        assert!(stops(1_000_000, 100, 100), "in a row, however few of all");
    }

    #[test]
    fn unfit_events_stop_nothing_hide_nothing_and_call_for_a_rehearsal() {
        let parking = Parking { events: 1000, unfit: 1000, unfit_in_a_row: 100, ..Parking::default() };
        assert_eq!(settings().verdict(&parking), None);
        assert!(settings().is_rehearsal_due(&parking));
        let hiding = Parking { events: 10_050, refused: 50, unfit: 10_000, ..Parking::default() };
        assert!(settings().verdict(&hiding).is_some(), "50 of 50");
        let few = Parking { unfit: 49, unfit_in_a_row: 49, ..Parking::default() };
        assert!(!settings().is_rehearsal_due(&few));
    }
}
