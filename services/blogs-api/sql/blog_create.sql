-- Creates a draft; a source path that is taken violates a unique constraint. Locks the new row.
insert into blogs.blog (author_id, title, body, source_path)
values ($1::bigint, $2::text, $3::text, $4::text)
returning id
