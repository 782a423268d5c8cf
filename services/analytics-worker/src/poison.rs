//! Handles messages that kill workers, and releases that park everything.
//!
//! *Suspects.* When a worker dies, the message that killed it is unknown: everything that it had fetched is redelivered
//! with a higher delivery count. The count alone therefore parks nothing. An envelope that was redelivered several
//! times is applied by itself, and the attempt is committed before its body is read. Attempts that end in an orderly
//! way are deleted; those that remain ended with the death of their worker, and after a few of them the envelope is
//! parked unread.
//!
//! *The stop rule.* A single bad event is parked and the others are applied. If everything is parked, the fault is more
//! likely in the worker than in the events, and a bad release must not drain the queue. The tables record what was
//! taken in and parked, so a restart does not forget it and other workers see it too: they stop consuming, stay up, and
//! report why. They resume once the parked events have been redriven or dropped.
//!
//! Only events that the worker can read and the database rejects count for this rule. An unfit event is its producer's
//! fault: it cannot be read, its time is outside the days that can be counted, or the broker dead-lettered it. No
//! number of unfit events stops a worker, unless the worker fails the `rehearsal`: then it is the worker that misjudges
//! sound events.

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

/// What to do with a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspect {
    /// It has been applied; only its ack was lost.
    Applied,
    /// Apply it; the attempt is recorded.
    Try,
    /// Park it; this many attempts ended with the death of their worker.
    Deadly(i32),
}

/// Tracks suspects and applies the stop rule.
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

    /// Records an attempt to apply a suspect, unless it must not be applied. A caller that does not get the answer must
    /// retry with the same number; otherwise one living worker would count as several dead ones.
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

    /// Deletes the attempts of a suspect that is settled, or whose attempt was given up in an orderly way.
    pub(crate) async fn end(&self, id: EnvelopeId) -> Result<(), Error> {
        let client = self.pool.get().await?;
        ATTEMPT_END.query_one(&client, &[&id.as_uuid()]).await?;
        Ok(())
    }

    /// The reason to stop consuming, if there is one.
    pub(crate) async fn verdict(&self) -> Result<Option<String>, engagement::Error> {
        let parking = self.parking().await?;
        if let Some(verdict) = self.settings.verdict(&parking) {
            return Ok(Some(verdict));
        }
        if !self.settings.is_rehearsal_due(&parking) || rehearsal::passes(&self.engagement).await? {
            return Ok(None);
        }
        Ok(Some(stopped("this release would park a sound envelope, as it parked the last ones")))
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

/// Events that were recently taken in and parked.
#[derive(Debug, Clone, Copy, Default)]
struct Parking {
    events: i64,
    refused: i64,
    unfit: i64,
    refused_in_a_row: i64,
    unfit_in_a_row: i64,
}

impl PoisonSettings {
    /// The reason to stop, if there is one. Unfit events count neither as parked nor as taken in, because they would
    /// hide the share of the others.
    fn verdict(&self, parking: &Parking) -> Option<String> {
        let &Parking { refused, refused_in_a_row, .. } = parking;
        let events = (parking.events - parking.unfit).max(refused);
        if refused_in_a_row >= self.stop_in_a_row {
            Some(stopped(&format!(
                "at least the last {refused_in_a_row} events were all parked (poison.stop_in_a_row)"
            )))
        } else if refused >= self.stop_parked_min && refused * 100 > events * self.stop_percent {
            Some(stopped(&format!("{refused} of the last {events} events were parked (poison.stop_percent)")))
        } else {
            None
        }
    }

    /// Whether the number of unfit events suggests that the worker is the cause.
    fn is_rehearsal_due(&self, parking: &Parking) -> bool {
        parking.unfit_in_a_row >= self.stop_in_a_row || parking.unfit >= self.stop_parked_min
    }
}

fn stopped(cause: &str) -> String {
    format!(
        "nothing is consumed: {cause}; `commonplace parked list` shows the reasons, and consumption resumes \
         once these events are redriven or dropped"
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
    fn stop_rule_needs_many_bad_events() {
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
    fn unfit_events_only_trigger_a_rehearsal() {
        let parking = Parking { events: 1000, unfit: 1000, unfit_in_a_row: 100, ..Parking::default() };
        assert_eq!(settings().verdict(&parking), None);
        assert!(settings().is_rehearsal_due(&parking));
        let hiding = Parking { events: 10_050, refused: 50, unfit: 10_000, ..Parking::default() };
        assert!(settings().verdict(&hiding).is_some(), "50 of 50");
        let few = Parking { unfit: 49, unfit_in_a_row: 49, ..Parking::default() };
        assert!(!settings().is_rehearsal_due(&few));
    }
}
