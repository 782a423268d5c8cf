//! Generates `docs/schema.md` from the catalog of a database that the migrations and `grants.sql` created.

use std::fmt::Write;

use test_servers::Database;
use tokio_postgres::Row;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema.md");
/// Set to write the page instead of comparing it.
const WRITE: &str = "COMMONPLACE_WRITE_DOCS";
const INTRODUCTION: &str = "\
# Schema

Generated from the migrations and `migrations/grants.sql`: `COMMONPLACE_WRITE_DOCS=1 cargo test --workspace --test database -- schema_page`.
The same test fails where this page is out of date.

A table belongs to the owner of its schema, a role that cannot log in. The owner's functions run with the owner's rights;
what a role may do through them is in the lists of functions. *Read by* and *written by* are grants to roles: a service
has its own role, and `engagement_writer` is a group of those that count events (the Analytics workers, operators who
redrive, and the Blogs API where the direct path is enabled). Written means INSERT and UPDATE, unless one is named. A `?` after
a type means that the column can be null.
";

async fn rows(world: &Database, sql: &str, of: &[&str]) -> Vec<Row> {
    let parameters: Vec<_> =
        of.iter().map(|text| text as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
    world.client().query(sql, &parameters).await.unwrap()
}

fn names(row: &Row, column: &str) -> String {
    row.get::<_, Vec<String>>(column).join(", ")
}

/// The comment of an object, with `|` escaped because it would end the cell of a Markdown table.
fn comment(row: &Row) -> String {
    row.get::<_, Option<String>>("comment").unwrap_or_default().replace('|', "\\|")
}

async fn diagrams(world: &Database, page: &mut String) {
    page.push_str("\n## Roles and schemas\n\nA thick arrow means that the role writes and may read. A thin arrow means that it only reads.\n\n```mermaid\nflowchart LR\n");
    for row in rows(world, include_str!("sql/page_access.sql"), &[]).await {
        let arrow = if row.get("writes") { "==>" } else { "-->" };
        writeln!(page, "  {} {arrow} {}[({1})]", row.get::<_, &str>("role"), row.get::<_, &str>("schema"))
            .unwrap();
    }
    page.push_str("```\n\n## Tables\n\nSolid lines are foreign keys. Dotted lines are ids of another owner's rows, which no constraint checks.\n\n");
    page.push_str("```mermaid\nerDiagram\n");
    for row in rows(world, include_str!("sql/page_references.sql"), &[]).await {
        let line = if row.get("is_declared") { "||--o{" } else { "||..o{" };
        let [child, parent, name] = ["child", "parent", "name"].map(|column| row.get::<_, &str>(column));
        writeln!(page, "  {parent} {line} {child} : {name}").unwrap();
    }
    page.push_str("```\n");
}

async fn page(world: &Database) -> String {
    let mut page = INTRODUCTION.to_owned();
    diagrams(world, &mut page).await;
    let relations = rows(world, include_str!("sql/page_relations.sql"), &[]).await;
    let mut schemas: Vec<(String, String, String)> = Vec::new();
    for row in rows(world, include_str!("sql/page_schemas.sql"), &[]).await {
        schemas.push((row.get("name"), row.get("owner"), comment(&row)));
    }
    schemas.push(("public".to_owned(), "the administrator".to_owned(), "Where the data belong.".to_owned()));
    for (schema, owner, about) in schemas {
        write!(page, "\n## Schema `{schema}`\n\n{about} Role: {owner}.\n").unwrap();
        for row in relations.iter().filter(|row| row.get::<_, &str>("schema") == schema) {
            relation(world, &schema, row, &mut page).await;
        }
        let functions = rows(world, include_str!("sql/page_functions.sql"), &[&schema]).await;
        if functions.is_empty() {
            continue;
        }
        page.push_str("\n### Functions for other roles\n\n| function | called by |\n| --- | --- |\n");
        for row in functions {
            writeln!(page, "| `{}` | {} |", row.get::<_, &str>("name"), names(&row, "callers")).unwrap();
        }
    }
    page
}

async fn relation(world: &Database, schema: &str, row: &Row, page: &mut String) {
    let name: &str = row.get("name");
    write!(page, "\n### `{schema}.{name}`\n\n{} ({})", comment(row), row.get::<_, &str>("kind")).unwrap();
    let deleters = names(row, "deleters");
    if !deleters.is_empty() {
        write!(page, " Rows are deleted by {deleters}.").unwrap();
    }
    page.push_str(
        "\n\n| column | type | meaning | read by | written by |\n| --- | --- | --- | --- | --- |\n",
    );
    for column in rows(world, include_str!("sql/page_columns.sql"), &[schema, name]).await {
        let [name, kind] = ["name", "type"].map(|field| column.get::<_, &str>(field));
        let (readers, writers) = (names(&column, "readers"), names(&column, "writers"));
        writeln!(page, "| `{name}` | {kind} | {} | {readers} | {writers} |", comment(&column)).unwrap();
    }
}

#[tokio::test]
async fn schema_page_matches_the_migrations() {
    let page = page(&Database::new().await).await;
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(FILE, &page).unwrap();
    }
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    let differing: Vec<_> = page.lines().filter(|line| !written.lines().any(|old| old == *line)).collect();
    assert!(
        page == written,
        "docs/schema.md is out of date: run this test with {WRITE}=1. New lines: {differing:#?}"
    );
}

#[tokio::test]
async fn every_table_and_column_has_a_comment() {
    let world = Database::new().await;
    let mut bare = Vec::new();
    for row in rows(&world, include_str!("sql/page_relations.sql"), &[]).await {
        let [schema, name] = ["schema", "name"].map(|column| row.get::<_, &str>(column));
        if comment(&row).is_empty() {
            bare.push(format!("{schema}.{name}"));
        }
        for column in rows(&world, include_str!("sql/page_columns.sql"), &[schema, name]).await {
            if comment(&column).is_empty() {
                bare.push(format!("{schema}.{name}.{}", column.get::<_, &str>("name")));
            }
        }
    }
    assert!(bare.is_empty(), "without a comment: {bare:#?}");
}
