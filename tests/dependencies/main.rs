//! The allowed dependencies of the workspace: crates from crates.io only, under licences that allow distribution under
//! Apache-2.0, and no banned ones.
//!
//! The lock file lists the crates and their sources, `cargo metadata` their licences.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod errors;
mod floors;

use std::process::Command;

use serde_json::Value;

/// Licences whose terms a binary under Apache-2.0 can meet. Of an `OR` one must be here; of an `AND` each must be.
const LICENCES: [&str; 11] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that must not be linked, each with its reason.
const BANNED: [(&str, &str); 4] = [
    ("openssl-sys", "it needs a C library that the images do not have"),
    ("native-tls", "it needs a C library that the images do not have"),
    ("chrono", "times are jiff's"),
    ("rsa", "its private keys leak through timing, and there is no fixed release (RUSTSEC-2023-0071)"),
];

/// The lab's packages, and the libraries that it uses for measurements and faults.
const RIG: [&str; 7] = ["lab", "bench", "chaos", "proxy", "plotters", "fail", "hdrhistogram"];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    assert!(packages.len() > 100, "only {} packages: the list is incomplete", packages.len());
    packages
}

/// Whether the allowed licences satisfy an SPDX expression. `/` is the old way to write `OR`.
fn is_met(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut position = 0;
    let met = any(&tokens, &mut position);
    met == Some(true) && position == tokens.len()
}

/// None where the expression is not well formed.
fn any(tokens: &[&str], position: &mut usize) -> Option<bool> {
    let mut met = all(tokens, position)?;
    while tokens.get(*position) == Some(&"OR") {
        *position += 1;
        met |= all(tokens, position)?;
    }
    Some(met)
}

fn all(tokens: &[&str], position: &mut usize) -> Option<bool> {
    let mut met = one(tokens, position)?;
    while tokens.get(*position) == Some(&"AND") {
        *position += 1;
        met &= one(tokens, position)?;
    }
    Some(met)
}

fn one(tokens: &[&str], position: &mut usize) -> Option<bool> {
    let token = *tokens.get(*position)?;
    *position += 1;
    if token == "(" {
        let met = any(tokens, position)?;
        let is_closed = tokens.get(*position) == Some(&")");
        *position += 1;
        return is_closed.then_some(met);
    }
    let mut licence = token.to_owned();
    if tokens.get(*position) == Some(&"WITH") {
        licence = format!("{licence} WITH {}", tokens.get(*position + 1)?);
        *position += 2;
    }
    Some(LICENCES.contains(&licence.as_str()))
}

#[test]
fn every_crate_comes_from_crates_io_or_this_workspace() {
    for package in packages() {
        let source = package["source"].as_str();
        let is_known = source
            .is_none_or(|source| source.starts_with("registry+") && source.ends_with("/crates.io-index"));
        assert!(is_known, "{} comes from {source:?}", package["name"]);
    }
}

#[test]
fn every_licence_allows_distribution_under_apache() {
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_met(licence), "{} is under {licence:?}", package["name"]);
    }
}

#[test]
fn no_dependency_is_banned() {
    let packages = packages();
    for (banned, reason) in BANNED {
        assert!(!packages.iter().any(|package| package["name"] == banned), "{banned}: {reason}");
    }
}

/// The packages that a package links, from `cargo tree`; itself first.
fn linked(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--locked",
            "--package",
            package,
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn images_do_not_link_the_lab() {
    let dockerfile = include_str!("../../deploy/Dockerfile");
    let (_, packages) = dockerfile.split_once("ENV PACKAGES=\"").unwrap();
    let (packages, _) = packages.split_once('"').unwrap();
    let packages: Vec<&str> =
        packages.split_whitespace().filter(|word| !["-p", "\\"].contains(word)).collect();
    assert!(packages.len() > 5, "{packages:?}");
    for package in packages {
        let linked = linked(package);
        assert!(linked.len() > 50, "{package} links only {linked:?}");
        for rig in RIG {
            assert!(!linked.iter().any(|linked| linked == rig), "{package} links {rig}");
        }
    }
    let lab = linked("lab");
    for rig in ["bench", "chaos", "proxy", "plotters"] {
        assert!(
            lab.iter().any(|linked| linked == rig),
            "the lab links no {rig}: is the list read as it should be?"
        );
    }
}

#[test]
fn licence_expressions_are_understood() {
    for met in ["MIT", "MIT/Apache-2.0", "MIT OR GPL-3.0-only", "(MIT OR GPL-2.0) AND Unicode-3.0"] {
        assert!(is_met(met), "{met}");
    }
    let unmet =
        ["", "GPL-3.0-only", "MIT AND GPL-3.0-only", "(GPL-2.0 OR LGPL-3.0) AND MIT", "MIT OR", "(MIT"];
    for unmet in unmet {
        assert!(!is_met(unmet), "{unmet}");
    }
}
