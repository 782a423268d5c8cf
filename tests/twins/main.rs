//! Checks that no rule, such as that of a live blog, an active account or popularity, has two definitions. It parses
//! every SQL file, and compares the predicates and formulas of different owners, ignoring aliases, operand order, casts
//! and parentheses.
//!
//! A predicate is two or more tests of one row in one condition, each of a column against null, a constant or the
//! clock; a formula is arithmetic of three or more steps with a constant other than 0, 1 and 2. If two owners have the
//! same predicate or formula, that is a twin: one of them must use the other's view or function instead.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its output is its report"
)]

mod canonical;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use canonical::{canonical, chain, has_constant, is_arithmetic, is_word, split, steps, tested, words};
use sqlparser::ast::{BinaryOperator, Expr, Statement, visit_expressions};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

const DIALECT: PostgreSqlDialect = PostgreSqlDialect {};
/// The least number of arithmetic steps of a formula.
const STEPS_MIN: usize = 3;

/// A part of a rule as it was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    owner: String,
    place: String,
}

/// The rules in all files.
#[derive(Debug, Default)]
struct Rules {
    /// Each group of tests of one row.
    predicates: Vec<(BTreeSet<String>, Found)>,
    formulas: BTreeMap<String, BTreeSet<Found>>,
    /// Statements that could not be parsed, each with its place.
    unread: Vec<String>,
    statements: usize,
}

impl Rules {
    /// Takes in a file. Owners change where a migration says `set local role`.
    fn read(&mut self, place: &str, owner: &str, text: &str) {
        let mut owner = owner.to_owned();
        for statement in split(text, &Token::SemiColon) {
            let said = words(&statement);
            if said.starts_with("set local role ") {
                owner = said.trim_start_matches("set local role ").trim_end_matches("_owner").to_owned();
            }
            self.statement(&Found { owner: owner.clone(), place: place.to_owned() }, &statement);
        }
    }

    fn statement(&mut self, found: &Found, tokens: &[Token]) {
        let said = words(tokens);
        // These contain neither predicates nor formulas, and the parser supports only some of them.
        let about_rights =
            ["grant ", "revoke ", "alter default privileges", "set ", "reset ", "do ", "lock "];
        if said.is_empty() || about_rights.iter().any(|start| said.starts_with(start)) {
            return;
        }
        if said.starts_with("create function ") || said.starts_with("create or replace function ") {
            return self.function(found, &said, tokens);
        }
        self.statements += 1;
        match Parser::new(&DIALECT).with_tokens(tokens.to_vec()).parse_statement() {
            Ok(statement) => self.take(found, &statement),
            // Storage parameters, statistics and partitions of tables are Postgres's own.
            Err(_)
                if [
                    "create table ",
                    "create index ",
                    "create unique index ",
                    "alter table ",
                    "alter index ",
                    "create schema ",
                    "create trigger ",
                    "create view ",
                    "create or replace view ",
                ]
                .iter()
                .any(|start| said.starts_with(start))
                    && !said.contains(" select ") => {}
            Err(error) => self.unread.push(format!("{}: {error}: {said:.100}", found.place)),
        }
    }

    /// Reads the body of a function: one expression, SQL statements, or a PL/pgSQL program.
    fn function(&mut self, found: &Found, said: &str, tokens: &[Token]) {
        let name = said.split(['(', ' ']).find(|word| word.contains('.')).unwrap_or_default();
        // A function that a newer migration makes again replaces the older one.
        let is_older = |found: &Found| found.place.ends_with(&format!(" {name}"));
        self.predicates.retain(|(_, found)| !is_older(found));
        for places in self.formulas.values_mut() {
            places.retain(|found| !is_older(found));
        }
        let found = Found { owner: found.owner.clone(), place: format!("{} {name}", found.place) };
        let body = tokens.iter().find_map(|token| match token {
            Token::DollarQuotedString(quoted) => Some(quoted.value.clone()),
            _ => None,
        });
        let Some(body) = body else {
            let at = tokens.iter().position(|token| is_word(token, "return"));
            let expression = tokens.get(at.map_or(tokens.len(), |at| at + 1)..).unwrap_or_default();
            return self.expression(&found, expression);
        };
        if said.contains("language sql") {
            return split(&body, &Token::SemiColon).iter().for_each(|one| self.statement(&found, one));
        }
        for chunk in split(&body, &Token::SemiColon) {
            self.program(&found, &chunk);
        }
    }

    /// Reads the statements and conditions in a piece of a PL/pgSQL program.
    fn program(&mut self, found: &Found, chunk: &[Token]) {
        let mut depth = 0_i32;
        for (index, token) in chunk.iter().enumerate() {
            depth += i32::from(*token == Token::LParen) - i32::from(*token == Token::RParen);
            if depth > 0 {
                continue;
            }
            let rest = chunk.get(index + 1..).unwrap_or_default();
            if is_word(token, "if") || is_word(token, "elsif") {
                let end = rest.iter().position(|token| is_word(token, "then")).unwrap_or(rest.len());
                self.expression(found, rest.get(..end).unwrap_or_default());
                return self.program(found, rest.get(end..).unwrap_or_default());
            }
            if is_word(token, "perform") {
                let select = Tokenizer::new(&DIALECT, "select").tokenize().unwrap();
                return self.statement(found, &[select, rest.to_vec()].concat());
            }
            if ["select", "insert", "update", "delete", "with"].iter().any(|word| is_word(token, word)) {
                return self.statement(found, chunk.get(index..).unwrap_or_default());
            }
            if *token == Token::Assignment {
                return self.expression(found, rest);
            }
        }
    }

    fn expression(&mut self, found: &Found, tokens: &[Token]) {
        if tokens.is_empty() {
            return;
        }
        self.statements += 1;
        match Parser::new(&DIALECT).with_tokens(tokens.to_vec()).parse_expr() {
            Ok(expression) => {
                let select = format!("select {expression}");
                let statement = Parser::parse_sql(&DIALECT, &select).unwrap().remove(0);
                self.take(found, &statement);
            }
            Err(error) => self.unread.push(format!("{}: {error}: {:.100}", found.place, words(tokens))),
        }
    }

    fn take(&mut self, found: &Found, statement: &Statement) {
        let _all = visit_expressions(statement, |expression| {
            if matches!(expression, Expr::BinaryOp { op: BinaryOperator::And, .. }) {
                let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
                for part in chain(expression, &BinaryOperator::And) {
                    if let Some(row) = tested(part) {
                        tests.entry(row).or_default().insert(canonical(part));
                    }
                }
                let groups = tests.into_values().filter(|group| group.len() > 1);
                self.predicates.extend(groups.map(|group| (group, found.clone())));
            }
            if steps(expression) >= STEPS_MIN && has_constant(expression) && is_arithmetic(expression) {
                self.formulas.entry(canonical(expression)).or_default().insert(found.clone());
            }
            ControlFlow::<()>::Continue(())
        });
    }

    /// A sentence for each rule that two owners have.
    fn twins(&self) -> BTreeSet<String> {
        let mut twins = BTreeSet::new();
        for (index, (group, found)) in self.predicates.iter().enumerate() {
            for (other_group, other) in self.predicates.iter().skip(index + 1) {
                let common: Vec<&String> = group.intersection(other_group).collect();
                if common.len() > 1 && found.owner != other.owner {
                    twins.insert(format!("{common:?} in {} and {}", found.place, other.place));
                }
            }
        }
        for (formula, places) in &self.formulas {
            let owners: BTreeSet<&String> = places.iter().map(|found| &found.owner).collect();
            if owners.len() > 1 {
                let places: Vec<&String> = places.iter().map(|found| &found.place).collect();
                twins.insert(format!("{formula} in {places:?}"));
            }
        }
        twins
    }
}

/// The folders of SQL, each with the owner of the rules in it. The owner of a service's rules is named after the
/// service, without `-api` or `-worker`.
fn folders() -> Vec<(String, String)> {
    let fixed = [("crates/engagement/sql", "analytics"), ("crates/web/sql", "web"), ("cli/sql", "operators")];
    let mut folders: Vec<_> =
        fixed.map(|(folder, owner)| (folder.to_owned(), owner.to_owned())).into_iter().collect();
    for entry in std::fs::read_dir(root().join("services")).unwrap() {
        let service = entry.unwrap().file_name().into_string().unwrap();
        let owner = match service.trim_end_matches("-api").trim_end_matches("-worker") {
            "notification" => "notify".to_owned(),
            "recommendation" => "recommend".to_owned(),
            owner => owner.replace('-', "_"),
        };
        folders.push((format!("services/{service}/sql"), owner));
    }
    folders.sort();
    folders
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sql_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sql_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "sql") {
            files.push(path);
        }
    }
    // Migrations in the order of their numbers.
    let version = |file: &Path| {
        let name = file.file_name()?.to_str()?.strip_prefix('V')?.split_once("__")?.0;
        name.parse::<u32>().ok()
    };
    files.sort_by_key(|file| (version(file), file.clone()));
    files
}

fn everything() -> Rules {
    let mut rules = Rules::default();
    let migrations = ("migrations".to_owned(), "cluster".to_owned());
    for (folder, owner) in folders().into_iter().chain([migrations]) {
        for file in sql_files(&root().join(&folder)) {
            let place = format!("{folder}/{}", file.file_name().unwrap().to_string_lossy());
            rules.read(&place, &owner, &std::fs::read_to_string(&file).unwrap());
        }
    }
    rules
}

#[test]
fn every_folder_of_sql_has_an_owner() {
    let known = folders();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let name = format!("crates/{}/sql", entry.unwrap().file_name().to_string_lossy());
        // These statements are about catalogs and roles, and contain no rule of the product.
        if root().join(&name).is_dir() && name != "crates/database/sql" {
            assert!(known.iter().any(|(known, _)| *known == name), "{name} has no owner here");
        }
    }
}

#[test]
fn no_rule_is_duplicated_between_owners() {
    let rules = everything();
    println!(
        "{} statements and expressions, {} groups of tests, {} formulas",
        rules.statements,
        rules.predicates.len(),
        rules.formulas.len()
    );
    assert!(rules.unread.is_empty(), "not parsed: {:#?}", rules.unread);
    assert!(rules.statements > 300 && rules.predicates.len() > 20 && rules.formulas.len() > 5, "{rules:?}");
    let twins = rules.twins();
    assert!(twins.is_empty(), "rules that are in two owners' files: {twins:#?}");
}

/// Duplicates of rules, as one might write them in a hurry.
#[test]
fn planted_duplicates_of_rules_are_found() {
    for (owner, sql, of) in [
        (
            "notify",
            "select x.id from blogs.blog as x join social.follow f on f.followee_id = x.author_id
             where x.published_at is not null and (x.taken_down_at is null) and f.follower_id = $1::bigint and x.deleted_at is null",
            "live_blog",
        ),
        (
            "recommend",
            "select acc.handle from blogs.account acc where not (acc.suspended_at is not null) and acc.suspended_at is null and acc.deleted_at is null",
            "active_account",
        ),
        (
            "blogs",
            "select h.blog_id from analytics.blog_hour h group by 1
             order by sum(h.shares * 8 + (h.views + h.likes * 4)) desc",
            "popularity",
        ),
        (
            "notify",
            "select 1 / sqrt(((5 + greatest(n.likes, 1)) * (greatest(m.other_likes, 1)::double precision + 5))) from counted n, counted m",
            "similarity",
        ),
    ] {
        let mut rules = everything();
        rules.read("planted.sql", owner, sql);
        let twins: Vec<String> = rules.twins().into_iter().filter(|twin| twin.contains("planted.sql")).collect();
        println!("{of}: {twins:#?}");
        assert!(!twins.is_empty(), "the twin of {of} is not caught: {sql}");
        // A file that uses the view instead of repeating the rule has no twin.
    }
    let mut rules = everything();
    rules.read(
        "asks.sql",
        "notify",
        "select l.id from blogs.live_blog l where l.author_id = $1::bigint and l.id > 7",
    );
    rules.read(
        "asks.sql",
        "recommend",
        "select analytics.popularity_at(p.rank, now(), '1 day') from analytics.blog_popularity p",
    );
    assert!(rules.twins().iter().all(|twin| !twin.contains("asks.sql")));
}
