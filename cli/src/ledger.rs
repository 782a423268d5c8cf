//! `commonplace ledger`: checks the ledger's equation, which must hold at every moment: the events taken in equal the events
//! accounted for. One statement reads both sides, so that they belong to the same moment.

use anyhow::bail;
use database::{Statement, statement};
use serde::Serialize;
use tokio_postgres::Row;

use crate::operator::Place;
use crate::terminal::{self, Format};

const LEDGER: Statement = statement!("ledger.sql");

const EXAMPLES: &str = "\
Examples:
  commonplace ledger
  commonplace ledger --json

Exit codes: 0 the equation holds, 1 it does not or the command failed, 2 wrong usage.";

/// Check that every event taken in is accounted for
///
/// Every event in the ledger or in one of its dropped days was counted, or repeats a counted one, or was discarded because its
/// blog was not live or its account not active, or is parked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// Both sides of the equation.
#[derive(Debug, Serialize)]
struct Equation {
    /// Events in the ledger's envelopes, and in the envelopes of dropped days.
    ledger: i64,
    dropped_days: i64,
    #[serde(flatten)]
    all: Account,
    kinds: Vec<Account>,
    /// Parked, but not in the ledger: late events and whole messages. They are on neither side.
    outside_the_ledger: i64,
    holds: bool,
}

/// The results of the events of one kind, or of all.
#[derive(Debug, Default, Serialize)]
struct Account {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    counted: i64,
    repeat: i64,
    discarded: i64,
    parked: i64,
    /// The rows behind `parked`: waiting, and given up.
    waiting: i64,
    given_up: i64,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.place.pool()?.get().await?;
    let equation = Equation::new(&LEDGER.query(&client, &[]).await?);
    if arguments.format.json {
        terminal::json(&equation)?;
    } else {
        equation.show();
    }
    if equation.holds {
        return Ok(());
    }
    bail!(
        "the equation does not hold: {} taken in and {} accounted for, {} accounted for as parked and {} parked. Do \
        not change the tables: the kind and the hour in analytics.outcome that are off show where to look",
        equation.taken_in(),
        equation.all.sum(),
        equation.all.parked,
        equation.all.waiting + equation.all.given_up
    )
}

impl Equation {
    fn new(rows: &[Row]) -> Self {
        let sum = |column: &str| rows.first().map_or(0, |row| row.get(column));
        let kinds: Vec<Account> = rows.iter().filter_map(Account::of_kind).collect();
        let mut all = Account::default();
        for account in &kinds {
            all.add(account);
        }
        let mut equation = Self {
            ledger: sum("ledger"),
            dropped_days: sum("dropped_days"),
            all,
            kinds,
            outside_the_ledger: sum("outside_the_ledger"),
            holds: false,
        };
        equation.holds =
            equation.taken_in() == equation.all.sum() && equation.kinds.iter().all(Account::has_its_rows);
        equation
    }

    fn taken_in(&self) -> i64 {
        self.ledger + self.dropped_days
    }

    fn show(&self) {
        let Account { counted, repeat, discarded, parked, .. } = &self.all;
        terminal::line(format_args!(
            "{} in the ledger + {} of dropped days = {} taken in",
            self.ledger,
            self.dropped_days,
            self.taken_in()
        ));
        terminal::line(format_args!(
            "{counted} counted + {repeat} repeat + {discarded} discarded + {parked} parked = {} accounted for",
            self.all.sum()
        ));
        let header = ["", "counted", "repeat", "discarded", "parked", "waiting", "given up"];
        let accounts = self.kinds.iter().chain([&self.all]);
        terminal::table(header, &[1, 2, 3, 4, 5, 6], accounts.map(Account::cells));
        if self.outside_the_ledger > 0 {
            terminal::line(format_args!(
                "{} more events are parked that the ledger does not know (late, or whole messages): `commonplace parked list`",
                self.outside_the_ledger
            ));
        }
        if self.holds {
            terminal::line("the equation holds");
        }
    }
}

impl Account {
    fn of_kind(row: &Row) -> Option<Self> {
        Some(Self {
            kind: Some(row.get::<_, Option<String>>("kind")?),
            counted: row.get("counted"),
            repeat: row.get("repeat"),
            discarded: row.get("discarded"),
            parked: row.get("parked"),
            waiting: row.get("waiting"),
            given_up: row.get("given_up"),
        })
    }

    fn add(&mut self, other: &Self) {
        self.counted += other.counted;
        self.repeat += other.repeat;
        self.discarded += other.discarded;
        self.parked += other.parked;
        self.waiting += other.waiting;
        self.given_up += other.given_up;
    }

    fn sum(&self) -> i64 {
        self.counted + self.repeat + self.discarded + self.parked
    }

    /// True if every event that is accounted for as parked has its row.
    fn has_its_rows(&self) -> bool {
        self.parked == self.waiting + self.given_up
    }

    fn cells(&self) -> [String; 7] {
        let numbers = [self.counted, self.repeat, self.discarded, self.parked, self.waiting, self.given_up];
        let [counted, repeat, discarded, parked, waiting, given_up] =
            numbers.map(|number| number.to_string());
        let kind = self.kind.clone().unwrap_or_else(|| "all".to_owned());
        [kind, counted, repeat, discarded, parked, waiting, given_up]
    }
}
