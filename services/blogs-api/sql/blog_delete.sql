-- Marks a blog as deleted, which hides it; its row stays. Locks that blog.
update blogs.blog
set deleted_at = now(), version = version + 1
where id = $1::bigint and author_id = $2::bigint and deleted_at is null
  and ($3::integer[] is null or version = any ($3::integer[]))
returning id
