-- An edit: what is null stays; nothing if the version is none of those that the author has seen. Locks that blog.
update blogs.blog
set title = coalesce($3::text, title), body = coalesce($4::text, body), version = version + 1, updated_at = now()
where id = $1::bigint and author_id = $2::bigint and deleted_at is null
  and ($5::integer[] is null or version = any ($5::integer[]))
returning published_at is not null as is_published
