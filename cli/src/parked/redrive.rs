//! `parked redrive`: what was set aside is counted after all, by the code and the statements that the workers use, and
//! under the role that they write with.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use database::Pool;
use engagement::{Engagement, InDoubt, Outcome, Redriven};
use uuid::Uuid;

use super::WhichOrAll;
use crate::operator::Place;
use crate::terminal;

/// The role that writes engagement; the operator's is a member of it and inherits nothing.
const WRITER: &str = "engagement_writer";
/// In the summary: what is still parked.
const STAYS: &str = "stayed parked";

const USAGE: &str = "commonplace parked redrive [OPTIONS] <ENVELOPE> <INDEX>
       commonplace parked redrive [OPTIONS] --all-matching";

#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE)]
pub(super) struct Redrive {
    #[command(flatten)]
    which: WhichOrAll,
    /// Also what the ledger no longer knows, and which may have been counted already
    #[arg(long)]
    may_count_twice: bool,
    #[command(flatten)]
    place: Place,
}

/// How many events came to what.
#[derive(Default)]
struct Summary(BTreeMap<&'static str, usize>);

impl Redrive {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let settings = self.place.settings()?;
        let writer = Pool::acting_as(&settings.database, "operator", WRITER)?;
        let engagement = Engagement::new(writer, &settings.engagement)?;
        let in_doubt = if self.may_count_twice { InDoubt::Count } else { InDoubt::Leave };
        let mut summary = Summary::default();
        if let Some((envelope, index)) = self.which.one() {
            let redriven = redrive(&engagement, envelope, index, in_doubt).await?;
            if redriven == Redriven::NotWaiting {
                bail!(
                    "{envelope} {index} does not wait: `commonplace parked show {envelope} {index}` says what became of it"
                );
            }
            summary.add(envelope, index, &redriven);
            return summary.verdict();
        }

        let client = Pool::new(&settings.database, "operator")?.get().await?;
        let mut pages = self.which.filter.pages();
        loop {
            let page = pages.next(&client).await?;
            if page.parked.is_empty() {
                break;
            }
            for parked in page.parked {
                let (envelope, index) = (parked.envelope_id, parked.index);
                let redriven = redrive(&engagement, envelope, index, in_doubt).await?;
                summary.add(envelope, index, &redriven);
            }
        }
        summary.show();
        summary.verdict()
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
    /// Says what became of one, and takes it into the sum.
    fn add(&mut self, envelope: Uuid, index: i32, redriven: &Redriven) {
        let said = match redriven {
            Redriven::Applied(outcomes) if index < 0 => {
                let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
                for outcome in outcomes {
                    *counts.entry(*outcome).or_default() += 1;
                }
                let counts: Vec<_> =
                    counts.into_iter().map(|(outcome, n)| format!("{n} {}", outcome.name())).collect();
                format!("a message of {} events: {}", outcomes.len(), counts.join(", "))
            }
            Redriven::Applied(outcomes) => outcomes.iter().map(|outcome| describe(*outcome)).collect(),
            Redriven::Parked { reason, sqlstate: None } => format!("stays parked: {reason}"),
            Redriven::Parked { reason, sqlstate: Some(code) } => format!("stays parked: {reason} ({code})"),
            Redriven::Doubtful { reason } => format!("stays parked: {reason}: --may-count-twice"),
            Redriven::NotWaiting => "no longer waits".to_owned(),
        };
        terminal::line(format_args!("{envelope} {index}: {said}"));
        let names: Vec<&'static str> = match redriven {
            Redriven::Applied(outcomes) => outcomes.iter().map(|outcome| name(*outcome)).collect(),
            Redriven::Parked { .. } | Redriven::Doubtful { .. } => vec![STAYS],
            Redriven::NotWaiting => vec!["no longer waited"],
        };
        for name in names {
            *self.0.entry(name).or_default() += 1;
        }
    }

    fn show(&self) {
        let counts: Vec<_> = self.0.iter().map(|(name, n)| format!("{n} {name}")).collect();
        if counts.is_empty() {
            terminal::line("no parked event matches");
        } else {
            terminal::line(counts.join(", "));
        }
    }

    /// An error when anything is still parked.
    fn verdict(&self) -> anyhow::Result<()> {
        match self.0.get(STAYS) {
            None => Ok(()),
            Some(stayed) => bail!(
                "{stayed} stayed parked: mend what refuses them and redrive again, or give them up with `commonplace parked \
                 drop`"
            ),
        }
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
