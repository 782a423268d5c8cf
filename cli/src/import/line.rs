//! A line of an access log in the combined format, as Apache and nginx write it:
//!
//! ```text
//! 192.0.2.1 - - [17/May/2015:10:05:03 +0200] "GET /blog/ HTTP/1.1" 200 5124 "https://example.org/" "Mozilla/5.0"
//! ```
//!
//! A line is bytes, because servers log what clients send unchanged. Inside quotes a backslash escapes the next byte,
//! which covers both Apache's `\"` and nginx's `\x22`. Escapes are not decoded, because their meaning does not matter
//! here. Fields after the agent are ignored.

use jiff::Timestamp;
use jiff::fmt::strtime;

use super::reason::{self, Reason};

const TIME: &str = "%d/%b/%Y:%H:%M:%S %z";

/// The fields of a line that the import needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The client's address, or its name if the server looks names up.
    pub(super) address: &'a [u8],
    /// The time of the request.
    pub(super) time: Timestamp,
    /// The method, such as `GET`.
    pub(super) method: &'a [u8],
    /// The path, without query and fragment.
    pub(super) path: &'a [u8],
    /// The status of the answer.
    pub(super) status: u16,
    /// The user agent; `-` if the client sent none.
    pub(super) agent: &'a [u8],
}

impl<'a> Line<'a> {
    /// Parses a line without its line break.
    ///
    /// # Errors
    /// The reason why it cannot be parsed.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Reason> {
        let mut rest = Rest(line);
        let fields = rest.fields().ok_or(reason::NOT_COMBINED)?;
        if rest.0.is_empty() {
            return Err(reason::NO_AGENT);
        }
        let _referer = rest.quoted().ok_or(reason::NOT_COMBINED)?;
        if rest.0.is_empty() {
            return Err(reason::NO_AGENT);
        }
        let agent = rest.quoted().ok_or(reason::NOT_COMBINED)?;
        let time = strtime::parse(TIME, fields.time).and_then(|time| time.to_timestamp());
        let time = time.map_err(|_| reason::BAD_TIME)?;
        let (method, path) = request(fields.request)?;
        Ok(Self { address: fields.address, time, method, path, status: fields.status, agent })
    }
}

/// Parses the part that the combined and the common format share.
struct Fields<'a> {
    address: &'a [u8],
    time: &'a [u8],
    request: &'a [u8],
    status: u16,
}

/// The rest of a line that has not been parsed yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn fields(&mut self) -> Option<Fields<'a>> {
        let address = self.word()?;
        let _identity = self.word()?;
        let _user = self.word()?;
        self.0 = self.0.strip_prefix(b"[")?;
        let time = self.until(|byte| byte == b']')?;
        self.0 = self.0.strip_prefix(b" ")?;
        let request = self.quoted()?;
        let status = self.word().filter(|word| word.len() == 3 && word.iter().all(u8::is_ascii_digit))?;
        let status = status.iter().fold(0, |number, digit| 10 * number + u16::from(digit - b'0'));
        let _size = self.word().filter(|word| *word == b"-" || word.iter().all(u8::is_ascii_digit))?;
        Some(Fields { address, time, request, status })
    }

    /// Takes the bytes up to the next space or the end.
    fn word(&mut self) -> Option<&'a [u8]> {
        let word = self.until(|byte| byte == b' ').unwrap_or_else(|| std::mem::take(&mut self.0));
        (!word.is_empty()).then_some(word)
    }

    /// Takes the bytes between quotes; a space or the end follows.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        self.0 = self.0.strip_prefix(b"\"")?;
        let mut is_escaped = false;
        let text = self.until(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        if !self.0.is_empty() {
            self.0 = self.0.strip_prefix(b" ")?;
        }
        Some(text)
    }

    /// Takes the bytes up to the given byte, and skips that byte.
    fn until(&mut self, ends: impl FnMut(u8) -> bool) -> Option<&'a [u8]> {
        let (text, rest) = split(self.0, ends)?;
        self.0 = rest;
        Some(text)
    }
}

/// Splits at the first such byte.
fn split(text: &[u8], mut is_it: impl FnMut(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| is_it(byte))?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Method and path of `GET /path?query HTTP/1.1`. The protocol may be missing; a path may hold spaces.
fn request(text: &[u8]) -> Result<(&[u8], &[u8]), Reason> {
    if matches!(text, b"" | b"-") {
        return Err(reason::NO_REQUEST);
    }
    let (method, mut target) = split(text, |byte| byte == b' ').ok_or(reason::BAD_REQUEST)?;
    if let Some(space) = target.iter().rposition(|&byte| byte == b' ')
        && let Some((before, protocol)) = target.split_at_checked(space)
        && protocol.starts_with(b" HTTP/")
    {
        target = before;
    }
    let path = split(target, |byte| matches!(byte, b'?' | b'#')).map_or(target, |(path, _query)| path);
    if method.is_empty() || path.is_empty() { Err(reason::BAD_REQUEST) } else { Ok((method, path)) }
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, TimeZone};
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = r#"83.149.9.216 - ada [17/May/2015:10:05:03 +0200] "GET /blog/a?b#c HTTP/1.1" 200 203 "-" "Moz \"7\"""#;

    fn parsed(line: &str) -> Result<Line<'_>, Reason> {
        Line::parse(line.as_bytes())
    }

    fn path_of(request: &str) -> Result<String, Reason> {
        let line = LINE.replace("GET /blog/a?b#c HTTP/1.1", request);
        parsed(&line).map(|line| String::from_utf8(line.path.to_vec()).unwrap())
    }

    #[test]
    fn every_field_is_read() {
        let line = parsed(LINE).unwrap();
        assert_eq!(line.address, b"83.149.9.216");
        assert_eq!(line.time, "2015-05-17T08:05:03Z".parse().unwrap());
        assert_eq!((line.method, line.path, line.status), (&b"GET"[..], &b"/blog/a"[..], 200));
        assert_eq!(line.agent, br#"Moz \"7\""#);
    }

    #[test]
    fn lines_of_apache_and_nginx_are_parsed() {
        for (was, is) in [
            ("83.149.9.216", "2001:db8::1"),
            ("83.149.9.216", "host-7.example.org"),
            ("ada", "\"\""),
            (r#"Moz \"7\""#, r"nginx \x227\x22 \x5C"),
            (r#"Moz \"7\""#, r"ends in \\"),
            ("\"-\" \"Moz", "\"https://example.org/\\xe4\" \"Moz"),
            ("203 ", "- "),
            ("7\\\"\"", "7\\\"\" \"198.51.100.1\" 0.003"),
        ] {
            assert!(LINE.contains(was), "{was}");
            let line = LINE.replace(was, is);
            assert_eq!(parsed(&line).map(|line| line.path), Ok(&b"/blog/a"[..]), "{line}");
        }
        let mut bytes = LINE.as_bytes().to_vec();
        bytes.splice(LINE.find("Moz").unwrap()..LINE.len() - 1, [0xff, 0, 0xfe]);
        assert_eq!(Line::parse(&bytes).unwrap().agent, [0xff, 0, 0xfe]);
    }

    #[test]
    fn request_lines_are_split_into_method_and_path() {
        assert_eq!(path_of("GET /").unwrap(), "/");
        assert_eq!(path_of("GET /a b HTTP/1.0").unwrap(), "/a b");
        assert_eq!(path_of("GET /a b").unwrap(), "/a b");
        assert_eq!(path_of("GET http://example.org/a?b HTTP/2.0").unwrap(), "http://example.org/a");
        assert_eq!(path_of(r"GET /a\x22b HTTP/1.1").unwrap(), r"/a\x22b");
        for none in ["-", ""] {
            assert_eq!(path_of(none), Err(reason::NO_REQUEST));
        }
        for bad in [r"\x16\x03\x01", "GET", "GET  HTTP/1.1", "GET ?a HTTP/1.1", " /a HTTP/1.1"] {
            assert_eq!(path_of(bad), Err(reason::BAD_REQUEST), "{bad}");
        }
    }

    #[test]
    fn invalid_line_has_a_reason() {
        let common = r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.0" 200 12"#;
        for line in [common, &format!("{common} "), &format!("{common} \"-\"")] {
            assert_eq!(parsed(line), Err(reason::NO_AGENT), "{line}");
        }
        for (was, is) in [
            ("17/May", "31/Feb"),
            ("17/May", "17/Mai"),
            ("10:05:03", "25:05:03"),
            (" +0200", ""),
            ("+0200", "+9900"),
            ("17/May/2015:10:05:03 +0200", "2015-05-17T10:05:03Z"),
            ("17/May/2015:10:05:03 +0200", ""),
        ] {
            assert_eq!(parsed(&LINE.replace(was, is)), Err(reason::BAD_TIME), "{is}");
        }
        let behind_virtual_host = format!("example.org:80 {LINE}");
        for line in [
            "",
            "-",
            &behind_virtual_host,
            &LINE.replace(" 200 ", " 2000 "),
            &LINE.replace(" 200 ", " "),
            &LINE.replace(']', ""),
            &LINE.replace("7\\\"\"", "7\\\""),
            &LINE.replace("\"-\"", "-"),
        ] {
            assert_eq!(parsed(line), Err(reason::NOT_COMBINED), "{line}");
        }
    }

    /// Escapes a byte like Apache.
    fn escaped(text: &str) -> String {
        text.replace('\\', r"\\").replace('"', "\\\"")
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, cut in 0..LINE.len(), at in 0..LINE.len(), byte: u8) {
            let _ = Line::parse(&bytes);
            let _ = Line::parse(&LINE.as_bytes()[cut..]);
            let _ = Line::parse(&LINE.as_bytes()[..cut]);
            let mut changed = LINE.as_bytes().to_vec();
            changed[at] = byte;
            let _ = Line::parse(&changed);
        }

        #[test]
        fn written_line_is_read_back(
            address in "[^ ]{1,40}", user in "[^ ]{1,9}", second in 0_i64..4_000_000_000, zone_min in -720_i32..840,
            method in "[A-Z]{1,9}", path in "/[^?# ]{0,40}", query in "([?#][^ ]{0,9})?", protocol in "( HTTP/[0-9.]{1,3})?",
            status in 100_u16..600, size in "-|[0-9]{1,9}", referer in any::<String>(), agent in any::<String>(),
        ) {
            let time = Timestamp::from_second(second).unwrap();
            let zone = TimeZone::fixed(Offset::from_seconds(zone_min * 60).unwrap());
            let (path, referer, agent) = (escaped(&path), escaped(&referer), escaped(&agent));
            let line = format!(
                "{address} - {user} [{}] \"{method} {path}{}{protocol}\" {status} {size} \"{referer}\" \"{agent}\"",
                time.to_zoned(zone).strftime(TIME), escaped(&query),
            );
            let expected = Line {
                address: address.as_bytes(), time, method: method.as_bytes(), path: path.as_bytes(),
                status, agent: agent.as_bytes(),
            };
            prop_assert_eq!(parsed(&line), Ok(expected));
        }
    }
}
