-- Edits a blog; nulls keep the current values. No row if its version is not among those that the client has seen. Locks
-- that blog.
update blogs.blog
set title = coalesce($3::text, title), body = coalesce($4::text, body), version = version + 1, updated_at = now()
where id = $1::bigint and author_id = $2::bigint and deleted_at is null
  and ($5::integer[] is null or version = any ($5::integer[]))
returning published_at is not null as is_published
