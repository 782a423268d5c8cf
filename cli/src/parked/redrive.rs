//! `parked redrive`: what was set aside is counted after all, by the code and the statements that the workers use, and
//! under the role that they write with.

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

/// The role that writes engagement; the operator's is a member of it and inherits nothing.
const WRITER: &str = "engagement_writer";
/// In the summary: what is still parked.
const STAYS: &str = "stayed parked";

const USAGE: &str = "commonplace parked redrive [OPTIONS] <ENVELOPE> <INDEX>
       commonplace parked redrive [OPTIONS] --all-matching";

const EXAMPLES: &str = "\
Examples:
  commonplace parked redrive 01a20596-cc9c-71ff-8af3-8d51c0d661c4 0
  commonplace parked redrive --all-matching --sqlstate 23514     when what refused them is mended
  commonplace parked redrive --all-matching --reason late --may-count-twice --json

Exit codes: 0 done, also when nothing matches; 1 something stayed parked or does not wait, or it failed; 2 wrong usage.";

#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(super) struct Redrive {
    #[command(flatten)]
    which: WhichOrAll,
    /// Also what may have been counted already, because the ledger, or the memory of keys, can no longer tell
    #[arg(long)]
    may_count_twice: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// How many events came to what, and for programs what became of each row.
#[derive(Default)]
struct Summary {
    counts: BTreeMap<&'static str, usize>,
    rows: Option<Vec<Row>>,
}

/// What became of a parked event, or of a whole message.
#[derive(Debug, Serialize)]
struct Row {
    envelope_id: Uuid,
    index: i32,
    result: &'static str,
    /// Why it stays parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Of a message: how many of its events came to what.
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
                    "{envelope} {index} does not wait: `commonplace parked show {envelope} {index}` says what became of it"
                );
            }
            summary.add(envelope, index, redriven);
            summary.print()?;
        } else {
            let client = Pool::new(&settings.database, "operator")?.get().await?;
            let redriven = self.all(&client, &engagement, in_doubt, &mut summary).await;
            // What was redriven before a failure is told, too.
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
        format!("redriving {envelope} {index}; what was redriven before stays so, the same command goes on")
    };
    engagement.redrive(envelope, index, in_doubt).await.with_context(doing)
}

impl Summary {
    /// Takes what became of one into the sum, and says it or keeps it.
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

    /// What is for programs.
    fn print(&self) -> anyhow::Result<()> {
        self.rows.as_ref().map_or(Ok(()), terminal::json)
    }

    /// How many came to what, for people.
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

    /// An error when anything is still parked.
    fn verdict(&self) -> anyhow::Result<()> {
        match self.counts.get(STAYS) {
            None => Ok(()),
            Some(stayed) => bail!(
                "{stayed} stayed parked: mend what refuses them and redrive again, or give them up with `commonplace parked \
                 drop`"
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
        Redriven::NotWaiting => "no longer waits".to_owned(),
    }
}

/// In the summary: an event of a message that was parked by itself is parked still.
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
