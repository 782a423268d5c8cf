//! The record of erased accounts: a file with one account per line, kept apart from the database. A dump that is older
//! than an erasure brings the account back, and only this file says that it must be erased again.
//!
//! A line is the account's id and its creation time. A restore skips the ids of lost accounts, so that no id is given out twice.
//! If the margin was too small, or the record belongs to another installation, the creation time keeps the account that has the
//! id now from being erased. A line without a creation time names any account of its id.
//!
//! Every line must end with a newline. A file whose last line does not was cut off while it was written, and is
//! refused, because half of an id is the id of another account.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;

/// Means standard input.
pub(crate) const STDIN: &str = "-";

/// An account in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordedAccount {
    pub(crate) id: i64,
    /// `None` if the line has none, for example because the account had been erased before.
    pub(crate) created_at: Option<Timestamp>,
}

/// Reads the accounts from a record, or from standard input.
///
/// # Errors
/// If it cannot be read, or a line is neither an account nor a comment.
pub(crate) fn read(path: &Path) -> anyhow::Result<BTreeSet<RecordedAccount>> {
    let doing = || format!("reading the erased accounts in {}", path.display());
    let text = if path == Path::new(STDIN) {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_bytes| text)
    } else {
        fs::read_to_string(path)
    };
    parse(&text.with_context(doing)?).with_context(doing)
}

/// True if the record names the account that has this id and this creation time.
pub(crate) fn names(record: &BTreeSet<RecordedAccount>, id: i64, created_at: Timestamp) -> bool {
    [None, Some(created_at)]
        .into_iter()
        .any(|created_at| record.contains(&RecordedAccount { id, created_at }))
}

/// Adds an account to the record unless it is there, and returns once the record is on disk.
///
/// # Errors
/// If it cannot be written, or is not a record.
pub(crate) fn append(path: &Path, account: RecordedAccount) -> anyhow::Result<()> {
    write(path, account).with_context(|| format!("recording account {} in {}", account.id, path.display()))
}

fn write(path: &Path, account: RecordedAccount) -> anyhow::Result<()> {
    ensure!(account.id > 0, "no account has this id");
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let known = parse(&text)?;
    let is_known = match account.created_at {
        Some(created_at) => names(&known, account.id, created_at),
        None => known.iter().any(|other| other.id == account.id),
    };
    if !is_known {
        file.write_all(format!("{account}\n").as_bytes())?;
    }
    // Synced even if the line was there: the process that wrote it may have died before the sync.
    file.sync_all()?;
    // The folder must be synced too, because the file may be new.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<BTreeSet<RecordedAccount>> {
    check_last_line(text)?;
    let mut accounts = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let account = parse_line(line).with_context(|| {
            format!(
                "line {} names no account: write an id, a space and a creation time on each line; comments begin with #",
                index + 1
            )
        })?;
        accounts.insert(account);
    }
    Ok(accounts)
}

fn parse_line(line: &str) -> Option<RecordedAccount> {
    let (id, created_at) = match line.split_once(' ') {
        Some((id, created_at)) => (id, Some(created_at.trim().parse().ok()?)),
        None => (line, None),
    };
    let id = id.parse().ok().filter(|&id: &i64| id > 0)?;
    Some(RecordedAccount { id, created_at })
}

fn check_last_line(text: &str) -> anyhow::Result<()> {
    if !text.is_empty() && !text.ends_with('\n') {
        bail!("its last line does not end: it was cut off while it was written. Repair that line first");
    }
    Ok(())
}

impl fmt::Display for RecordedAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.created_at {
            Some(created_at) => write!(f, "{} {created_at}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: &str = "2026-11-30T08:15:20.123456Z";

    fn account(id: i64, created_at: Option<&str>) -> RecordedAccount {
        RecordedAccount { id, created_at: created_at.map(|time| time.parse().unwrap()) }
    }

    #[test]
    fn record_is_appended_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erased");
        let (seven, three) = (account(7, Some(CREATED)), account(3, None));
        // Account 7 again, as it was and after it has been erased.
        for account in [seven, three, seven, account(7, None)] {
            append(&path, account).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("7 {CREATED}\n3\n"));
        assert_eq!(read(&path).unwrap(), BTreeSet::from([three, seven]));
    }

    #[test]
    fn id_that_no_account_can_have_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erased");
        for id in [0, -5] {
            append(&path, account(id, None)).unwrap_err();
        }
        assert!(!path.exists());
    }

    #[test]
    fn line_with_a_creation_time_names_no_other_account_of_its_id() {
        let record = BTreeSet::from([account(7, Some(CREATED)), account(3, None)]);
        let (then, later) = (CREATED.parse().unwrap(), "2026-12-01T00:00:00Z".parse().unwrap());
        assert!(names(&record, 7, then) && names(&record, 3, then) && names(&record, 3, later));
        assert!(!names(&record, 7, later) && !names(&record, 4, then));
    }

    #[test]
    fn cut_off_line_is_neither_read_nor_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erased");
        fs::write(&path, "12\n3").unwrap();
        assert!(format!("{:#}", append(&path, account(4, None)).unwrap_err()).contains("cut off"));
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("cut off"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "12\n3");
    }

    #[test]
    fn only_accounts_comments_and_blank_lines_are_taken() {
        let text = format!("# erased\n\n 17 \n18 {CREATED}\n");
        assert_eq!(parse(&text).unwrap(), BTreeSet::from([account(17, None), account(18, Some(CREATED))]));
        for bad in ["ada\n", "17 18\n", "-1\n", "0\n", "1.5\n", "17 yesterday\n"] {
            let refused = format!("{:#}", parse(bad).unwrap_err());
            assert!(refused.starts_with("line 1 names no account"), "{refused}");
        }
    }
}
