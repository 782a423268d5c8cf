//! `parked drop`: gives events up. The ledger still counts a dropped event as parked, but its body is deleted.

use std::fmt;

use anyhow::bail;
use database::{Statement, statement};
use deadpool_postgres::Object;
use serde::Serialize;
use uuid::Uuid;

use super::WhichOrAll;
use crate::operator::Place;
use crate::terminal::{self, Format, Progress};

const PARKED_DROP: Statement = statement!("parked_drop.sql");

const USAGE: &str = "commonplace parked drop [OPTIONS] <ENVELOPE> <INDEX>
       commonplace parked drop [OPTIONS] --all-matching --yes";

const EXAMPLES: &str = "\
Examples:
  commonplace parked drop 01a20596-cc9c-71ff-8af3-8d51c0d661c4 0
  commonplace parked drop --all-matching --reason 'not a JSON array' --yes

Exit codes: 0 done, even if no event matches; 1 the event is not waiting, --yes is missing, or the command failed; 2 wrong
usage.";

#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(super) struct Drop {
    #[command(flatten)]
    which: WhichOrAll,
    /// Confirm --all-matching, which cannot be undone
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// The number of events that were given up.
#[derive(Debug, Serialize)]
struct GivenUp {
    given_up: u64,
}

impl Drop {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.place.pool()?.get().await?;
        if let Some((envelope, index)) = self.which.one() {
            if !give_up(&client, envelope, index).await? {
                bail!(
                    "{envelope} {index} is not waiting: `commonplace parked show {envelope} {index}` shows its state"
                );
            }
            return self.say(1, format_args!("{envelope} {index} is given up"));
        }

        let matching = self.which.filter.count(&client, false).await?;
        if matching == 0 {
            return self.say(0, format_args!("no parked event matches"));
        }
        if !self.yes {
            bail!(
                "{matching} parked events match, and dropping them cannot be undone: `commonplace parked list` with the \
                same filters shows them; --yes drops them"
            );
        }
        let progress = Progress::new();
        let given_up = self.give_up_all(&client, matching, &progress).await;
        progress.rest();
        let given_up = given_up?;
        self.say(given_up, format_args!("{given_up} given up"))
    }

    fn say(&self, given_up: u64, text: fmt::Arguments<'_>) -> anyhow::Result<()> {
        if self.format.json {
            return terminal::json(&GivenUp { given_up });
        }
        terminal::line(text);
        Ok(())
    }

    async fn give_up_all(&self, client: &Object, matching: i64, progress: &Progress) -> anyhow::Result<u64> {
        let mut pages = self.which.filter.pages();
        let mut given_up = 0;
        loop {
            let page = pages.next(client).await?;
            if page.is_empty() {
                return Ok(given_up);
            }
            progress.now(format_args!("{given_up} of {matching} given up"));
            for parked in &page {
                given_up += u64::from(give_up(client, parked.envelope_id, parked.index).await?);
            }
        }
    }
}

/// Returns false if the event is not waiting.
async fn give_up(client: &Object, envelope: Uuid, index: i32) -> anyhow::Result<bool> {
    Ok(PARKED_DROP.query_one(client, &[&envelope, &index]).await?.get("was_waiting"))
}
