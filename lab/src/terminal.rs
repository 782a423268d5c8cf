//! Lines of the report on stdout, and of its progress on stderr. A closed pipe is not an error.

use std::fmt::Display;
use std::io::Write;

/// Writes a line of the report.
pub(crate) fn line(text: impl Display) {
    let _reader_gone = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a line of progress.
pub(crate) fn note(text: impl Display) {
    let _reader_gone = writeln!(std::io::stderr().lock(), "{text}");
}
