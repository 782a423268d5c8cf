//! The parts that pages share: head, navigation, and small elements.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};
use super::session::Reader;
use crate::api::blogs::BlogSummary;
use crate::problem::{FieldError, Problem};

/// The frame around a page's content.
pub(super) struct Frame<'a> {
    /// The title in the browser's tab, before the site's name.
    pub(super) title: &'a str,
    /// The reader.
    pub(super) reader: &'a Reader,
    /// The address of the navigation's current entry.
    pub(super) here: &'a str,
}

impl Frame<'_> {
    /// Renders the whole page.
    pub(super) fn around(&self, main: Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · Commonplace" }
                    link rel="icon" type="image/svg+xml" href=(ICON.path);
                    link rel="stylesheet" href=(STYLE.path);
                    script defer src=(SCRIPT.path) {}
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header.site {
                        a.brand href="/" { "Commonplace" }
                        nav aria-label="Site" { (self.entries()) }
                    }
                    main #main tabindex="-1" { (main) }
                    footer.site {
                        p {
                            "Read blogs, and write your own."
                            @if self.reader.docs { " " a href="/docs" { "The API" } }
                        }
                    }
                }
            }
        }
    }

    fn entries(&self) -> Markup {
        let entry = |address: &str, name: &str, count: i64| {
            html! {
                a href=(address) aria-current=[(self.here == address).then_some("page")] {
                    (name)
                    @if count > 0 { " " span.count { (many(count)) span.visually-hidden { " unread" } } }
                }
            }
        };
        html! {
            @if let Some(account) = &self.reader.account {
                (entry("/write", "Write", 0))
                (entry("/mine", "My blogs", 0))
                (entry("/inbox", "Inbox", account.unread))
                form method="post" action="/sign-out" {
                    button.plain type="submit" title="Signs out everywhere" {
                        "Sign out" span.visually-hidden { " " (account.handle) }
                    }
                }
            } @else {
                (entry("/sign-in", "Sign in", 0))
                (entry("/sign-up", "Join", 0))
            }
        }
    }
}

/// Renders a problem for a person. It shows no signed-in reader, because reading the session may be what failed.
pub(super) fn problem(problem: &Problem) -> Markup {
    let status = problem.status();
    let heading = match status.as_u16() {
        404 => "Page not found",
        403 => "Not allowed",
        429 => "Too many requests",
        503 => "Temporarily unavailable",
        500.. => "Something went wrong on our side",
        _ => "That did not work",
    };
    let reader = Reader::default();
    let main = html! {
        h1 { (heading) }
        p { (sentence(problem.detail())) }
        p { a href="/" { "All blogs" } }
        p.quiet { (status.as_u16()) " " (status.canonical_reason().unwrap_or_default()) }
    };
    Frame { title: heading, reader: &reader, here: "" }.around(main)
}

/// The errors of a form, shown above its fields.
pub(super) fn errors(problem: Option<&Problem>) -> Markup {
    html! {
        @if let Some(problem) = problem {
            div.notice.bad role="alert" {
                @match problem.errors() {
                    [] => p { (sentence(problem.detail())) },
                    errors => ul {
                        @for FieldError { field, detail } in errors { li { b { (field) } " " (detail) } }
                    }
                }
            }
        }
    }
}

/// A labelled field of a form.
pub(super) fn field(label: &str, name: &str, kind: &str, value: &str, autocomplete: &str) -> Markup {
    html! {
        p.field {
            label for=(name) { (label) }
            input #(name) name=(name) type=(kind) value=(value) autocomplete=(autocomplete) required;
        }
    }
}

/// A list of blogs.
pub(super) fn list(blogs: &[BlogSummary]) -> Markup {
    html! {
        ol.blogs {
            @for blog in blogs {
                li {
                    h2 { a href={"/b/" (blog.slug)} { (blog.title) } }
                    p.meta { (byline(blog)) }
                    p.meta { (numbers(blog)) (tags(blog)) }
                }
            }
        }
    }
}

/// The author and the date.
pub(super) fn byline(blog: &BlogSummary) -> Markup {
    html! {
        a href={"/a/" (blog.author.handle)} { (blog.author.handle) }
        @if let Some(published_at) = blog.published_at { " · " (day(published_at)) } @else { " · draft" }
    }
}

/// The engagement counters.
pub(super) fn numbers(blog: &BlogSummary) -> Markup {
    html! {
        span.numbers {
            (number(blog.total_views, "view", "total_views")) " · "
            (number(blog.total_likes, "like", "total_likes")) " · "
            (number(blog.total_shares, "share", "total_shares"))
        }
    }
}

/// The tags, each linked to its list.
pub(super) fn tags(blog: &BlogSummary) -> Markup {
    html! {
        @if !blog.tags.is_empty() {
            span.tags {
                @for tag in &blog.tags { " " a.tag href={"/?tag=" (tag)} { "#" (tag) } }
            }
        }
    }
}

/// The link to the next page of a list.
pub(super) fn more(address: &str, cursor: Option<&str>) -> Markup {
    html! {
        @if let Some(cursor) = cursor {
            @let glue = if address.contains('?') { "&" } else { "?" };
            nav aria-label="Pages" { a.more rel="next" href={(address) (glue) "cursor=" (cursor)} { "More" } }
        }
    }
}

/// A date in words, with the exact time as an attribute.
pub(super) fn day(time: Timestamp) -> Markup {
    let text = time.to_zoned(TimeZone::UTC).strftime("%-d %B %Y").to_string();
    html! { time datetime=(time) { (text) } }
}

/// `1 follower`, `2 followers`.
pub(super) fn counted(n: i64, word: &str) -> String {
    format!("{} {word}{}", grouped(n), if n == 1 { "" } else { "s" })
}

fn number(n: i64, word: &str, key: &str) -> Markup {
    html! { span { b data-total=(key) { (grouped(n)) } " " span data-one=(word) { (word) @if n != 1 { "s" } } } }
}

/// Formats the number of unread notifications, which are counted up to a maximum.
fn many(n: i64) -> String {
    if n >= 1000 { "1000+".to_owned() } else { n.to_string() }
}

/// Groups thousands with a narrow space.
fn grouped(n: i64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0
            && digit.is_ascii_digit()
            && (digits.len() - place).is_multiple_of(3)
            && !text.ends_with('-')
        {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Turns an error detail into a sentence.
fn sentence(detail: &str) -> String {
    let mut letters = detail.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1\u{202f}000"),
            (-1234, "-1\u{202f}234"),
            (1234567, "1\u{202f}234\u{202f}567"),
        ] {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(counted(1, "follower"), "1 follower");
    }

    #[test]
    fn error_details_become_sentences() {
        assert_eq!(sentence("there is no such blog"), "There is no such blog.");
        assert_eq!(sentence(""), ".");
    }
}
