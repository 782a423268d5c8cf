//! `parked drop`: what is given up. It stays accounted for as parked; its body is gone.

use anyhow::bail;
use database::{Statement, statement};
use deadpool_postgres::Object;
use uuid::Uuid;

use super::WhichOrAll;
use crate::operator::Place;
use crate::terminal::{self, Progress};

const PARKED_DROP: Statement = statement!("parked_drop.sql");

const USAGE: &str = "commonplace parked drop [OPTIONS] <ENVELOPE> <INDEX>
       commonplace parked drop [OPTIONS] --all-matching --yes";

#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE)]
pub(super) struct Drop {
    #[command(flatten)]
    which: WhichOrAll,
    /// With --all-matching: really, it cannot be undone
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
}

impl Drop {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.place.pool()?.get().await?;
        if let Some((envelope, index)) = self.which.one() {
            if !give_up(&client, envelope, index).await? {
                bail!(
                    "{envelope} {index} does not wait: `commonplace parked show {envelope} {index}` says what became of it"
                );
            }
            terminal::line(format_args!("{envelope} {index} is given up"));
            return Ok(());
        }

        let matching = self.which.filter.first(&client, false, 1).await?.matching;
        if matching == 0 {
            terminal::line("no parked event matches");
            return Ok(());
        }
        if !self.yes {
            bail!(
                "{matching} parked events match, and giving them up cannot be undone: `commonplace parked list` with the \
                 same filters shows them; --yes gives them up"
            );
        }
        let progress = Progress::new();
        let given_up = self.give_up_all(&client, matching, &progress).await;
        progress.rest();
        terminal::line(format_args!("{} given up", given_up?));
        Ok(())
    }

    async fn give_up_all(&self, client: &Object, matching: i64, progress: &Progress) -> anyhow::Result<u64> {
        let mut pages = self.which.filter.pages();
        let mut given_up = 0;
        loop {
            let page = pages.next(client).await?;
            if page.parked.is_empty() {
                return Ok(given_up);
            }
            progress.now(format_args!("{given_up} of {matching} are given up"));
            for parked in &page.parked {
                given_up += u64::from(give_up(client, parked.envelope_id, parked.index).await?);
            }
        }
    }
}

/// False when it does not wait.
async fn give_up(client: &Object, envelope: Uuid, index: i32) -> anyhow::Result<bool> {
    Ok(PARKED_DROP.query_one(client, &[&envelope, &index]).await?.get("was_waiting"))
}
