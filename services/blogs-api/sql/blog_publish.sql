-- Publishes a draft; nothing if it is published or was taken down. Locks that blog.
update blogs.blog
set published_at = now(), first_published_at = coalesce(first_published_at, now()), version = version + 1
where id = $1::bigint and author_id = $2::bigint and deleted_at is null and published_at is null
  and taken_down_at is null
returning id
