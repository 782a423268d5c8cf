//! The check of a cell, and the figures over several rounds.

use events::WritePath;

use super::*;

fn cell(path: Path) -> Cell {
    Cell { scenario: Name::Hot, path, connections: Some(64), spread: Spread::Hot, window_s: 1800 }
}

fn measured(path: Path, round: u32, promised: u64, unknown: u64, counted: i64) -> Measurement {
    let proof = Proof {
        total_views: counted,
        hour_views: counted,
        ledger_events: counted,
        ledger_envelopes: 1,
        counted,
        outcomes: counted,
        ..Proof::default()
    };
    let mut measurement = Measurement {
        round,
        cell: cell(path),
        offered_per_s: None,
        accepted: Accepted { promised, unknown },
        refused: BTreeMap::new(),
        broken: None,
        left_queue_envelopes: 0,
        drained: true,
        proof,
        figures: Figures::default(),
        usage: Vec::new(),
        timeline_per_s: Vec::new(),
        disagreements: Vec::new(),
    };
    measurement.check();
    measurement
}

fn report(measurements: Vec<Measurement>) -> Report {
    let text = String::new;
    let database = DatabaseSettings {
        server_version: text(),
        fsync: text(),
        synchronous_commit: text(),
        full_page_writes: text(),
        shared_buffers: text(),
    };
    Report {
        database,
        rabbitmq: text(),
        duration_s: 1.0,
        outage_s: 1.0,
        rounds: 3,
        blogs: 1,
        calibration: Vec::new(),
        measurements,
        drained: Vec::new(),
        rows: Vec::new(),
    }
}

#[test]
fn accepted_events_must_be_counted_and_only_unknown_ones_may_be() {
    for (promised, unknown, counted) in [(10, 0, 10), (10, 2, 10), (10, 2, 12)] {
        let measurement = measured(Path::MESSAGE, 1, promised, unknown, counted);
        assert_eq!(measurement.disagreements, [""; 0]);
        assert_eq!((measurement.lost(), measurement.double()), (0, 0));
    }
    for (promised, unknown, counted, lost, double) in
        [(10, 0, 9, 1, 0), (10, 0, 11, 0, 1), (10, 2, 13, 0, 1), (10, 2, 8, 2, 0)]
    {
        for path in [Path::MESSAGE, Path::DIRECT, Path::BATCHED, Path::Bare] {
            let measurement = measured(path, 1, promised, unknown, counted);
            assert_eq!((measurement.lost(), measurement.double()), (lost, double));
            assert_eq!(measurement.disagreements.len(), 1, "{:?}", measurement.disagreements);
        }
    }
    assert_eq!(measured(Path::DIRECT, 1, 0, 0, 0).disagreements, ["nothing was accepted"]);
    assert_eq!(measured(Path::Nothing, 1, 0, 0, 0).disagreements, [""; 0]);
}

#[test]
fn all_tables_must_agree() {
    type Change = fn(&mut Measurement);
    let changes: [(Change, &str); 6] = [
        (|m| m.proof.hour_views -= 1, "the counters say 10, the series 9"),
        (|m| m.proof.outcomes += 1, "and 11 outcomes in all"),
        (|m| m.proof.repeat += 1, "10 counted + 1 repeats"),
        (|m| m.proof.counted -= 1, "the counters say 10, the outcomes 9"),
        (|m| m.left_queue_envelopes = 1, "1 envelopes are left in the queue, 0 in the outbox"),
        (|m| m.proof.outbox_envelopes = 3, "0 envelopes are left in the queue, 3 in the outbox"),
    ];
    for (change, sentence) in changes {
        let mut measurement = measured(Path::MESSAGE, 1, 10, 0, 10);
        change(&mut measurement);
        measurement.check();
        let said = report(vec![measurement]).disagreements().join("\n");
        assert!(said.contains(sentence), "{said}");
    }
    let mut late = measured(Path::MESSAGE, 2, 10, 0, 10);
    late.drained = false;
    let said = report(vec![late]).disagreements();
    assert_eq!(said, ["round 2, hot, message: not every accepted event was counted in time"]);
}

#[test]
fn a_queue_must_be_counted_to_the_last_event() {
    let way = crate::contrast::Way::WorkerFull;
    let whole = Drained {
        way,
        round: 1,
        events: 9,
        envelopes: 1,
        elapsed_s: 1.0,
        events_per_s: 9.0,
        lost: 0,
        double: 0,
        commits_per_1000: 0.25,
        wal_bytes_per_event: 44.0,
    };
    let drained =
        vec![whole, Drained { round: 2, lost: 1, ..whole }, Drained { round: 3, double: 2, ..whole }];
    let report = Report { drained, ..report(Vec::new()) };
    let expected = [
        "round 2, drain, worker, full envelopes: 1 lost, 0 double",
        "round 3, drain, worker, full envelopes: 0 lost, 2 double",
    ];
    assert_eq!(report.disagreements(), expected);
}

/// The second round is on a machine that is ten times slower, which does not change the ratios.
#[test]
fn ratios_use_the_same_round() {
    let rates = [(1, 100.0, 10.0), (2, 12.0, 1.0), (3, 110.0, 10.0)];
    let mut measurements = Vec::new();
    for (round, message, direct) in rates {
        for (path, rate) in [(Path::MESSAGE, message), (Path::DIRECT, direct)] {
            let mut one = measured(path, round, 1, 0, 1);
            one.figures.accepted_per_s = rate;
            measurements.push(one);
        }
    }
    let report = report(measurements);
    assert_eq!(report.cells(), [cell(Path::MESSAGE), cell(Path::DIRECT)]);
    let rate = |one: &Measurement| Some(one.figures.accepted_per_s);
    let message = cell(Path::MESSAGE);
    let ratio = report.ratio(message, message.by(Path::DIRECT), rate).unwrap();
    assert_eq!(ratio, Median { median: 11.0, min: 10.0, max: 12.0 });
    let median = report.median(message, rate).unwrap();
    assert_eq!(median, Median { median: 100.0, min: 12.0, max: 110.0 });
    assert_eq!(report.ratio(message, message.by(Path::Bare), rate), None);
}

#[test]
fn costs_are_divided_by_accepted_requests() {
    let mut measurement = measured(Path::MESSAGE, 1, 2000, 0, 2000);
    let before = Meters { wal_bytes: 1000, transactions: 5 };
    let after = Meters { wal_bytes: 101_000, transactions: 9 };
    let versions = RowVersions { counter_updates: 50, counter_hot_updates: 49, dead: 100 };
    measurement.figures.charge(&before, &after, Some((versions, 4000.0)), 2000.0);
    let usage = |name, cpu_s| Usage { name, cpu_s, memory_peak_bytes: 3 << 20 };
    measurement.use_up(&[usage("API", 0.5), usage("Postgres", 0.25), usage("generator", 7.0)], 2000.0);
    let figures = &measurement.figures;
    assert_eq!(figures.wal_bytes_per_event, Some(50.0));
    assert_eq!(figures.commits_per_1000, Some(2.0));
    assert_eq!(figures.hot_percent, Some(98.0));
    assert_eq!(figures.dead_per_1000, Some(25.0), "of what the warm-up left as well");
    assert_eq!(figures.cpu_us_per_event, Some(375.0), "the generator's is no cost of the system");
    assert_eq!(measurement.usage[1].memory_peak_mib, 3.0);
    assert_eq!(WritePath::Message.name(), measurement.cell.path.name());
}
