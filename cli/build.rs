//! Gives the binary its version: the package's, and the commit where one is known.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=COMMONPLACE_COMMIT");
    let version = env!("CARGO_PKG_VERSION");
    let described = match given().or_else(checked_out) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    println!("cargo:rustc-env=COMMONPLACE_VERSION={described}");
}

/// The commit from the environment: an image is built from a copy of the files, without a repository.
fn given() -> Option<String> {
    std::env::var_os("COMMONPLACE_COMMIT")?.into_string().ok().filter(|commit| !commit.is_empty())
}

/// The commit that is checked out, if this is a checkout and git is installed.
fn checked_out() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    if !root.join(".git").exists() {
        return None;
    }
    // The log of HEAD grows with every commit and every checkout; before the first commit there is none.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(root, &["rev-parse", "--path-format=absolute", "--git-path", name]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(root, &["rev-parse", "--short=12", "--verify", "HEAD"])
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
