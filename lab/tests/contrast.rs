//! Runs the smallest `lab contrast`: it measures, writes its report in every format, and every path counts accepted events
//! once, even while Postgres is killed.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

#[test]
fn every_path_is_measured_and_accounted_for() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["contrast", "--quick", "--blogs", "20", "--scenario", "hot,postgres-away,drain,rows"])
        .args(["--directory", "results"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");

    let results = directory.path().join("results");
    let report: Value =
        serde_json::from_slice(&std::fs::read(results.join("contrast.json")).unwrap()).unwrap();
    let measurements = report["measurements"].as_array().unwrap();
    let of = |scenario: &str| {
        let of = measurements.iter().filter(|one| one["scenario"] == scenario);
        of.map(|one| one["path"].as_str().unwrap()).collect::<BTreeSet<_>>()
    };
    let all = ["bare update", "direct", "direct-batched", "message", "no-op"];
    assert_eq!(of("hot"), BTreeSet::from(all));
    assert_eq!(of("postgres-away"), BTreeSet::from(["direct", "message"]));
    for one in measurements {
        let promised = one["accepted"]["promised"].as_u64().unwrap();
        let unknown = one["accepted"]["unknown"].as_u64().unwrap();
        let counted = one["proof"]["total_views"].as_u64().unwrap();
        assert_eq!(promised == 0, one["path"] == "no-op", "{one}");
        assert!((promised..=promised + unknown).contains(&counted), "{one}");
        assert!(one["accepted_per_s"].as_f64().unwrap() > 0.0, "{one}");
        assert!(one["p99_ms"].as_f64() >= one["p50_ms"].as_f64(), "{one}");
    }
    // A path that writes in each request cannot accept while Postgres is down. (The checks above cover the events that the
    // message path accepted meanwhile; the number of errors per second depends on the load of the machine.)
    let mut away = measurements.iter().filter(|one| one["scenario"] == "postgres-away");
    let direct = away.find(|one| one["path"] == "direct").unwrap();
    assert!(direct["errors"].as_u64().unwrap() > 0, "{direct}");
    assert_eq!(report["drained"].as_array().unwrap().len(), 5);
    assert_eq!(report["rows"].as_array().unwrap().len(), 2);

    let markdown = std::fs::read_to_string(results.join("contrast.md")).unwrap();
    for heading in ["## Targets", "## hot: ", "## postgres-away: ", "## Drain", "![postgres-away.svg]"] {
        assert!(markdown.contains(heading), "{heading} is missing in\n{markdown}");
    }
    assert!(std::fs::read_to_string(results.join("postgres-away.svg")).unwrap().contains("<polyline"));
}
