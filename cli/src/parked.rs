//! `commonplace parked`: events that were set aside instead of counted. Each has its row in `analytics.parked`, with the
//! reason; here they are looked at, counted after all, or given up.

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
  commonplace parked redrive --all-matching --sqlstate 23514     when what refused them is mended
  commonplace parked drop --all-matching --reason 'not a JSON array' --yes

Exit codes: 0 done; 1 something stayed parked, or there is no such event, or it failed; 2 wrong usage.";

/// Look at events that were set aside, count them after all, or give them up
///
/// An event is set aside when it cannot be read or the database refuses it, or when its envelope is older than what the
/// ledger remembers. Its neighbours are counted all the same, and it stands in the ledger's equation as parked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Events that are parked, the longest parked first
    List(look::List),
    /// Everything about one of them, with its body
    Show(look::Show),
    /// Count events after all; those that are refused again stay
    Redrive(redrive::Redrive),
    /// Give events up: they stay accounted for as parked, their bodies are gone. This cannot be undone
    Drop(drop::Drop),
}

/// One parked event.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Which {
    /// The id of the envelope
    envelope: Uuid,
    /// The place in the envelope, from 0; -1 is a whole message
    #[arg(allow_negative_numbers = true)]
    index: i32,
}

/// One parked event, or all that match.
#[derive(Debug, Clone, clap::Args)]
struct WhichOrAll {
    /// The id of the envelope
    #[arg(
        required_unless_present = "all_matching",
        conflicts_with_all = ["all_matching", "reason", "sqlstate", "since", "until"]
    )]
    envelope: Option<Uuid>,
    /// The place in the envelope, from 0; -1 is a whole message
    #[arg(
        required_unless_present = "all_matching",
        conflicts_with = "all_matching",
        allow_negative_numbers = true
    )]
    index: Option<i32>,
    /// All that wait and match the filters, instead of one
    #[arg(long)]
    all_matching: bool,
    #[command(flatten)]
    filter: filter::Filter,
}

impl WhichOrAll {
    /// The one, if it is one.
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
