//! Errors are matched by variant or code, never by their text: a reworded message must not change what the code does.

use std::fs;
use std::path::Path;

use crate::floors::{is_word, tokens, without_tests, workspace};

const ASKING: [&str; 5] = ["contains", "starts_with", "ends_with", "find", "eq"];
const TO_TEXT: [&str; 4] = [".", "to_string", "(", ")"];

/// Finds comparisons of the result of `to_string()`, directly or through a variable that holds an error's text.
fn text_matches(text: &str) -> Vec<String> {
    let tokens = without_tests(tokens(text));
    let mut found = Vec::new();
    // The variables that hold an error's text, each until the next `fn`.
    let mut texts: Vec<&str> = Vec::new();
    for (place, token) in tokens.iter().enumerate() {
        let rest = &tokens[place..];
        if token == "fn" {
            texts.clear();
        }
        if token == "let" {
            let statement: Vec<&String> = rest.iter().take_while(|token| *token != ";").collect();
            let is_error = |token: &&String| {
                ["err", "cause", "failure"].iter().any(|word| token.to_lowercase().contains(word))
            };
            let becomes_text = statement.iter().rev().take(4).rev().map(|token| token.as_str()).eq(TO_TEXT);
            if becomes_text && statement.iter().any(is_error) {
                let names = statement.iter().skip(1).find(|token| is_word(token) && token.as_str() != "mut");
                texts.extend(names.map(|name| name.as_str()));
            }
        }
        let is_text = rest.iter().take(4).eq(TO_TEXT);
        let asked = if is_text { &tokens[place + 4..] } else { &tokens[place + 1..] };
        let held = is_word(token) && texts.contains(&token.as_str());
        if (is_text || held) && is_question(asked) {
            let before = place.saturating_sub(3);
            let after = (place + 8).min(tokens.len());
            found.push(tokens[before..after].join(" "));
        }
    }
    found
}

fn is_question(tokens: &[String]) -> bool {
    match tokens {
        [dot, method, ..] if dot == "." => ASKING.contains(&method.as_str()),
        [first, second, ..] => ["=", "!"].contains(&first.as_str()) && second == "=",
        _ => false,
    }
}

/// Adds the findings in the code below a folder, except in tests, which may check what users read.
fn look(path: &Path, found: &mut Vec<String>) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if path.is_dir() {
        if !["tests", "target"].contains(&name) {
            fs::read_dir(path).unwrap().for_each(|entry| look(&entry.unwrap().path(), found));
        }
    } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
        let matched = text_matches(&fs::read_to_string(path).unwrap());
        found.extend(matched.into_iter().map(|code| format!("{}: {code}", path.display())));
    }
}

#[test]
fn no_code_branches_on_the_text_of_an_error() {
    let mut found = Vec::new();
    for folder in ["cli", "crates", "lab", "services"] {
        look(&workspace().join(folder), &mut found);
    }
    assert!(found.is_empty(), "match a variant, or give the error one:\n{}", found.join("\n"));
}

#[test]
fn comparisons_with_the_text_of_an_error_are_found() {
    for code in [
        r#"fn f() { let words = error.to_string(); words.starts_with("error serializing parameter") }"#,
        r#"fn f() { if failed.to_string().contains("committing") {} }"#,
        r#"fn f() { cause.source.to_string() == "committing" }"#,
        r#"fn f() { let mut said = Error::new(cause).to_string(); said != "x" }"#,
    ] {
        assert_eq!(text_matches(code).len(), 1, "{code}");
    }
    for code in [
        r#"fn f() { let words = error.to_string(); warn(words); }"#,
        r#"fn f() { let words = error.to_string(); } fn g(words: &str) { words.contains("x") }"#,
        r#"fn f() { let month = time.to_string(); month.ends_with("May") }"#,
        r#"// error.to_string().contains("x")"#,
        r#"#[cfg(test)] mod tests { fn f() { assert!(error.to_string().contains("x")) } }"#,
    ] {
        assert_eq!(text_matches(code), Vec::<String>::new(), "{code}");
    }
}
