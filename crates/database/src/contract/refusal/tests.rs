use super::*;

fn commands(sql: &str) -> Vec<String> {
    search(sql).into_iter().map(|(_, command, _)| command).collect()
}

#[test]
fn commands_on_the_whole_server_are_found() {
    for (sql, command) in [
        ("alter role notification_worker nologin", "alter role"),
        ("ALTER\n ROLE notification_worker NOLOGIN", "alter role"),
        ("/* one */ alter -- two\r\n user blogs_api password 'x'", "alter user"),
        ("/* a /* nested */ comment */ drop role if exists console;", "drop role"),
        ("create group readers", "create group"),
        ("create table a (b int); create role mine", "create role"),
        ("alter system set work_mem = '1GB'", "alter system"),
        ("alter database commonplace set default_transaction_read_only = on", "alter database"),
        ("drop owned by console", "drop owned"),
        ("reassign owned by blogs_owner to postgres", "reassign owned"),
        ("revoke engagement_writer from blogs_api", "revoke of a membership"),
        ("revoke admin option for engagement_writer from blogs_api cascade", "revoke of a membership"),
        ("grant engagement_writer, \"On\" to operator with admin option", "grant of a membership"),
        ("revoke connect on database commonplace from public", "revoke on database"),
        ("grant set on parameter log_statement to console", "grant on parameter"),
        ("comment on role console is 'x'", "comment on role"),
        ("security label for x on role console is 'y'", "security label on role"),
        // A backslash escapes a quote only in an escape string.
        (r"select 'a\'; drop role console; select '", "drop role"),
        (r"select E'a\''; drop role console", "drop role"),
        ("select $a$ $b$ '; $a$; drop role console", "drop role"),
    ] {
        assert_eq!(commands(sql), [command], "{sql}");
    }
}

#[test]
fn commands_that_control_the_transaction_are_found() {
    for sql in ["commit", "rollback", "savepoint", "begin", "start", "end", "abort", "release"] {
        assert_eq!(commands(&format!("select 1; {sql} ; select 2")), [sql]);
    }
    assert_eq!(commands("prepare transaction 'x'"), ["prepare transaction"]);
    // The `end` of a function's body ends no transaction; the `end` after it does.
    let body =
        "create or replace function f() returns int begin atomic select case when true then 1 end; end;";
    assert_eq!(commands(body), [""; 0]);
    assert_eq!(commands(&format!("{body} commit;")), ["commit"]);
    // A column or an argument may have these names.
    assert_eq!(commands("create table a (begin atomic); commit"), ["commit"]);
    assert_eq!(
        commands("create function a(begin atomic) returns int language sql as ''; commit"),
        ["commit"]
    );
}

#[test]
fn commands_in_code_are_found() {
    for (sql, command) in [
        ("do $$ begin execute 'alter role console nologin'; end $$", "alter role"),
        ("do $$ begin execute format('alter role %I nologin', 'console'); end $$", "alter role"),
        ("do $$ begin execute 'alter ' || 'role console nologin'; end $$", "alter role"),
        ("do 'begin execute ''alter role console nologin''; end'", "alter role"),
        (
            "do $a$ begin execute $b$do $c$ begin alter role console nologin; end $c$ $b$; end $a$",
            "alter role",
        ),
        ("do $$ begin if true then revoke a from b; end if; end $$", "revoke of a membership"),
        ("do $$ begin execute format('grant %I to %I', 'a', 'b'); end $$", "grant of a membership"),
        (
            "do $$ begin execute 'revoke connect on database commonplace from public'; end $$",
            "revoke on database",
        ),
        ("do $$ begin commit; end $$", "commit"),
        ("create function f() returns void language sql as $$ alter system set a = b $$", "alter system"),
        ("select pg_temp.run('drop role console')", "drop role"),
        ("(select pg_temp.run('drop role console'))", "drop role"),
    ] {
        assert_eq!(commands(sql), [command], "{sql}");
    }
}

#[test]
fn comments_strings_and_names_are_no_commands() {
    for sql in [
        "-- alter role console nologin\nselect 1",
        "/* commit; /* alter system */ drop role console; */ select 1",
        "comment on table blogs.blog is 'alter role console nologin; commit;'",
        "insert into blogs.note values ('alter role console nologin; commit')",
        "do $$ begin -- alter role console nologin\n null; /* commit; */ end $$",
        "alter table a drop role, drop column \"commit\"",
        "create table a (role text, \"alter role\" text)",
        "alter default privileges for role blogs_owner revoke execute on functions from public",
        "grant select (a, b), update (c) on a to b",
        "set local role blogs_owner; set role none; reset role",
        "set session authorization default",
        "create user mapping for console server s",
        "do $$ begin execute format('revoke create on database %I from public', current_database()); end $$",
        "do $$ begin raise exception 'who may grant access to %', 1; end $$",
        "create procedure p() language plpgsql as $$ begin commit; end $$",
        "create temporary table a (b int) on commit drop",
    ] {
        assert_eq!(commands(sql), [""; 0], "{sql}");
    }
}

#[test]
fn the_line_is_that_of_the_command() {
    let sql = "select 1;\n\ndo $$\nbegin\n  execute 'drop role console';\nend $$;\ncommit;";
    let lines: Vec<_> = search(sql).into_iter().map(|(line, command, _)| (line, command)).collect();
    assert_eq!(lines, [(5, "drop role".to_owned()), (7, "commit".to_owned())]);
}

#[test]
fn landed_migrations_are_accepted() {
    assert_eq!(refusals(crate::migrations::Schema::embedded().files()), []);
}
