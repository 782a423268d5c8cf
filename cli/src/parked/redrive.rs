//! `parked redrive`: counts parked events after all, with the code, the statements and the role that the workers use.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use database::Pool;
use deadpool_postgres::Object;
use engagement::{Engagement, InDoubt, Outcome, Redriven};
use serde::Serialize;
use uuid::Uuid;

use super::WhichOrAll;
use crate::operator::Place;
use crate::terminal::{self, Format, printable};

/// The role that writes engagement. The operator's role is a member that does not inherit its grants.
const WRITER: &str = "engagement_writer";
/// Summary name of events that are still parked.
const STAYS: &str = "stayed parked";

const USAGE: &str = "commonplace parked redrive [OPTIONS] <ENVELOPE> <INDEX>
       commonplace parked redrive [OPTIONS] --all-matching";

const EXAMPLES: &str = "\
Examples:
  commonplace parked redrive 01a20596-cc9c-71ff-8af3-8d51c0d661c4 0
  commonplace parked redrive --all-matching --sqlstate 23514     once the constraint that refused them is fixed
  commonplace parked redrive --all-matching --reason late --may-count-twice --json

Exit codes: 0 done, even if no event matches; 1 an event stayed parked or is not waiting, or the command failed; 2 wrong
usage.";

#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(super) struct Redrive {
    #[command(flatten)]
    which: WhichOrAll,
    /// Also count events that may have been counted before, because the ledger or the stored keys no longer reach back that far
    #[arg(long)]
    may_count_twice: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// The number of events by result, and with --json the result of each row.
#[derive(Default)]
struct Summary {
    counts: BTreeMap<&'static str, usize>,
    rows: Option<Vec<Row>>,
}

/// The result of a parked event, or of a whole message.
#[derive(Debug, Serialize)]
struct Row {
    envelope_id: Uuid,
    index: i32,
    result: &'static str,
    /// Why it stays parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// For a message: the number of its events by result.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<BTreeMap<&'static str, usize>>,
}

impl Redrive {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let settings = self.place.settings()?;
        let writer = Pool::acting_as(&settings.database, "operator", WRITER)?;
        let engagement = Engagement::new(writer, &settings.engagement)?;
        let in_doubt = if self.may_count_twice { InDoubt::Count } else { InDoubt::Leave };
        let rows = self.format.json.then(Vec::new);
        let mut summary = Summary { rows, ..Summary::default() };
        if let Some((envelope, index)) = self.which.one() {
            let redriven = redrive(&engagement, envelope, index, in_doubt).await?;
            if redriven == Redriven::NotWaiting {
                bail!(
                    "{envelope} {index} is not waiting: `commonplace parked show {envelope} {index}` shows its state"
                );
            }
            summary.add(envelope, index, redriven);
            summary.print()?;
        } else {
            let client = Pool::new(&settings.database, "operator")?.get().await?;
            let redriven = self.all(&client, &engagement, in_doubt, &mut summary).await;
            // The results before a failure are reported, too.
            summary.print()?;
            redriven?;
            summary.show();
        }
        summary.verdict()
    }

    async fn all(
        &self,
        client: &Object,
        engagement: &Engagement,
        in_doubt: InDoubt,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let mut pages = self.which.filter.pages();
        loop {
            let page = pages.next(client).await?;
            if page.is_empty() {
                return Ok(());
            }
            for parked in page {
                let (envelope, index) = (parked.envelope_id, parked.index);
                let redriven = redrive(engagement, envelope, index, in_doubt).await?;
                summary.add(envelope, index, redriven);
            }
        }
    }
}

async fn redrive(
    engagement: &Engagement,
    envelope: Uuid,
    index: i32,
    in_doubt: InDoubt,
) -> anyhow::Result<Redriven> {
    let doing = || {
        format!("redriving {envelope} {index}; earlier events stay redriven, and the same command continues")
    };
    engagement.redrive(envelope, index, in_doubt).await.with_context(doing)
}

impl Summary {
    /// Adds a result to the counts, and prints it or stores it for --json.
    fn add(&mut self, envelope: Uuid, index: i32, redriven: Redriven) {
        let is_message = index < 0;
        let said = sentence(&redriven, is_message);
        let (counts, reason) = match redriven {
            Redriven::Applied(outcomes) => (count(outcomes.into_iter().map(name)), None),
            Redriven::Parked { reason, .. } | Redriven::Doubtful { reason } => (count([STAYS]), Some(reason)),
            Redriven::NotWaiting => (count(["no longer waited"]), None),
        };
        for (&name, n) in &counts {
            *self.counts.entry(name).or_default() += n;
        }
        let Some(rows) = &mut self.rows else {
            terminal::line(format_args!("{envelope} {index}: {}", printable(&said)));
            return;
        };
        let (result, events) = match counts.keys().next() {
            Some(&name) if !is_message || reason.is_some() => (name, None),
            _ => ("applied", Some(counts)),
        };
        rows.push(Row { envelope_id: envelope, index, result, reason, events });
    }

    /// Prints the rows for --json.
    fn print(&self) -> anyhow::Result<()> {
        self.rows.as_ref().map_or(Ok(()), terminal::json)
    }

    /// Prints the number of events by result.
    fn show(&self) {
        if self.rows.is_some() {
            return;
        }
        let counts: Vec<_> = self.counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        if counts.is_empty() {
            terminal::line("no parked event matches");
        } else {
            terminal::line(counts.join(", "));
        }
    }

    /// An error if an event is still parked.
    fn verdict(&self) -> anyhow::Result<()> {
        match self.counts.get(STAYS) {
            None => Ok(()),
            Some(stayed) => bail!(
                "{stayed} stayed parked: fix the cause and redrive them again, or give them up with `commonplace parked drop`"
            ),
        }
    }
}

fn count(names: impl IntoIterator<Item = &'static str>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn sentence(redriven: &Redriven, is_message: bool) -> String {
    match redriven {
        Redriven::Applied(outcomes) if is_message => {
            let counts = count(outcomes.iter().map(|outcome| outcome.name()));
            let counts: Vec<_> = counts.into_iter().map(|(name, n)| format!("{n} {name}")).collect();
            format!("a message of {} events: {}", outcomes.len(), counts.join(", "))
        }
        Redriven::Applied(outcomes) => outcomes.iter().map(|outcome| describe(*outcome)).collect(),
        Redriven::Parked { reason, sqlstate: None } => format!("stays parked: {reason}"),
        Redriven::Parked { reason, sqlstate: Some(code) } => format!("stays parked: {reason} ({code})"),
        Redriven::Doubtful { reason } => format!("stays parked: {reason}: --may-count-twice"),
        Redriven::NotWaiting => "is no longer waiting".to_owned(),
    }
}

/// Summary name of an outcome. An event of a message that is now parked on its own is still parked.
fn name(outcome: Outcome) -> &'static str {
    if outcome == Outcome::Parked { STAYS } else { outcome.name() }
}

fn describe(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Counted => "counted",
        Outcome::Repeat => "repeat: it had been counted already",
        Outcome::Discarded => "discarded: its blog is not live, or its account not active",
        Outcome::Replayed => "replayed: a copy of its envelope had been applied",
        Outcome::Parked | Outcome::Refused => "parked",
    }
}
