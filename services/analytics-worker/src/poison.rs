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

use database::{Error, Pool, Statement, statement};
use events::EnvelopeId;
use uuid::Uuid;

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
}

impl Poison {
    pub(crate) fn new(settings: PoisonSettings, pool: Pool) -> Self {
        Self { settings, pool }
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
    pub(crate) async fn verdict(&self) -> Result<Option<String>, Error> {
        let client = self.pool.get().await?;
        let PoisonSettings { stop_in_a_row, stop_minutes, .. } = self.settings;
        let row = PARKING_STATE.query_one(&client, &[&stop_minutes, &stop_in_a_row]).await?;
        let (events, parked, in_a_row) = (row.get("events"), row.get("parked"), row.get("in_a_row"));
        Ok(self.settings.verdict(events, parked, in_a_row))
    }
}

impl PoisonSettings {
    /// Says why to stop, of so many events taken in lately, so many of them parked, and so many parked in a row.
    fn verdict(&self, events: i64, parked: i64, in_a_row: i64) -> Option<String> {
        let cause = if in_a_row >= self.stop_in_a_row {
            format!("the last {in_a_row} events or more were all parked (poison.stop_in_a_row)")
        } else if parked >= self.stop_parked_min && parked * 100 > events * self.stop_percent {
            format!("{parked} of the last {events} events were parked (poison.stop_percent)")
        } else {
            return None;
        };
        Some(format!(
            "nothing is consumed: {cause}; `commonplace parked list` says why, and when they are redriven or dropped \
             this goes on"
        ))
    }
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
        let stops = |events, parked, in_a_row| settings().verdict(events, parked, in_a_row).is_some();
        assert!(!stops(0, 0, 0));
        assert!(!stops(49, 49, 49), "too few to judge by");
        assert!(stops(50, 50, 50));
        assert!(!stops(1000, 100, 99), "a tenth is not more than a tenth");
        assert!(stops(1000, 101, 0));
        assert!(stops(1_000_000, 100, 100), "in a row, however few of all");
    }
}
