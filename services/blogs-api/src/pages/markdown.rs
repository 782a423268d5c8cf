//! Markdown as HTML that cannot do anything but be read.
//!
//! Three rules, each kept by construction. HTML in the text is text: it is escaped like any other. A link leads to
//! http, https or mailto, as a browser would read it (the same URL parser), or it is no link. Nothing is fetched: a
//! picture is shown as a link to it, so that an author does not learn who reads.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd};
use url::Url;

/// A relative link is read against some address of ours; which does not matter to its scheme.
const BASE: &str = "https://base.invalid/b/";
const SCHEMES: [&str; 3] = ["http", "https", "mailto"];

/// The text of a blog as it stands in its page, below the page's own heading.
pub(super) fn render(text: &str) -> Markup {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut rendering = Rendering::default();
    let events = Parser::new_ext(text, options).map(|event| rendering.safe(event));
    let mut output = String::with_capacity(text.len() * 3 / 2);
    pulldown_cmark::html::push_html(&mut output, events);
    PreEscaped(output)
}

/// Where a text has got to.
#[derive(Default)]
struct Rendering {
    /// The links and pictures that are open, and whether each has become a link.
    open: Vec<bool>,
}

impl Rendering {
    fn safe<'text>(&mut self, event: Event<'text>) -> Event<'text> {
        match event {
            Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
            Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
            Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
            Event::Start(Tag::Link { link_type: LinkType::Email, dest_url, .. }) => {
                self.link(&format!("mailto:{dest_url}"))
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => self.link(&dest_url),
            Event::End(TagEnd::Link | TagEnd::Image) => {
                markup(if self.open.pop() == Some(true) { "</a>" } else { "" }.to_owned())
            }
            Event::Start(Tag::Heading { level, .. }) => {
                let level = below(level);
                Event::Start(Tag::Heading { level, id: None, classes: Vec::new(), attrs: Vec::new() })
            }
            Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(below(level))),
            other => other,
        }
    }

    /// The begin of a link, or nothing where it leads somewhere else, or stands in another link.
    fn link(&mut self, destination: &str) -> Event<'static> {
        let is_link = leads_to_a_page(destination) && !self.open.contains(&true);
        self.open.push(is_link);
        if !is_link {
            return markup(String::new());
        }
        let escaped = html! { (destination) }.into_string();
        markup(format!("<a href=\"{escaped}\" rel=\"nofollow ugc noopener\">"))
    }
}

/// Would a browser take this for a link of one of our schemes?
fn leads_to_a_page(destination: &str) -> bool {
    let base = Url::parse(BASE).ok();
    let url = Url::options().base_url(base.as_ref()).parse(destination);
    url.is_ok_and(|url| SCHEMES.contains(&url.scheme()))
}

/// The page has a heading of its own.
fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H2,
        HeadingLevel::H2 => HeadingLevel::H3,
        HeadingLevel::H3 => HeadingLevel::H4,
        HeadingLevel::H4 => HeadingLevel::H5,
        HeadingLevel::H5 | HeadingLevel::H6 => HeadingLevel::H6,
    }
}

/// Markup of our own making.
fn markup(text: String) -> Event<'static> {
    Event::InlineHtml(text.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(text: &str) -> String {
        render(text).into_string()
    }

    #[test]
    fn prose_is_prose() {
        assert_eq!(
            rendered("# Title\n\nA *b* **c** `d` ~~e~~\n\n- x"),
            "<h2>Title</h2>\n<p>A <em>b</em> <strong>c</strong> <code>d</code> <del>e</del></p>\n<ul>\n<li>x</li>\n</ul>\n"
        );
        assert!(rendered("|a|\n|-|\n|b|").contains("<td>b</td>"));
    }

    #[test]
    fn html_is_text() {
        assert_eq!(rendered("<b>x</b>"), "<p>&lt;b&gt;x&lt;/b&gt;</p>\n");
        assert_eq!(rendered("a <i>b"), "<p>a &lt;i&gt;b</p>\n");
        assert_eq!(
            rendered("<script>\nalert(1)\n</script>"),
            "<p>&lt;script&gt;\nalert(1)\n&lt;/script&gt;</p>\n"
        );
    }

    #[test]
    fn links_lead_to_pages_and_mail() {
        let to = |href: &str| format!("<p><a href=\"{href}\" rel=\"nofollow ugc noopener\">x</a></p>\n");
        for href in
            ["https://example.org/a?b=c", "http://example.org", "mailto:a@example.org", "/b/other", "#top"]
        {
            assert_eq!(rendered(&format!("[x]({href})")), to(href));
        }
        assert_eq!(rendered("[x](</a\"onclick=b>)"), to("/a&quot;onclick=b"));
        assert!(rendered("<ada@example.org>").contains("href=\"mailto:ada@example.org\""));
    }

    #[test]
    fn other_schemes_are_no_links_however_they_are_written() {
        for href in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "<java\tscript:alert(1)>",
            "&#106;avascript:alert(1)",
            "javascript&colon;alert(1)",
            "<\u{1}javascript:alert(1)>",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://example.org/x",
        ] {
            assert_eq!(rendered(&format!("[x]({href})")), "<p>x</p>\n", "{href}");
        }
    }

    #[test]
    fn a_picture_is_a_link_and_links_do_not_nest() {
        let link = "<a href=\"https://example.org/p.png\" rel=\"nofollow ugc noopener\">a cat</a>";
        assert_eq!(rendered("![a cat](https://example.org/p.png)"), format!("<p>{link}</p>\n"));
        let nested = rendered("[![a](https://example.org/p.png)](https://example.org)");
        assert_eq!(nested.matches("<a ").count(), 1, "{nested}");
        assert_eq!(nested.matches("</a>").count(), 1, "{nested}");
    }

    proptest! {
        #[test]
        fn no_text_makes_other_tags_or_attributes(text in "[<>\"'&;:()\\[\\]!#*_`~|\\-\\n a-zA-Z/=\t]{0,80}") {
            let output = rendered(&text);
            for tag in output.split('<').skip(1) {
                let name: String = tag.chars().skip_while(|&c| c == '/').take_while(char::is_ascii_alphanumeric).collect();
                prop_assert!(
                    ["p", "a", "em", "strong", "del", "code", "pre", "ul", "ol", "li", "h2", "h3", "h4", "h5", "h6",
                     "blockquote", "hr", "br", "table", "thead", "tbody", "tr", "th", "td"].contains(&name.as_str()),
                    "{} in {}", name, output
                );
                let attributes = tag.split('>').next().unwrap_or_default();
                prop_assert!(!attributes.contains(" on"), "{}", output);
            }
        }
    }
}
