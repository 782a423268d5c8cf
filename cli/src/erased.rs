//! The record of erased accounts: a file with one id a line, which lives apart from the database. A dump that is older than
//! an erasure brings the account back, and only this file knows that it has to go again.
//!
//! A line counts when it ends with a newline. A file whose last line does not was cut off while it was written, and is
//! refused: half of an id is the id of another account.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

/// Stands for the standard input.
pub(crate) const STDIN: &str = "-";

/// The ids in a record, or in what comes by the standard input.
///
/// # Errors
/// When it cannot be read, or a line is neither an id nor a comment.
pub(crate) fn read(path: &Path) -> anyhow::Result<BTreeSet<i64>> {
    let doing = || format!("reading the erased accounts in {}", path.display());
    let text = if path == Path::new(STDIN) {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_bytes| text)
    } else {
        fs::read_to_string(path)
    };
    parse(&text.with_context(doing)?).with_context(doing)
}

/// Adds an id to the record, and returns when it is on the disk.
///
/// # Errors
/// When it cannot be written, or its last line is not whole.
pub(crate) fn append(path: &Path, id: i64) -> anyhow::Result<()> {
    write(path, id).with_context(|| format!("recording account {id} in {}", path.display()))
}

fn write(path: &Path, id: i64) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut known = String::new();
    file.read_to_string(&mut known)?;
    check_last_line(&known)?;
    file.write_all(format!("{id}\n").as_bytes())?;
    file.sync_all()?;
    // The folder names the file, which may be new.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<BTreeSet<i64>> {
    check_last_line(text)?;
    let mut ids = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.parse() {
            Ok(id) if id > 0 => ids.insert(id),
            _ => {
                bail!("line {} is not the id of an account: one id a line, comments begin with #", index + 1)
            }
        };
    }
    Ok(ids)
}

fn check_last_line(text: &str) -> anyhow::Result<()> {
    if !text.is_empty() && !text.ends_with('\n') {
        bail!("its last line does not end: it was cut off while it was written. Mend that line first");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_appended_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erased");
        for id in [7, 3, 7] {
            append(&path, id).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\n3\n7\n");
        assert_eq!(read(&path).unwrap(), BTreeSet::from([3, 7]));
    }

    #[test]
    fn cut_off_line_is_neither_read_nor_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erased");
        fs::write(&path, "12\n3").unwrap();
        assert!(format!("{:#}", append(&path, 4).unwrap_err()).contains("cut off"));
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("cut off"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "12\n3");
    }

    #[test]
    fn only_ids_comments_and_blank_lines_are_taken() {
        assert_eq!(parse("# erased\n\n 17 \n").unwrap(), BTreeSet::from([17]));
        for bad in ["ada\n", "17 18\n", "-1\n", "0\n", "1.5\n"] {
            let refused = format!("{:#}", parse(bad).unwrap_err());
            assert!(refused.starts_with("line 1 is not the id of an account"), "{refused}");
        }
    }
}
