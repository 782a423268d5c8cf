//! Decides which lines are views, and computes each view's key and visitor.
//!
//! A view's *key* is a hash over site, address, agent, time, path and an ordinal that tells otherwise equal lines apart
//! ([`Ordinals`]). It is the same every time the log is read. Its *visitor* is a hash over address and agent.
//! Neither address nor agent leaves this process in the clear.

use std::collections::HashMap;

use isbot::Bots;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::line::Line;
use super::ordinals::Ordinals;
use super::reason::{self, Reason};

/// Longest path, including the site in front of it, that the API accepts.
const PATH_BYTES_MAX: usize = 1024;
/// Maximum number of agents whose classification is cached. The cache then takes 4 MB.
const AGENTS_MAX: usize = 100_000;

/// Robots that the `isbot` crate does not recognise: one substring of a user agent per line.
const MORE_ROBOTS: &str = include_str!("more_robots.txt");

/// The rules for views.
#[derive(Debug, clap::Args)]
pub(super) struct Rules {
    /// Accepted request method; can be given several times
    #[arg(long = "method", value_name = "METHOD", default_value = "GET")]
    methods: Vec<String>,
    /// Accepted status of the answer; can be given several times
    #[arg(long = "status", value_name = "STATUS", default_values = ["200", "304"],
          value_parser = clap::value_parser!(u16).range(100..=999))]
    statuses: Vec<u16>,
    /// Accepted prefix of the path; can be given several times
    #[arg(long = "prefix", value_name = "PREFIX", default_value = "/blog/")]
    prefixes: Vec<String>,
    /// Accepted extension of a page's name; names without one are always accepted; can be given several times
    #[arg(long = "extension", value_name = "EXTENSION", default_values = ["html", "xhtml", "htm", "php"])]
    extensions: Vec<String>,
    /// Also count the views of robots, which are recognised by a list of user agents
    #[arg(long)]
    keep_robots: bool,
    /// Treat user agents that contain this text as robots, ignoring case; can be given several times
    #[arg(long = "robot", value_name = "TEXT", conflicts_with = "keep_robots")]
    robots: Vec<String>,
    /// Name in front of each path, to distinguish the paths of several sites
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    site: String,
}

/// A view that a line records.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Site and path.
    pub(super) source_path: String,
    /// The hash of its visitor.
    pub(super) visitor: u128,
    /// The key that makes the view count only once.
    pub(super) key: u128,
    /// The time of the view.
    pub(super) time: Timestamp,
}

/// Separates views from other lines.
#[derive(Debug)]
pub(super) struct Sieve {
    rules: Rules,
    robots: Robots,
    ordinals: Ordinals,
}

impl Sieve {
    pub(super) fn new(rules: Rules) -> Self {
        Self { robots: Robots::new(&rules.robots), rules, ordinals: Ordinals::default() }
    }

    /// Resets the ordinals at the start of another file.
    pub(super) fn next_file(&mut self) {
        self.ordinals = Ordinals::default();
    }

    /// The view that the line records.
    ///
    /// # Errors
    /// The reason why it records none.
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
    /// The source path of the blog, if the line records that the blog was shown to a reader.
    fn source_path(&self, line: &Line<'_>) -> Result<String, Reason> {
        if !self.methods.iter().any(|method| method.as_bytes() == line.method) {
            return Err(reason::OTHER_METHOD);
        }
        if !self.statuses.contains(&line.status) {
            return Err(reason::OTHER_STATUS);
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

/// The list of robots and the additions to it. The list is one large and slow regular expression, so the result for each
/// agent is cached.
#[derive(Debug)]
struct Robots {
    list: Bots,
    /// Parts of agents, in lower case.
    more: Vec<String>,
    judged: HashMap<u128, bool>,
}

impl Robots {
    fn new(more: &[String]) -> Self {
        let more =
            MORE_ROBOTS.lines().filter(|line| !line.starts_with('#')).chain(more.iter().map(String::as_str));
        let more = more.map(str::to_lowercase).filter(|text| !text.is_empty()).collect();
        Self { list: Bots::default(), more, judged: HashMap::new() }
    }

    fn knows(&mut self, agent: &[u8]) -> bool {
        let name = hash(hasher([agent]));
        if let Some(&is_robot) = self.judged.get(&name) {
            return is_robot;
        }
        let text = String::from_utf8_lossy(agent).to_lowercase();
        let is_robot = self.more.iter().any(|part| text.contains(part)) || self.list.is_bot(&text);
        if self.judged.len() >= AGENTS_MAX {
            self.judged.clear();
        }
        self.judged.insert(name, is_robot);
        is_robot
    }
}

/// A hash over several parts. The length goes in front of each part, so that different lists of parts hash differently.
fn hasher<const N: usize>(parts: [&[u8]; N]) -> Sha256 {
    parts.into_iter().fold(Sha256::new(), with)
}

fn with(hasher: Sha256, part: &[u8]) -> Sha256 {
    hasher.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
}

/// The first 128 bits of the hash.
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
            methods: vec!["GET".to_owned()],
            statuses: vec![200, 304],
            robots: Vec::new(),
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
    fn page_shown_to_a_reader_is_a_view() {
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
            (line("::1", 0, "HEAD /blog/ HTTP/1.1", 200, FIREFOX), reason::OTHER_METHOD),
            (line("::1", 0, "get /blog/ HTTP/1.1", 200, FIREFOX), reason::OTHER_METHOD),
            (line("::1", 0, "GET /blog/ HTTP/1.1", 404, FIREFOX), reason::OTHER_STATUS),
            (line("::1", 0, "GET /blog/ HTTP/1.1", 206, FIREFOX), reason::OTHER_STATUS),
            (line("::1", 0, "GET /blog/ HTTP/1.1", 200, GOOGLE), reason::ROBOT),
            (b"?".to_vec(), reason::NOT_COMBINED),
        ] {
            assert_eq!(source_path(&line), Err(reason), "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn given_methods_and_statuses_replace_the_defaults() {
        let methods = ["GET", "QUERY"].map(str::to_owned).to_vec();
        let mut sieve = Sieve::new(Rules { methods, statuses: vec![206, 999], ..rules() });
        let mut judged = |method: &str, status: u16| {
            sieve.view(&line("::1", 0, &format!("{method} /blog/ HTTP/1.1"), status, FIREFOX)).map(|_view| ())
        };
        assert_eq!(
            [("GET", 206), ("QUERY", 206), ("QUERY", 999)].map(|(method, status)| judged(method, status)),
            [Ok(()); 3]
        );
        assert_eq!(judged("POST", 206), Err(reason::OTHER_METHOD));
        assert_eq!(judged("GET", 200), Err(reason::OTHER_STATUS));
    }

    #[test]
    fn site_and_path_may_have_1024_bytes_together() {
        let mut sieve = Sieve::new(Rules { site: "example.org".to_owned(), ..rules() });
        let path = format!("/blog/{}", "a".repeat(1024 - "example.org/blog/".len()));
        assert_eq!(sieve.view(&get(&path)).unwrap().source_path, format!("example.org{path}"));
        assert_eq!(sieve.view(&get(&format!("{path}a"))), Err(reason::BAD_PATH));
    }

    #[test]
    fn list_distinguishes_robots_from_readers() {
        let mut robots = Robots::new(&["FIRE-walker".to_owned(), String::new()]);
        for robot in [
            GOOGLE,
            "Mozilla/5.0 (compatible; GoogleOther)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Claude-User/1.0; +Claude-User@anthropic.com)",
            "Prometheus/2.53.0",
            "Blackbox Exporter/0.25.0",
            "Mozilla/5.0 (Fire-Walker 1)",
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
        assert!(!robots.knows(b"Mozilla\xff") && robots.knows(b"Googlebot\xff"), "bytes that are not UTF-8");
        let mut kept = Sieve::new(Rules { keep_robots: true, ..rules() });
        assert!(kept.view(&line("::1", 0, "GET /blog/", 200, GOOGLE)).is_ok());
    }

    #[test]
    fn additions_to_the_list_of_robots_are_needed() {
        let list = Bots::default();
        for part in MORE_ROBOTS.lines().filter(|line| !line.starts_with('#')) {
            assert!(!part.trim().is_empty() && !list.is_bot(part), "{part:?} can go");
        }
    }

    #[test]
    fn classifications_are_cached_in_bounded_memory() {
        let mut robots =
            Robots { judged: (0..AGENTS_MAX as u128).map(|n| (n, true)).collect(), ..Robots::new(&[]) };
        assert!(!robots.knows(FIREFOX.as_bytes()));
        assert_eq!(robots.judged.len(), 1);
    }

    #[test]
    fn key_identifies_the_line_and_visitor_identifies_the_reader() {
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
        assert_eq!(sieve.view(&first).unwrap(), before, "ordinals start again in each file");
        // Different parts with the same concatenation hash differently.
        assert_ne!(hash(hasher([b"ab", b"c"])), hash(hasher([b"a", b"bc"])));
    }
}
