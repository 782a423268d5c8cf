//! Reads logs as lines, in bounded memory for any content: plain or gzipped, from files or standard input.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::mem;
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::read::MultiGzDecoder;
use tokio::sync::mpsc;

use super::progress::Progress;
use super::reason::{self, LeftOut, Reason};
use super::view::{Sieve, View};

const STANDARD_INPUT: &str = "-";
/// The first bytes of a gzipped file; its name does not matter.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 128 * 1024;
/// Longest line that is parsed. Servers write lines of up to an eighth of it.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Lines between two reads of the clock.
const LINES_UNSAID: u64 = 1000;

/// Counts of the lines that were read.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) lines: u64,
    pub(super) left_out: LeftOut,
}

/// The size of all files together; none if one of them is a stream.
///
/// # Errors
/// If a file is missing; the error names it.
pub(super) fn bytes(files: &[PathBuf]) -> anyhow::Result<Option<u64>> {
    let mut bytes = Some(0);
    for file in files {
        let size = if file == Path::new(STANDARD_INPUT) {
            None
        } else {
            let data = fs::metadata(file).with_context(|| format!("reading {}", file.display()))?;
            data.is_file().then_some(data.len())
        };
        bytes = bytes.zip(size).map(|(all, one)| all + one);
    }
    Ok(bytes)
}

/// Reads the files one after the other and sends the views on in batches. It ends early and without an error if the
/// receiver is gone.
///
/// # Errors
/// If a file cannot be read; the error names it.
pub(super) fn read(
    files: &[PathBuf],
    sieve: &mut Sieve,
    progress: &mut Progress,
    batch: usize,
    views: &mpsc::Sender<Vec<View>>,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut waiting = Vec::with_capacity(batch);
    for file in files {
        let doing = || format!("reading {}", file.display());
        sieve.next_file();
        let mut lines = Lines::open(file, progress).with_context(doing)?;
        while let Some(line) = lines.next().with_context(doing)? {
            tally.lines += 1;
            if tally.lines.is_multiple_of(LINES_UNSAID) {
                progress.lines(tally.lines);
            }
            match line.and_then(|line| sieve.view(line)) {
                Ok(view) => waiting.push(view),
                Err(reason) => tally.left_out.add(reason),
            }
            if waiting.len() == batch && views.blocking_send(mem::take(&mut waiting)).is_err() {
                return Ok(tally);
            }
        }
    }
    let _receiver_is_gone = views.blocking_send(waiting);
    Ok(tally)
}

/// The lines of one log.
struct Lines {
    source: Box<dyn BufRead>,
    line: Vec<u8>,
}

impl Lines {
    fn open(file: &Path, progress: &Progress) -> io::Result<Self> {
        let source: Box<dyn Read> = if file == Path::new(STANDARD_INPUT) {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(file)?)
        };
        Self::of(progress.watch(source))
    }

    fn of(mut source: impl Read + 'static) -> io::Result<Self> {
        let mut first = Vec::new();
        source.by_ref().take(GZIP.len() as u64).read_to_end(&mut first)?;
        let is_gzip = first == GZIP;
        let source = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(first).chain(source));
        let source: Box<dyn BufRead> = if is_gzip {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(source)))
        } else {
            Box::new(source)
        };
        Ok(Self { source, line: Vec::new() })
    }

    /// The next line, without its line break, or a reason if the line is too long.
    fn next(&mut self) -> io::Result<Option<Result<&[u8], Reason>>> {
        self.line.clear();
        let most = LINE_BYTES_MAX as u64 + 1;
        if self.source.by_ref().take(most).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        match self.line.strip_suffix(b"\n") {
            Some(line) => Ok(Some(Ok(line.strip_suffix(b"\r").unwrap_or(line)))),
            None if self.line.len() > LINE_BYTES_MAX => {
                self.source.skip_until(b'\n')?;
                Ok(Some(Err(reason::TOO_LONG)))
            }
            None => Ok(Some(Ok(&self.line))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Every line, and the most memory that one took.
    fn lines(bytes: impl Into<Vec<u8>>) -> (Vec<Result<Vec<u8>, Reason>>, usize) {
        let mut lines = Lines::of(Cursor::new(bytes.into())).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line.map(<[u8]>::to_vec));
        }
        (all, lines.line.capacity())
    }

    fn texts<const N: usize>(texts: [&str; N]) -> Vec<Result<Vec<u8>, Reason>> {
        texts.map(|text| Ok(text.as_bytes().to_vec())).to_vec()
    }

    #[test]
    fn lines_may_end_in_lf_crlf_or_at_the_end_of_the_file() {
        assert_eq!(lines("").0, texts([]));
        assert_eq!(lines("a\nb").0, texts(["a", "b"]));
        assert_eq!(lines("\na\r\n\r\nb\r\n").0, texts(["", "a", "", "b"]));
        assert_eq!(lines([0xff, b'\n', 0]).0, [Ok(vec![0xff]), Ok(vec![0])]);
    }

    #[test]
    fn gzip_is_recognised_by_its_first_bytes() {
        let two_members = [gzip(b"a\nb"), gzip(b"c\nd\n")].concat();
        assert_eq!(lines(two_members).0, texts(["a", "bc", "d"]));
        assert_eq!(lines([0x1f]).0, [Ok(vec![0x1f])]);
        let mut cut = gzip(b"a\nb\n");
        cut.truncate(cut.len() - 9);
        let mut lines = Lines::of(Cursor::new(cut)).unwrap();
        assert!(
            std::iter::from_fn(|| Some(lines.next().map(|line| line.is_some())))
                .take(4)
                .any(|line| line.is_err())
        );
    }

    /// A log with all kinds of client input, and the number of its lines that are views.
    fn hostile() -> (Vec<u8>, u64) {
        let line = |address: &str, time: &str, request: &str, agent: &str| {
            format!("{address} - - [{time}] \"{request}\" 200 7 \"-\" \"{agent}\"").into_bytes()
        };
        let (time, get, agent) = ("17/May/2015:10:05:03 +0000", "GET /blog/a HTTP/1.1", "Opera/9.80");
        let views = [
            line("2001:db8::1", time, get, agent),
            line("192.0.2.1", time, r#"GET /blog/\x22a\x22?q=\"b\" HTTP/1.1"#, agent),
            line("192.0.2.1", time, get, r#"\"quoted\" \\"#),
            [&line("::1", time, get, agent)[..], b" \xff\0"].concat(),
            [&line("::1", time, get, agent)[..], b"\r"].concat(),
        ];
        let mut others = vec![
            Vec::new(),
            b"\0".to_vec(),
            b"x".repeat(1_000_000),
            [&line("::1", time, get, "")[..], &b"x".repeat(1_000_000)].concat(),
            line("::1", "31/Feb/2015:10:05:03 +0000", get, agent),
            line("::1", "17/May/99999:10:05:03 +0000", get, agent),
            line("::1", "", get, agent),
            line("::1", time, "\\x16\\x03\\x01", agent),
            line("::1", time, "-", agent),
            line("::1", time, &format!("GET /blog/{}", "a".repeat(2000)), agent),
            line("::1", time, get, "Googlebot/2.1"),
        ];
        // Random bytes, the same in each run; line breaks among them make more lines.
        let mut state = 1_u64;
        others.extend((0..200).map(|length| {
            let mut byte = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            };
            std::iter::repeat_with(&mut byte).take(length).collect()
        }));
        let count = views.len() as u64;
        let lines: Vec<Vec<u8>> = views.into_iter().chain(others).collect();
        (lines.join(&b'\n'), count)
    }

    #[test]
    fn every_line_of_any_log_is_accounted_for() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            rules: crate::import::Rules,
        }
        let (log, view_count) = hostile();
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> =
            ["plain.log", "log.gz", "again.log"].map(|name| folder.path().join(name)).into();
        for (file, bytes) in files.iter().zip([log.clone(), gzip(&log), log.clone()]) {
            fs::write(file, bytes).unwrap();
        }
        assert_eq!(bytes(&files).unwrap(), Some(2 * log.len() as u64 + gzip(&log).len() as u64));
        let Command { rules } = clap::Parser::parse_from(["import"]);
        let (sender, mut receiver) = mpsc::channel(1000);
        let mut progress = Progress::new(None);
        let tally = read(&files, &mut Sieve::new(rules), &mut progress, 2, &sender).unwrap();
        drop(sender);
        let mut views = Vec::new();
        while let Some(batch) = receiver.blocking_recv() {
            views.extend(batch);
        }
        // The end of the file also ends a line.
        let lines = 3 * (log.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1);
        assert_eq!((tally.lines, views.len() as u64), (lines, 3 * view_count));
        for (reason, expected) in [
            (reason::TOO_LONG, 2),
            (reason::BAD_TIME, 3),
            (reason::NO_REQUEST, 1),
            (reason::BAD_REQUEST, 1),
            (reason::BAD_PATH, 1),
            (reason::ROBOT, 1),
        ] {
            assert!(tally.left_out.rows().contains(&(reason, 3 * expected)), "{reason}: {tally:?}");
        }
        let keys: std::collections::BTreeSet<u128> = views.iter().map(|view| view.key).collect();
        assert_eq!(keys.len() as u64, view_count, "each file by itself, and each line once");
        let sent = crate::import::send::Sent { unsent: views.len() as u64, ..Default::default() };
        crate::import::report::Report::of(tally, sent, std::time::Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn line_that_is_too_long_is_skipped_in_bounded_memory() {
        let longest = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(lines(format!("{longest}\nb")).0, texts([&longest, "b"]));
        assert_eq!(lines(longest.clone()).0, texts([&longest]));
        assert_eq!(lines(format!("{longest}x")).0, [Err(reason::TOO_LONG)]);
        let (all, memory) = lines(gzip(format!("a\n{}\nb\n", "x".repeat(50_000_000)).as_bytes()));
        assert_eq!(all, [Ok(b"a".to_vec()), Err(reason::TOO_LONG), Ok(b"b".to_vec())]);
        assert!(memory <= 4 * LINE_BYTES_MAX, "{memory}");
    }
}
