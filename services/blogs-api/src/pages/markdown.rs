//! Renders Markdown as HTML that is safe to show.
//!
//! Three rules hold by construction. HTML in the text is escaped like any other text. A link leads to http, https or
//! mailto, as a browser would parse it (the same URL parser), or it is not rendered as a link. The browser fetches
//! nothing: an image is shown as a link to it, so that an author does not learn who reads the text.
//!
//! The output is bounded in depth and in length ([`Bounded`]), because a few characters of Markdown can open a hundred
//! thousand quotes.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd};
use url::Url;

/// Base for parsing relative links; its address does not affect their scheme.
const BASE: &str = "https://base.invalid/b/";
const SCHEMES: [&str; 3] = ["http", "https", "mailto"];
/// Maximum nesting of quotes, lists and spans; deeper content is shown at this depth.
const DEPTH_MAX: usize = 32;
/// Maximum HTML output in bytes, apart from the end tags of open elements and the note: four times the longest text.
const HTML_BYTES_MAX: usize = 1 << 20;
/// The note shown where a text is cut.
const CUT: &str = "<p>The rest of this text is too long to be shown.</p>\n";
/// The length of the longest tags that the renderer writes for an event, including attributes and line breaks.
const TAG_BYTES: usize = 24;
const CELL_BYTES: usize = 40;

/// Renders a blog's text for its page, below the page's own heading.
pub(super) fn render(text: &str) -> Markup {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut rendering = Rendering::default();
    let mut bounded = Bounded::default();
    let events = Parser::new_ext(text, options)
        .map(|event| rendering.safe(event))
        .filter_map(|event| bounded.within(event));
    let mut output = String::with_capacity(text.len() * 3 / 2);
    pulldown_cmark::html::push_html(&mut output, events);
    if bounded.is_cut {
        output.push_str(CUT);
    }
    PreEscaped(output)
}

/// The state of rendering.
#[derive(Default)]
struct Rendering {
    /// The open links and images, and whether each was rendered as a link.
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

    /// Begins a link; renders nothing if the destination is not allowed or a link is already open.
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

/// Keeps the output within its bounds. Every element that was opened is closed, so the page around it stays intact.
#[derive(Default)]
struct Bounded {
    /// Open quotes, lists and spans, whether shown or not.
    depth: usize,
    /// An upper bound of the HTML bytes so far.
    bytes: usize,
    /// True once the limit is reached: no further element is opened.
    is_cut: bool,
    /// Elements that were left out since and have not ended yet.
    left_out: usize,
    /// Open links. Their markup is written here and produces no events of its own.
    links: usize,
}

impl Bounded {
    fn within<'text>(&mut self, event: Event<'text>) -> Option<Event<'text>> {
        self.bytes = self.bytes.saturating_add(size(&event));
        if self.is_cut || self.bytes > HTML_BYTES_MAX {
            self.is_cut = true;
            return self.ends(event);
        }
        if let Event::InlineHtml(own) = &event {
            self.links += usize::from(own.starts_with("<a "));
            self.links -= usize::from(&**own == "</a>").min(self.links);
        }
        match &event {
            // Content that is nested too deeply gets a line of its own.
            Event::Start(tag) if nests(&tag.to_end()) => {
                self.depth += 1;
                if self.depth > DEPTH_MAX { Some(Event::SoftBreak) } else { Some(event) }
            }
            Event::End(tag) if nests(tag) => {
                self.depth -= 1;
                if self.depth >= DEPTH_MAX { Some(Event::SoftBreak) } else { Some(event) }
            }
            // An item is shown only if its list is.
            Event::Start(Tag::Item) | Event::End(TagEnd::Item) if self.depth > DEPTH_MAX => {
                Some(Event::SoftBreak)
            }
            _ => Some(event),
        }
    }

    /// After the cut, passes only the ends of elements that were opened before it.
    fn ends<'text>(&mut self, event: Event<'text>) -> Option<Event<'text>> {
        match event {
            Event::Start(_) => {
                self.left_out += 1;
                None
            }
            Event::End(_) if self.left_out > 0 => {
                self.left_out -= 1;
                None
            }
            Event::End(tag) => {
                let is_shown = if nests(&tag) {
                    self.depth -= 1;
                    self.depth < DEPTH_MAX
                } else {
                    tag != TagEnd::Item || self.depth <= DEPTH_MAX
                };
                is_shown.then_some(Event::End(tag))
            }
            Event::InlineHtml(own) if self.links > 0 && &*own == "</a>" => {
                self.links -= 1;
                Some(Event::InlineHtml(own))
            }
            _ => None,
        }
    }
}

/// Elements that can be nested in others of their kind without limit.
fn nests(tag: &TagEnd) -> bool {
    matches!(
        tag,
        TagEnd::BlockQuote(_) | TagEnd::List(_) | TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough
    )
}

/// An upper bound of the HTML bytes that an event produces.
fn size(event: &Event<'_>) -> usize {
    let escaped = |text: &str| {
        let more = text.bytes().map(|byte| match byte {
            b'"' => 6,
            b'&' => 5,
            b'<' | b'>' => 4,
            _ => 1,
        });
        more.sum()
    };
    match event {
        Event::Text(text) => escaped(text),
        Event::Code(text) => escaped(text).saturating_add(TAG_BYTES),
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
            escaped(language).saturating_add(2 * TAG_BYTES)
        }
        Event::InlineHtml(own) => own.len(),
        Event::Start(Tag::TableCell | Tag::TableHead) => CELL_BYTES,
        Event::Start(_) | Event::End(_) | Event::Rule | Event::HardBreak => TAG_BYTES,
        _ => 1,
    }
}

/// Whether a browser would treat this as a link with an allowed scheme.
fn leads_to_a_page(destination: &str) -> bool {
    let base = Url::parse(BASE).ok();
    let url = Url::options().base_url(base.as_ref()).parse(destination);
    url.is_ok_and(|url| SCHEMES.contains(&url.scheme()))
}

/// Lowers a heading, because the page has its own.
fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H2,
        HeadingLevel::H2 => HeadingLevel::H3,
        HeadingLevel::H3 => HeadingLevel::H4,
        HeadingLevel::H4 => HeadingLevel::H5,
        HeadingLevel::H5 | HeadingLevel::H6 => HeadingLevel::H6,
    }
}

/// Markup written here, not by the author.
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
    fn plain_markdown_is_rendered() {
        assert_eq!(
            rendered("# Title\n\nA *b* **c** `d` ~~e~~\n\n- x"),
            "<h2>Title</h2>\n<p>A <em>b</em> <strong>c</strong> <code>d</code> <del>e</del></p>\n<ul>\n<li>x</li>\n</ul>\n"
        );
        assert!(rendered("|a|\n|-|\n|b|").contains("<td>b</td>"));
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(rendered("<b>x</b>"), "<p>&lt;b&gt;x&lt;/b&gt;</p>\n");
        assert_eq!(rendered("a <i>b"), "<p>a &lt;i&gt;b</p>\n");
        assert_eq!(
            rendered("<script>\nalert(1)\n</script>"),
            "<p>&lt;script&gt;\nalert(1)\n&lt;/script&gt;</p>\n"
        );
    }

    #[test]
    fn links_to_pages_and_mail_are_rendered() {
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
    fn links_with_other_schemes_are_not_rendered() {
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
    fn images_become_links_and_links_do_not_nest() {
        let link = "<a href=\"https://example.org/p.png\" rel=\"nofollow ugc noopener\">a cat</a>";
        assert_eq!(rendered("![a cat](https://example.org/p.png)"), format!("<p>{link}</p>\n"));
        let nested = rendered("[![a](https://example.org/p.png)](https://example.org)");
        assert_eq!(nested.matches("<a ").count(), 1, "{nested}");
        assert_eq!(nested.matches("</a>").count(), 1, "{nested}");
    }

    /// The maximum depth of nested elements; fails if an element ends that is not the innermost open one.
    fn depth(output: &str) -> usize {
        let (mut open, mut deepest) = (Vec::new(), 0);
        for tag in output.split('<').skip(1) {
            let name: String =
                tag.chars().skip_while(|&c| c == '/').take_while(char::is_ascii_alphanumeric).collect();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "{output:.2000}");
            } else if !["hr", "br"].contains(&name.as_str()) {
                open.push(name);
                deepest = deepest.max(open.len());
            }
        }
        assert!(open.is_empty(), "{open:?} in {output:.2000}");
        deepest
    }

    /// A list counts twice, for the list and its item; the innermost may contain a paragraph or a heading.
    const DEEPEST: usize = 2 * DEPTH_MAX + 4;

    #[test]
    fn output_of_a_large_text_is_bounded() {
        let whole = 256 * 1024;
        for part in [
            ">", "> ", "- ", "1. ", "* _", "*_", "**a ", "<", "\"", "&", "- a\n", "[a](b) ", "|", "`a` ",
            "~~~\n", "\u{1}",
        ] {
            let output = rendered(&part.repeat(whole / part.len()));
            assert!(output.len() <= HTML_BYTES_MAX + 4096, "{part:?} becomes {} bytes", output.len());
            assert!(depth(&output) <= DEEPEST, "{part:?} is {} deep", depth(&output));
        }
        let row = "|a".repeat(1000);
        let table = format!("{row}\n{}\n{}", "|-".repeat(1000), "|b\n".repeat(80_000));
        let output = rendered(&table);
        assert!(output.len() <= HTML_BYTES_MAX + 4096, "{}", output.len());
        assert!(output.ends_with(CUT));
        depth(&output);
        assert!(
            !rendered(&"A paragraph of some words.\n\n".repeat(whole / 28)).contains("too long to be shown")
        );
        assert!(rendered(&format!("{}deep", "> ".repeat(100))).contains("deep"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn output_stays_within_bounds_for_any_text(
            parts in proptest::collection::vec(("[>\\-*_~ a1.\\n|`<\\[\\]()#\"]{1,4}", 1..3000_usize), 1..6)
        ) {
            let text: String = parts.iter().map(|(part, count)| part.repeat(*count)).collect();
            let output = rendered(&text);
            prop_assert!(output.len() <= HTML_BYTES_MAX + 8192);
            prop_assert!(depth(&output) <= DEEPEST);
        }
    }

    proptest! {
        #[test]
        fn output_contains_only_known_tags_and_attributes(text in "[<>\"'&;:()\\[\\]!#*_`~|\\-\\n a-zA-Z/=\t]{0,80}") {
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
