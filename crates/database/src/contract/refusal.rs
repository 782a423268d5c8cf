//! Finds commands that a migration may not contain if it is rehearsed on a shared server.
//!
//! Roles, memberships and settings belong to the whole server, not to the scratch database, and a COMMIT would keep changes
//! that the rehearsal has to roll back. The commands are therefore found in the text before any of it runs. Code is searched
//! too: the body of a `do` block or a function, and text that a query passes on for execution. A doubtful command is
//! refused. A command that evades this search is detected by its effect: see [`super::server`].

use super::lexer::{self, Kind, Token};

#[cfg(test)]
mod tests;

/// A command of a migration that must not run on a shared server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The migration, such as `V1__owners`, or `grants`.
    pub migration: String,
    /// The line in its file.
    pub line: usize,
    /// The command's first words.
    pub command: String,
    /// Its effect.
    pub effect: Effect,
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes something that belongs to the whole server.
    WholeServer,
    /// It ends or splits the transaction of the migration.
    Transaction,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { migration, line, command, effect } = self;
        let effect = match effect {
            Effect::WholeServer => "acts on the whole server",
            Effect::Transaction => "controls the migration's transaction",
        };
        write!(f, "{migration}, line {line}: `{command}` {effect}")
    }
}

/// All commands in these named files that must not run on a shared server.
pub(super) fn refusals<'a>(files: impl Iterator<Item = (String, &'a str)>) -> Vec<Refusal> {
    let of = |(migration, text): (String, &str)| {
        let found = search(text);
        found.into_iter().map(move |(line, command, effect)| Refusal {
            migration: migration.clone(),
            line,
            command,
            effect,
        })
    };
    files.flat_map(of).collect()
}

type Found = (usize, String, Effect);

fn search(sql: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for statement in statements(&lexer::tokens(sql, 1)) {
        let Some(first) = statement.first() else { continue };
        if let Some(command) = on_whole_server(statement) {
            found.push((first.line, command, Effect::WholeServer));
        }
        if let Some(command) = transaction_control(statement) {
            found.push((first.line, command, Effect::Transaction));
        }
        if runs_text(statement) {
            search_code(statement, first.word() == "do", &mut found);
        }
    }
    found.sort_by_key(|(line, ..)| *line);
    found.dedup();
    found
}

/// Splits at semicolons, except those inside `begin atomic … end`, the body of a function.
fn statements(tokens: &[Token]) -> Vec<&[Token]> {
    let mut found = Vec::new();
    let (mut start, mut parentheses, mut blocks) = (0, 0_i32, 0_i32);
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1).map_or("", Token::word);
        match (&token.kind, token.word()) {
            (Kind::Mark('('), _) => parentheses += 1,
            (Kind::Mark(')'), _) => parentheses -= 1,
            (_, "begin")
                if next == "atomic" && parentheses == 0 && makes_routine(slice(tokens, start, at)) =>
            {
                blocks += 1;
            }
            (_, "case") if blocks > 0 => blocks += 1,
            (_, "end") if blocks > 0 => blocks -= 1,
            (Kind::Mark(';'), _) if blocks == 0 => {
                found.push(slice(tokens, start, at));
                (start, parentheses) = (at + 1, 0);
            }
            _ => {}
        }
    }
    found.push(slice(tokens, start, tokens.len()));
    found
}

fn slice(tokens: &[Token], from: usize, to: usize) -> &[Token] {
    tokens.get(from..to).unwrap_or_default()
}

fn words(tokens: &[Token]) -> [&str; 4] {
    [0, 1, 2, 3].map(|at| tokens.get(at).map_or("", Token::word))
}

fn makes_routine(statement: &[Token]) -> bool {
    let (create, replace) = (["create"].as_slice(), ["create", "or", "replace"].as_slice());
    let words = words(statement);
    [create, replace].iter().any(|prefix| {
        words.starts_with(prefix)
            && words.get(prefix.len()).is_some_and(|word| ["function", "procedure"].contains(word))
    })
}

/// Whether the statement contains text that Postgres runs as code: the body of a block or routine, or a function argument.
fn runs_text(statement: &[Token]) -> bool {
    let first = statement.iter().find(|token| !token.is_mark('(')).map_or("", Token::word);
    let runs = ["do", "select", "with", "values", "call", "execute", "prepare", "explain"];
    runs.contains(&first) || makes_routine(statement)
}

/// The command at the head of these tokens, if it acts on more than this database.
fn on_whole_server(tokens: &[Token]) -> Option<String> {
    const SHARED: [&str; 6] = ["role", "user", "group", "database", "tablespace", "subscription"];
    let [first, second, third, _] = words(tokens);
    match (first, second) {
        // Belongs to one database.
        (_, "user") if third == "mapping" => None,
        ("create" | "alter" | "drop", shared) if SHARED.contains(&shared) => {
            Some(format!("{first} {second}"))
        }
        ("alter", "system") | ("drop" | "reassign", "owned") => Some(format!("{first} {second}")),
        ("comment", "on") if SHARED.contains(&third) => Some(format!("comment on {third}")),
        ("security", "label") => shared_label(tokens),
        ("grant" | "revoke", _) => shared_grant(tokens),
        _ => None,
    }
}

fn shared_label(tokens: &[Token]) -> Option<String> {
    let on = tokens.iter().position(|token| token.word() == "on")?;
    let kind = tokens.get(on + 1).map(Token::word)?;
    ["role", "database", "tablespace"].contains(&kind).then(|| format!("security label on {kind}"))
}

/// A membership (granted `to` or revoked `from` a role without `on`), or a privilege on a shared object.
fn shared_grant(tokens: &[Token]) -> Option<String> {
    let first = tokens.first()?.word();
    let end = tokens.iter().position(|token| token.is_mark(';')).unwrap_or(tokens.len());
    let grant = slice(tokens, 0, end);
    let parted = grant.iter().position(|token| ["on", "to", "from"].contains(&token.word()));
    let object = slice(grant, parted.unwrap_or(end), end);
    let [on, kind, ..] = words(object);
    if on != "on" {
        return Some(format!("{first} of a membership"));
    }
    // A placeholder stands for the database of the migration. If it is another one, the effect is detected later.
    let placeholder = object.get(2).is_some_and(|token| token.is_mark('%'));
    let shared = ["database", "tablespace", "parameter"].contains(&kind) && !placeholder;
    shared.then(|| format!("{first} on {kind}"))
}

fn transaction_control(tokens: &[Token]) -> Option<String> {
    let [first, second, ..] = words(tokens);
    match (first, second) {
        ("begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release", _) => {
            Some(first.to_owned())
        }
        ("prepare", "transaction") => Some("prepare transaction".to_owned()),
        _ => None,
    }
}

/// Searches the strings in a statement as code, and the strings inside them.
fn search_code(statement: &[Token], in_do: bool, found: &mut Vec<Found>) {
    for (line, text) in texts(statement) {
        let tokens = lexer::tokens(&text, line);
        for at in 0..tokens.len() {
            let here = slice(&tokens, at, tokens.len());
            let Some(line) = here.first().map(|token| token.line) else { continue };
            let begins = begins_statement(at.checked_sub(1).and_then(|before| tokens.get(before)));
            // "grant" occurs in ordinary sentences; the word pairs of the other commands hardly do.
            let is_grant = ["grant", "revoke"].contains(&words(here)[0]);
            if let Some(command) = on_whole_server(here).filter(|_| begins || !is_grant) {
                found.push((line, command, Effect::WholeServer));
            }
            if in_do && begins && ["commit", "rollback"].contains(&words(here)[0]) {
                found.push((line, words(here)[0].to_owned(), Effect::Transaction));
            }
        }
        search_code(&tokens, in_do, found);
    }
}

/// Whether a statement of PL/pgSQL or SQL can begin after this token.
fn begins_statement(before: Option<&Token>) -> bool {
    before.is_none_or(|before| {
        before.is_mark(';') || ["begin", "then", "else", "loop"].contains(&before.word())
    })
}

/// The strings in these tokens. Adjacent strings and strings joined by `||` count as one.
fn texts(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut joins = false;
    for token in tokens {
        match &token.kind {
            Kind::Text(text) => {
                match found.last_mut().filter(|_| joins) {
                    Some((_, before)) => before.push_str(text),
                    None => found.push((token.line, text.clone())),
                }
                joins = true;
            }
            Kind::Mark('|') => {}
            _ => joins = false,
        }
    }
    found
}
