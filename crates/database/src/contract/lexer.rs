//! Splits SQL text into tokens. It follows Postgres's scanner (`scan.l`) as far as needed to tell a keyword from a part of a
//! comment, a string or a quoted name.
//!
//! Comments nest, dollar quotes have tags, `''` is a quote inside a string, and a backslash escapes only in `E'…'`. If the
//! text ends inside a string or a comment, Postgres reports a syntax error and runs none of it.

/// A token and the line on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// An unquoted word in lower case: a keyword or a name.
    Word(String),
    /// A quoted name, which is never a keyword.
    Name,
    /// The contents of a string or a dollar quote.
    Text(String),
    /// Any other character.
    Mark(char),
}

impl Token {
    /// The token's word, or an empty string if it is not a word.
    pub(super) fn word(&self) -> &str {
        if let Kind::Word(word) = &self.kind { word } else { "" }
    }

    pub(super) fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

/// The tokens of `sql`, whose first line has the number `line`.
pub(super) fn tokens(sql: &str, line: usize) -> Vec<Token> {
    let mut lexer = Lexer { rest: sql, line };
    std::iter::from_fn(|| lexer.next()).collect()
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<Token> {
        self.skip_blank();
        let line = self.line;
        let first = self.rest.chars().next()?;
        let kind = match first {
            '\'' => Kind::Text(self.quoted('\'', false)),
            '"' => {
                self.quoted('"', false);
                Kind::Name
            }
            '$' => self.dollar_quoted().map_or_else(|| self.mark(first), Kind::Text),
            _ if starts_word(first) => {
                let word =
                    self.take_while(|letter| starts_word(letter) || letter.is_ascii_digit() || letter == '$');
                if word.eq_ignore_ascii_case("e") && self.rest.starts_with('\'') {
                    Kind::Text(self.quoted('\'', true))
                } else {
                    Kind::Word(word.to_ascii_lowercase())
                }
            }
            _ => self.mark(first),
        };
        Some(Token { kind, line })
    }

    fn mark(&mut self, mark: char) -> Kind {
        self.advance(mark.len_utf8());
        Kind::Mark(mark)
    }

    fn skip_blank(&mut self) {
        loop {
            let before = self.rest.len();
            self.take_while(|letter| letter.is_ascii_whitespace() || letter == '\u{b}');
            if self.rest.starts_with("--") {
                self.take_while(|letter| letter != '\n' && letter != '\r');
            } else if self.rest.starts_with("/*") {
                self.skip_block_comment();
            }
            if self.rest.len() == before {
                return;
            }
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(letter) = self.rest.chars().next() {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.advance(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.advance(2);
                if depth == 0 {
                    return;
                }
            } else {
                self.advance(letter.len_utf8());
            }
        }
    }

    /// The text between this quote and the closing one.
    fn quoted(&mut self, quote: char, escapes: bool) -> String {
        self.advance(quote.len_utf8());
        let mut text = String::new();
        while let Some(letter) = self.rest.chars().next() {
            self.advance(letter.len_utf8());
            if letter == quote {
                if !self.rest.starts_with(quote) {
                    break;
                }
                self.advance(quote.len_utf8());
            } else if escapes && letter == '\\' {
                // The escaped letter itself does not matter, only where the string ends.
                let escaped = self.rest.chars().next().map_or(0, char::len_utf8);
                text.push_str(self.advance(escaped));
                continue;
            }
            text.push(letter);
        }
        text
    }

    /// The text between `$tag$` and the next `$tag$`; None if no dollar quote begins here.
    fn dollar_quoted(&mut self) -> Option<String> {
        let inside = self.rest.strip_prefix('$')?;
        let (tag, _) = inside.split_once('$')?;
        let is_tag = tag.is_empty()
            || tag.starts_with(starts_word)
                && tag.chars().all(|letter| starts_word(letter) || letter.is_ascii_digit());
        if !is_tag {
            return None;
        }
        let delimiter = format!("${tag}$");
        self.advance(delimiter.len());
        let end = self.rest.find(&delimiter).unwrap_or(self.rest.len());
        let text = self.advance(end).to_owned();
        self.advance(delimiter.len().min(self.rest.len()));
        Some(text)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !wanted(letter)).unwrap_or(self.rest.len());
        self.advance(end)
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

/// Whether a word can begin with this character. Postgres treats every non-ASCII character as a letter.
fn starts_word(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii()
}
