//! Which lines are views, and of what: the rules, and what each view is known by.
//!
//! A view's *key* is a hash over site, address, agent, time, path and the line's ordinal among its equals
//! ([`Ordinals`]), so it is the same whenever and however the log is read. Its *visitor* is a hash over address and
//! agent. Neither address nor agent leaves this process in the clear.

use std::collections::HashMap;

use isbot::Bots;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::line::Line;
use super::ordinals::Ordinals;
use super::reason::{self, Reason};

/// Longest path, with the site before it, that the API takes.
const PATH_BYTES_MAX: usize = 1024;
/// Agents that are remembered with their judgement: 4 MB.
const AGENTS_MAX: usize = 100_000;

/// What counts as a view.
#[derive(Debug, clap::Args)]
pub(super) struct Rules {
    /// Only paths that begin so; can be given several times
    #[arg(long = "prefix", value_name = "PREFIX", default_value = "/blog/")]
    prefixes: Vec<String>,
    /// What a page's name may end in, beside names without an extension; can be given several times
    #[arg(long = "extension", value_name = "EXTENSION", default_values = ["html", "xhtml", "htm", "php"])]
    extensions: Vec<String>,
    /// Count the views of robots too; they are known by a list of agents
    #[arg(long)]
    keep_robots: bool,
    /// Put before each path, so that the paths of several sites are told apart
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    site: String,
}

/// A view that a line tells of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Site and path.
    pub(super) source_path: String,
    /// Whose it was.
    pub(super) visitor: u128,
    /// What it counts once by.
    pub(super) key: u128,
    /// When it was.
    pub(super) time: Timestamp,
}

/// Tells views from other lines.
#[derive(Debug)]
pub(super) struct Sieve {
    rules: Rules,
    robots: Robots,
    ordinals: Ordinals,
}

impl Sieve {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, robots: Robots::default(), ordinals: Ordinals::default() }
    }

    /// The lines to come are another file's.
    pub(super) fn next_file(&mut self) {
        self.ordinals = Ordinals::default();
    }

    /// The view that the line tells of.
    ///
    /// # Errors
    /// Why it tells of none.
    pub(super) fn view(&mut self, line: &[u8]) -> Result<View, Reason> {
        let line = Line::parse(line)?;
        let source_path = self.rules.source_path(&line)?;
        if !self.rules.keep_robots && self.robots.knows(line.agent) {
            return Err(reason::ROBOT);
        }
        let Line { address, agent, time, path, .. } = line;
        let second = time.as_second();
        let says =
            hasher([self.rules.site.as_bytes(), address, agent, second.to_be_bytes().as_slice(), path]);
        let ordinal = self.ordinals.next(second, hash(says.clone()));
        Ok(View {
            source_path,
            visitor: hash(hasher([address, agent])),
            key: hash(with(says, &ordinal.to_be_bytes())),
            time,
        })
    }
}

impl Rules {
    /// Where the blog was that the line shows to a reader.
    fn source_path(&self, line: &Line<'_>) -> Result<String, Reason> {
        if line.method != b"GET" {
            return Err(reason::NOT_GET);
        }
        if !matches!(line.status, b"200" | b"304") {
            return Err(reason::NOT_SHOWN);
        }
        if !self.prefixes.iter().any(|prefix| line.path.starts_with(prefix.as_bytes())) {
            return Err(reason::OTHER_PREFIX);
        }
        if !self.is_page(line.path) {
            return Err(reason::OTHER_EXTENSION);
        }
        let path = format!("{}{}", self.site, String::from_utf8_lossy(line.path));
        let is_taken = path.len() <= PATH_BYTES_MAX && !path.contains('\0');
        if is_taken { Ok(path) } else { Err(reason::BAD_PATH) }
    }

    fn is_page(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let mut parts = name.rsplitn(2, |&byte| byte == b'.');
        let (last, first) = (parts.next().unwrap_or_default(), parts.next());
        first.is_none() || self.extensions.iter().any(|page| page.as_bytes().eq_ignore_ascii_case(last))
    }
}

/// The list of robots. It is one large expression and slow, so each agent is judged once.
#[derive(Debug, Default)]
struct Robots {
    list: Bots,
    judged: HashMap<u128, bool>,
}

impl Robots {
    fn knows(&mut self, agent: &[u8]) -> bool {
        let name = hash(hasher([agent]));
        if let Some(&is_robot) = self.judged.get(&name) {
            return is_robot;
        }
        let is_robot = self.list.is_bot(&String::from_utf8_lossy(agent));
        if self.judged.len() >= AGENTS_MAX {
            self.judged.clear();
        }
        self.judged.insert(name, is_robot);
        is_robot
    }
}

/// Over several parts, each with its length before it, so that no two lists of parts are the same bytes.
fn hasher<const N: usize>(parts: [&[u8]; N]) -> Sha256 {
    parts.into_iter().fold(Sha256::new(), with)
}

fn with(hasher: Sha256, part: &[u8]) -> Sha256 {
    hasher.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
}

/// The first 128 bits.
fn hash(hasher: Sha256) -> u128 {
    hasher.finalize().iter().take(16).fold(0, |bits, &byte| (bits << 8) | u128::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIREFOX: &str = "Mozilla/5.0 (Windows NT 6.1; WOW64; rv:38.0) Gecko/20100101 Firefox/38.0";
    const GOOGLE: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

    fn rules() -> Rules {
        Rules {
            prefixes: vec!["/blog/".to_owned(), "/articles/".to_owned()],
            extensions: vec!["html".to_owned(), "php".to_owned()],
            keep_robots: false,
            site: String::new(),
        }
    }

    fn line(address: &str, second: u32, request: &str, status: u16, agent: &str) -> Vec<u8> {
        format!(
            "{address} - - [17/May/2015:10:05:{second:02} +0000] \"{request}\" {status} 1 \"-\" \"{agent}\""
        )
        .into_bytes()
    }

    fn get(path: &str) -> Vec<u8> {
        line("192.0.2.1", 0, &format!("GET {path} HTTP/1.1"), 200, FIREFOX)
    }

    fn source_path(line: &[u8]) -> Result<String, Reason> {
        Sieve::new(rules()).view(line).map(|view| view.source_path)
    }

    #[test]
    fn a_page_that_was_shown_to_a_reader_is_a_view() {
        for path in [
            "/blog/",
            "/blog/a",
            "/blog/a/",
            "/blog/v1.2/a",
            "/blog/a.html",
            "/articles/A.HTML",
            "/blog/a.b.php",
        ] {
            assert_eq!(source_path(&get(path)).unwrap(), path);
        }
        assert_eq!(source_path(&get("/blog/a.html?x=.png#y")).unwrap(), "/blog/a.html");
        assert_eq!(source_path(&line("::1", 0, "GET /blog/", 304, "-")).unwrap(), "/blog/");
        for (line, reason) in [
            (get("/"), reason::OTHER_PREFIX),
            (get("/blog"), reason::OTHER_PREFIX),
            (get("/Blog/"), reason::OTHER_PREFIX),
            (get("/blog/a.png"), reason::OTHER_EXTENSION),
            (get("/blog/a."), reason::OTHER_EXTENSION),
            (get("/blog/.htaccess"), reason::OTHER_EXTENSION),
            (get("/blog/a\0b"), reason::BAD_PATH),
            (line("::1", 0, "HEAD /blog/ HTTP/1.1", 200, FIREFOX), reason::NOT_GET),
            (line("::1", 0, "get /blog/ HTTP/1.1", 200, FIREFOX), reason::NOT_GET),
            (line("::1", 0, "GET /blog/ HTTP/1.1", 404, FIREFOX), reason::NOT_SHOWN),
            (line("::1", 0, "GET /blog/ HTTP/1.1", 206, FIREFOX), reason::NOT_SHOWN),
            (line("::1", 0, "GET /blog/ HTTP/1.1", 200, GOOGLE), reason::ROBOT),
            (b"?".to_vec(), reason::NOT_COMBINED),
        ] {
            assert_eq!(source_path(&line), Err(reason), "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn site_and_path_have_1024_bytes() {
        let mut sieve = Sieve::new(Rules { site: "example.org".to_owned(), ..rules() });
        let path = format!("/blog/{}", "a".repeat(1024 - "example.org/blog/".len()));
        assert_eq!(sieve.view(&get(&path)).unwrap().source_path, format!("example.org{path}"));
        assert_eq!(sieve.view(&get(&format!("{path}a"))), Err(reason::BAD_PATH));
    }

    #[test]
    fn the_list_tells_robots_from_readers() {
        let mut robots = Robots::default();
        for robot in [
            GOOGLE,
            "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
            "UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/",
            "Tiny Tiny RSS/1.11 (http://tt-rss.org/)",
            "curl/7.22.0",
            "Wget/1.13.4 (linux-gnu)",
        ] {
            assert!(robots.knows(robot.as_bytes()) && robots.knows(robot.as_bytes()), "{robot}");
        }
        for reader in [
            FIREFOX,
            "Mozilla/5.0 (iPad; CPU OS 6_0_1 like Mac OS X) AppleWebKit/536.26 (KHTML, like Gecko) Version/6.0 \
             Mobile/10A523 Safari/8536.25",
            "Opera/9.80 (Windows NT 6.1; U; en) Presto/2.10.229 Version/11.60",
            "-",
        ] {
            assert!(!robots.knows(reader.as_bytes()) && !robots.knows(reader.as_bytes()), "{reader}");
        }
        assert!(!robots.knows(b"Mozilla\xff") && robots.knows(b"Googlebot\xff"), "bytes that are no text");
        let mut kept = Sieve::new(Rules { keep_robots: true, ..rules() });
        assert!(kept.view(&line("::1", 0, "GET /blog/", 200, GOOGLE)).is_ok());
    }

    #[test]
    fn judgements_are_remembered_in_bounded_memory() {
        let mut robots =
            Robots { judged: (0..AGENTS_MAX as u128).map(|n| (n, true)).collect(), ..Robots::default() };
        assert!(!robots.knows(FIREFOX.as_bytes()));
        assert_eq!(robots.judged.len(), 1);
    }

    #[test]
    fn a_key_says_which_line_and_a_visitor_says_who() {
        let view = |site: &str, lines: &[Vec<u8>]| {
            let mut sieve = Sieve::new(Rules { site: site.to_owned(), ..rules() });
            lines.iter().map(|line| sieve.view(line).unwrap()).last().unwrap()
        };
        let first = line("192.0.2.1", 0, "GET /blog/a HTTP/1.1", 200, FIREFOX);
        let one = view("", std::slice::from_ref(&first));
        assert_eq!(one, view("", std::slice::from_ref(&first)), "the same on every run");
        for other in [
            view("x", std::slice::from_ref(&first)),
            view("", &[line("192.0.2.1", 1, "GET /blog/a HTTP/1.1", 200, FIREFOX)]),
            view("", &[line("192.0.2.1", 0, "GET /blog/b HTTP/1.1", 200, FIREFOX)]),
            view("", &[first.clone(), first.clone()]),
        ] {
            assert_eq!(other.visitor, one.visitor);
            assert_ne!(other.key, one.key);
        }
        for other in [
            view("", &[line("192.0.2.2", 0, "GET /blog/a HTTP/1.1", 200, FIREFOX)]),
            view("", &[line("192.0.2.1", 0, "GET /blog/a HTTP/1.1", 200, "Opera")]),
        ] {
            assert_ne!(other.visitor, one.visitor);
            assert_ne!(other.key, one.key);
        }
        let mut sieve = Sieve::new(rules());
        let before = sieve.view(&first).unwrap();
        sieve.next_file();
        assert_eq!(sieve.view(&first).unwrap(), before, "each file by itself");
        // Parts that run into each other are not the same.
        assert_ne!(hash(hasher([b"ab", b"c"])), hash(hasher([b"a", b"bc"])));
    }
}
