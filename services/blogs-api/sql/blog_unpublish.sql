-- Turns a published blog back into a draft; no row if it is one. Locks that blog.
update blogs.blog
set published_at = null, version = version + 1
where id = $1::bigint and author_id = $2::bigint and deleted_at is null and published_at is not null
returning id
