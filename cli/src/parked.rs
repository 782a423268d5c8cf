//! `commonplace parked`: events that were parked instead of counted. Each has a row in `analytics.parked` with the reason.
//! Operators list them, redrive them (count them after all) or drop them.

mod drop;
mod filter;
mod look;
mod redrive;

use uuid::Uuid;

const EXAMPLES: &str = "\
Examples:
  commonplace parked list
  commonplace parked list --reason constraint --since 2026-11-22
  commonplace parked show 01a20596-cc9c-71ff-8af3-8d51c0d661c4 0
  commonplace parked redrive 01a20596-cc9c-71ff-8af3-8d51c0d661c4 0
  commonplace parked redrive --all-matching --sqlstate 23514     once the constraint that refused them is fixed
  commonplace parked drop --all-matching --reason 'not a JSON array' --yes

Exit codes: 0 done; 1 an event stayed parked, there is no such event, or the command failed; 2 wrong usage.";

/// List parked events, redrive them or drop them
///
/// A worker parks an event that it cannot read, that the database refuses, or whose envelope is older than the ledger's oldest
/// day. The other events of its envelope are counted. The ledger's equation includes parked events.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List parked events, the oldest first
    List(look::List),
    /// Show one parked event with its body
    Show(look::Show),
    /// Count parked events; an event that is refused again stays parked
    Redrive(redrive::Redrive),
    /// Drop parked events: the ledger still counts them as parked, but their bodies are deleted. This cannot be undone
    Drop(drop::Drop),
}

/// One parked event.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Which {
    /// Id of the envelope
    envelope: Uuid,
    /// Index of the event in the envelope, from 0; -1 means a whole message
    #[arg(allow_negative_numbers = true)]
    index: i32,
}

/// One parked event, or all that match.
#[derive(Debug, Clone, clap::Args)]
struct WhichOrAll {
    /// Id of the envelope
    #[arg(
        required_unless_present = "all_matching",
        conflicts_with_all = ["all_matching", "reason", "sqlstate", "since", "until"]
    )]
    envelope: Option<Uuid>,
    /// Index of the event in the envelope, from 0; -1 means a whole message
    #[arg(
        required_unless_present = "all_matching",
        conflicts_with = "all_matching",
        allow_negative_numbers = true
    )]
    index: Option<i32>,
    /// Select all waiting events that match the filters, instead of one event
    #[arg(long)]
    all_matching: bool,
    #[command(flatten)]
    filter: filter::Filter,
}

impl WhichOrAll {
    /// The selected event, if it is a single one.
    fn one(&self) -> Option<(Uuid, i32)> {
        self.envelope.zip(self.index)
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::List(list) => list.run().await,
        Command::Show(show) => show.run().await,
        Command::Redrive(redrive) => redrive.run().await,
        Command::Drop(drop) => drop.run().await,
    }
}
